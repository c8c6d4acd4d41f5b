"""What a maker releases, judged by the machine: TUF metadata, verified without any I/O.

`tuf.api.metadata` (python-tuf) reads and verifies single files; what is believed when, is decided
here, after the specification's client workflow (sections 5.1 to 5.7). No other package imports it
but the maker's own tools, which write such files and have them judged here.

Reading order:

1. `limits`      how much a machine takes of a hostile repository
2. `names`       role names and paths, made harmless
3. `reading`     bytes to parsed metadata, of which nothing is believed yet
4. `checks`      who signed, is it whole, its version, its age
5. `trusted`     the rules by which a file enters, each with its section
6. `steps`       how a procedure asks for files that somebody else fetches
7. `refresh`     the four top-level roles, in their order
8. `delegations` who is asked for a path
9. `target`      what was signed about one file, and the check of its bytes
10. `search`     finding one target among all delegations

Whoever drives it fetches, stores and knows the time: the agent over its bus, a USB stick's bundle,
or the program of the conformance suite over HTTP.
"""
