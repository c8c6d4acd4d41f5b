"""What a machine believes, and why. Read this package first.

Everything here is pure: bytes and time come in as arguments, a verified value or an exception
comes out. There is no I/O, no clock, no log, and no state but in the
objects that a caller holds.

Reading order, each file leaning only on those before it:

1. `errors`      five families of failure, chosen by what the caller must do
2. `canonical`   one strict JSON encoding, so that equal values are equal bytes
3. `fields`      taking typed fields out of decoded JSON, with exact field sets
4. `keys`        public keys, suites, key ids
5. `passkey`     when a passkey's signature counts
6. `envelope`    payload + signatures; a domain string per type; thresholds that count people
7. `merkle`      RFC 6962 tree hashing, inclusion and consistency proofs
8. `note`        C2SP signed notes, checkpoints, cosignatures
9. `root`        the owner root, whose hash is all that a machine starts from
10. `access`     what can be asked of a machine in a session, and the owner's rules for it; the
                 scopes of serial ports and runbooks stand in `access_serial`, `access_runbook`
11. `policy`     the owner policy: every other root and role hangs from it
12. `roster`     which machines exist
13. `head`       the version of all owner documents, and the lease on them
14. `invitation` how a machine joins, with nothing trusted on first use
15. `statements` what a machine says under its identity key
16. `journal`    the machine's hash chain and the batches cut from it
17. `documents`  the machine's view of its owner, advanced by numbered rules
18. `generation` how the owner opens the record again after a restore
19. `tiles`      names and bytes of the log's tiles (C2SP tlog-tiles)
20. `ledger`     checking an exported record with nothing trusted but the owner root's hash; its
                 rules stand in `ledger_tree`, `ledger_leaves`, `ledger_documents`,
                 `ledger_machines`, `ledger_seen`, `ledger_generation` and `ledger_findings`
21. `grants`     who may enter a machine: request, offer, grant, and what ends a session
22. `runbook`    signed steps that a session may start, and what may be left open in them
23. `words`      six words that people compare, from `wordlist`
24. `releases`   what a maker released: TUF metadata, verified without any I/O
"""
