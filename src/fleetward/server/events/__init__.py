"""Events: the journal entries of machines, as they arrived."""
