"""One file per way of installing, behind one contract (`contract.py`)."""
