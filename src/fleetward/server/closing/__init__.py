"""Closing what is open: the server carries the owner's orders, keeps what machines say of them, and
shows the three tiers. It judges nothing, and closes nothing.
"""
