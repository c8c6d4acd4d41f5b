"""Who this machine is, and whom it obeys: the identity key, joining, certificates."""
