"""The words that programs exchange: one file per capability.

`unsigned` is the closed enumeration of all that a machine accepts without a signature. `versions`
is the dated history: an old machine keeps working with a new server.
"""
