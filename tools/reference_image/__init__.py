"""The reference image: a small Debian machine with two slots, and the agent in it."""
