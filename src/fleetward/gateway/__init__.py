"""The gateway: what an owner runs at a site, beside the machines there. It listens; they never do.

It is trusted with nothing that a machine believes. Today it keeps parts of releases near the
machines (`updates/`).
"""
