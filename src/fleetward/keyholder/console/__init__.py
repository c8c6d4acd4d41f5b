"""The owner's console: a web program of the owner's own computer. It signs; the server never does.

It listens on loopback alone, under the host `owner.localhost`, and answers only who has the secret
of this start. `keeper` holds what it knows, `routes` translates, `stream` tells what changed.
"""
