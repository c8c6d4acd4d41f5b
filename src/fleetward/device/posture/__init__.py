"""What this machine is made of and what it shows to others; looking only, never changing."""
