"""Closing what is open, from the owner's side: sign, hand over, believe only what machines signed."""
