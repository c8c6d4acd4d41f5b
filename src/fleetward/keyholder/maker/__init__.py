"""The maker's side of updates: his keys, his repository, his releases. No server is needed.

Reading order:

1. `folder`      where everything lies, and what a maker's folder says of itself
2. `tuf_keys`    our keys and signers in the spelling of TUF
3. `key_ring`    the key of each role: a sealed file, or a name of one elsewhere
4. `as_machine`  a machine that reads the repository, and is asked before anything is written
5. `repository`  the published files, and a change of several that is whole or not at all
6. `signing`     what is meant becomes signed files: products, snapshot, timestamp
7. `root_draft`  a root that several people sign on several computers; `ceremony` ends it
8. `products`    a role for each product; `lives` says what runs out when
9. `parts`, `packing`, `blobs`, `bills`, `building` make a draft of files
10. `releasing`  signs a draft; `showing` says what it says
11. `publishing`, `sending`, `bundling` carry it away

A private key is opened for one command, in memory, on its holder's computer. Nothing that is
written below `repository/` or `drafts/`, sent or bundled holds one.
"""
