"""Updates on the machine: what was signed is fetched, installed, tried, and kept or taken back."""
