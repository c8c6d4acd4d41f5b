"""The machine's own journal: what it writes before it acts, and what proves it later."""
