"""What of a machine is more than its disk: the TPM, where there is one and guard may speak to it.

1. `tpm`          five commands of TPM 2.0, written and read here
2. `tpm_counter`  a number that only rises, and a key that is not on the disk
"""
