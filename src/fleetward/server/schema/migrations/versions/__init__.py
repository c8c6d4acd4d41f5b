"""The revisions, forward only."""
