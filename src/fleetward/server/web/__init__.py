"""The floor of the API and the console: who calls, what is allowed, the stream, the application.

Slices hand in their handlers; this package imports none of them.
"""
