"""People and their credentials: sign-in links, sessions, passkeys, API tokens. No password exists.

`wiring.open_people` builds the slice. A secret is 256 random bits, shown once, stored as a hash.
"""
