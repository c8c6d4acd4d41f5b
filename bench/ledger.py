"""The owner's ledger: appending, proving, and what a machine's proof costs at a million leaves.

    python bench/ledger.py [--leaves 1000000]

Workload: SQLite (WAL, synchronous=FULL) on this disk, leaves of 600 bytes as batch headers have, in
batches of 5,000, one transaction each, tiles and index included. A proof is what one machine asks
for: the checkpoint, consistency with one that it has, and the place of its newest batch; also after
a restart, with nothing in memory.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import statistics
import tempfile
import time
from pathlib import Path

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.database import Database
from fleetward.runtime.keys import make_key
from fleetward.server.audit.act import Ledger
from fleetward.server.schema.migrate import migrate
from fleetward.trust.canonical import from_base64url
from fleetward.trust.keys import ED25519, PublicKey
from fleetward.trust.merkle import hash_leaf, verify_consistency, verify_inclusion
from fleetward.trust.note import origin_of, verify_checkpoint
from fleetward.wire.audit import ProofRequest

GROUP = 5000
PROOFS = 300
OWNER = "ab" * 32
APPENDS_A_SECOND = 20_000
PROOF_MS = 5.0


def leaf(number: int) -> tuple[str, str, bytes]:
    """A batch's leaf: device, hash, header."""
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    return "a" * 32, digest, (digest * 10).encode()[:600]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    leaves = parser.parse_args().leaves
    key, clock, chance = make_key(ED25519), SystemClock(), random.Random(1)
    with tempfile.TemporaryDirectory(prefix="fwledger") as folder:
        database = Database.open(f"sqlite:///{Path(folder) / 'state.db'}")
        migrate(database, backup=lambda: None)
        ledger = Ledger(database, key, clock)
        ledger.append_document(OWNER, "root", b"the root", clock.wall_ms())
        wall, cpu, rates = 0.0, time.process_time(), []
        for start in range(0, leaves, GROUP):
            group = [leaf(number) for number in range(start, start + GROUP)]
            began = time.monotonic()
            ledger.append_batches(group, (), clock.wall_ms())
            rates.append(GROUP / (time.monotonic() - began))
            wall += GROUP / rates[-1]
        cpu = time.process_time() - cpu
        rate = ledger.size / wall
        print(
            f"append: {ledger.size:,} leaves in {wall:.1f} s: {rate:,.0f} leaves a second "
            f"(last tenth {statistics.mean(rates[-len(rates) // 10 :]):,.0f}), {cpu:.1f} s of CPU; "
            f"target {APPENDS_A_SECOND:,}"
        )
        worst = 0.0
        for name in ("warm", "after a restart"):
            if name != "warm":
                began = time.monotonic()
                ledger = Ledger(database, key, clock)
                print(f"restart: {1000 * (time.monotonic() - began):.1f} ms")
            ledger.checkpoint()
            times = [prove(ledger, chance, key.public) for _ in range(PROOFS)]
            median, high = statistics.median(times), sorted(times)[int(PROOFS * 0.99)]
            worst = max(worst, median)
            print(f"proof, {name}: median {median:.2f} ms, 99 of 100 within {high:.2f} ms")
        print(f"target: {PROOF_MS} ms")
        database.close()
    return 0 if rate >= APPENDS_A_SECOND and worst <= PROOF_MS else 1


def prove(ledger: Ledger, chance: random.Random, log_key: PublicKey) -> float:
    """Ask as a machine does, check the answer, and return how long it took, in CPU milliseconds."""
    size = ledger.size
    number, old = chance.randrange(size - 1), chance.randrange(1, size)
    _, digest, raw = leaf(number)
    asked = ProofRequest(generation=1, size=old, batches=[digest])
    old_root = ledger.root_at(old)
    began = time.thread_time()
    reply = ledger.prove(asked)
    spent = time.thread_time() - began
    checkpoint = verify_checkpoint(
        reply.checkpoint.encode(),
        origin_of(OWNER, 1),
        log_key,
    )
    path = [from_base64url(h) for h in reply.items[0].path]
    verify_inclusion(hash_leaf(raw), reply.items[0].index, checkpoint.size, path, checkpoint.root)
    proof = [from_base64url(h) for h in reply.consistency]
    verify_consistency(old, old_root, checkpoint.size, checkpoint.root, proof)
    return spent * 1000


if __name__ == "__main__":
    raise SystemExit(main())
