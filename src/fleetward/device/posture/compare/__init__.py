"""What a machine is like before and after a session, and what is different.

The two looks are taken by a short-lived child behind walls (`look`); what they return is compared
by pure functions (`differ`, `findings`, `making`). Nothing here opens, ends or judges a session.
"""
