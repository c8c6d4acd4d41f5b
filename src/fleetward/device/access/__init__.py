"""Sessions on a machine: opened by the gate, each in a process of its own."""
