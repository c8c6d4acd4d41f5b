"""Closing what is open, from the owner's side: sign, hand over, believe what machines signed."""
