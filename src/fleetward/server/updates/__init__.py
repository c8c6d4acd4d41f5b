"""Updates: the server keeps what makers publish and owners approve, says which machine is to get
what now, and keeps what machines report. It judges nothing that a machine believes.
"""
