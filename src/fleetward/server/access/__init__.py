"""Sessions as the server sees them: requests carried, pieces stored blind, states shown.

Nothing here decides whether somebody may enter: the machine does, and no file of the server can
reach the code that judges (`trust.grants`; `.importlinter` and `tests/closures/server.txt`).
"""
