"""What a machine asks of its server about releases in a day, whoever the server is.

    python bench/update_requests.py [--hours 24]

Workload: one machine's whole guard on which a release runs, in held time, with an uplink that asks
every ten seconds and whenever guard says "again", as the real one does at most. Each row is a
server: one that is honest and has nothing new; one that nudges (`look_for_updates`) every
minute, which is as often as the machine takes it; a director that names a release that nobody
approved; one that answers with garbage; one that hands over garbage in the place of a part; one
that answers "not there"; one that never answers. Columns are questions by kind, the bytes of all
answers, entries that the journal got, and how often an installer was started. The exit is 1 when
any row is beyond `MOST_QUESTIONS` or `MOST_BYTES`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.adversary.update_watch import IN_MEMORY, data_of  # noqa: E402  (found by the path above)
from tests.update_world import UpdateGuard, big_payload  # noqa: E402  (likewise)

from fleetward.device.port import GetUpdate, TakePushed, TakeUpdateAnswer  # noqa: E402  (likewise)
from fleetward.trust.errors import FleetwardError  # noqa: E402  (likewise)
from fleetward.wire.orders import Reduce  # noqa: E402  (likewise)
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion  # noqa: E402  (likewise)

STEP_MS = 10_000
NUDGE_STEPS = 6
MOST_QUESTIONS = 20_000
"""A nudge a minute, taken 59 times an hour, with eight questions each, and half as many again."""
MOST_BYTES = 300_000_000
"""A segment of 4 MiB an hour in base64, half as many again, and those before pauses have grown."""
NUDGE = msgspec.json.encode(Reduce(what="look_for_updates"))
KINDS = ("director", "image", "manifest", "approvals", "blob", "root")


@dataclass
class Day:
    """What was counted."""

    questions: Counter[str] = field(default_factory=Counter)
    answered_bytes: int = 0
    entries: int = 0
    started: int = 0


@dataclass
class Server:
    """A row: how the day begins, and what becomes of each answer; None: there is none."""

    name: str
    prepare: Callable[[UpdateGuard], None] = lambda _guard: None
    change: Callable[[UpdateQuestion, UpdateAnswer], UpdateAnswer | None] = lambda _q, a: a
    nudges: bool = False


def name_unapproved(guard: UpdateGuard) -> None:
    """Have the director name a release that nobody approved."""
    guard.release("1.1", 11)


def name_approved(guard: UpdateGuard) -> None:
    """Have the director name one that may be installed."""
    guard.release("1.1", 11, big_payload(1))
    guard.approve()


def lie_in_pieces(question: UpdateQuestion, answer: UpdateAnswer) -> UpdateAnswer:
    """Answer with bytes of the right length."""
    is_part = question.what == "blob" and question.length > 1024
    return data_of(b"j" * question.length) if is_part else answer


SERVERS = (
    Server("honest, nothing new"),
    Server("nudges", nudges=True),
    Server("names an unapproved release", name_unapproved),
    Server("the same, and nudges", name_unapproved, nudges=True),
    Server("garbage, and nudges", name_approved, lambda _q, _a: data_of(b"garbage"), nudges=True),
    Server("garbage for parts, and nudges", name_approved, lie_in_pieces, nudges=True),
    Server("not there, and nudges", name_approved, lambda _q, _a: UpdateAnswer(found=False), True),
    Server("never answers, and nudges", name_approved, lambda _q, _a: None, nudges=True),
)


def spend(server: Server, hours: int) -> Day:
    """Spend a day with a server."""
    day = Day()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        guard = UpdateGuard.make(Path(folder) / "m")
        guard.release("1.0", 10)
        guard.approve()
        guard.run()
        server.prepare(guard)
        before, started = guard.core.journal.tip.sequence, guard.installer.started
        for step in range(hours * 3_600_000 // STEP_MS):
            guard.clock.pass_ms(STEP_MS)
            if step % 2160 == 0:
                guard.fleet.world.lease(at_ms=guard.clock.wall)
                documents = guard.fleet.world.bundle(guard.device).to_bytes()
                guard.core.updates.bundled._on_documents(documents)
            if server.nudges and step % NUDGE_STEPS == 0:
                with contextlib.suppress(FleetwardError):
                    guard.core.handle(TakePushed(), NUDGE)
            guard.core.tick()
            guard._let_the_installer_answer()
            _talk(guard, server, day)
        day.entries = guard.core.journal.tip.sequence - before
        day.started = guard.installer.started - started
        guard.core.updates.close()
    return day


def _talk(guard: UpdateGuard, server: Server, day: Day) -> None:
    """Carry questions as uplink does, until guard says something else than "again"."""
    hint = "again"
    while hint == "again":
        raw = guard.core.handle(GetUpdate(), b"").body
        if not raw:
            return
        question = msgspec.json.decode(raw, type=UpdateQuestion)
        day.questions[question.what] += 1
        answer = server.change(question, guard.server.answer(question))
        if answer is None:
            return
        body = msgspec.json.encode(answer)
        day.answered_bytes += len(body)
        hint = ""
        with contextlib.suppress(FleetwardError):
            hint = guard.core.handle(TakeUpdateAnswer(), body).hint


def main() -> int:
    """Spend the days and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    hours = parser.parse_args().hours
    print(f"one machine, {hours} hours, an uplink that asks every {STEP_MS // 1000} s")
    kinds = "".join(f"{kind:>10}" for kind in KINDS)
    print(f"{'server':<32}{'questions':>10}{kinds}{'KB':>9}{'entries':>9}{'installers':>11}")
    is_bounded = True
    for server in SERVERS:
        day = spend(server, hours)
        total = sum(day.questions.values())
        each = "".join(f"{day.questions[kind]:>10,}" for kind in KINDS)
        rest = f"{day.answered_bytes // 1000:>9,}{day.entries:>9,}{day.started:>11,}"
        print(f"{server.name:<32}{total:>10,}{each}{rest}", flush=True)
        is_bounded &= total <= MOST_QUESTIONS and day.answered_bytes <= MOST_BYTES
    return 0 if is_bounded else 1


if __name__ == "__main__":
    sys.exit(main())
