"""Machines as the server knows them: joining, certificates, states, quarantine."""
