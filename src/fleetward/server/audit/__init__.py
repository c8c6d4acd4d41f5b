"""The owner's ledger: deeds, documents and batches as leaves of a Merkle log."""
