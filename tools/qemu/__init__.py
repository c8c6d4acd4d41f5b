"""What `make qemu-test` plays with: people with their own commands, and a machine in QEMU."""
