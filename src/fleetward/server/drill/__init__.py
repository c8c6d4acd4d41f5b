"""The drill: the server attacks one machine with everything that it holds, and shows what happens.

It uses the server's real keys and the real way to the machine. Nothing is pretended: were a machine
to accept one of these, the drill would say so, and so would the machine's signed journal.
"""
