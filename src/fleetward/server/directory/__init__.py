"""Owners and their documents, as the server keeps them: it stores and hands over, never signs."""
