"""What starts the agent's own code, and goes back when a new one is not good."""
