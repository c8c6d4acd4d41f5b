"""The broker's log: real lines are understood, forged texts change nothing, floods are bounded."""

import asyncio
from pathlib import Path

import pytest

from fleetward.runtime.broker_log import (
    BEHIND_BYTES,
    KEYS_MAX,
    BrokerLogFollower,
    BrokerRefusal,
    RefusalKind,
    RefusalTally,
    SeenRefusal,
    classify_line,
)
from fleetward.runtime.clock import SystemClock

ID = "p5p6x5v5wbk54iexo7yin6bg75onn5ma"
START = "[18607] 2026/11/23 05:31:57.855914 [ERR] 127.0.0.1:51294 - cid:13 - "
TLS = START + "TLS handshake error: tls: "
WHO = f'"v2.16.0:python3:x" - "DEVICES/user:{ID}" - '


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (TLS + "failed to verify certificate: x509: certificate signed by unknown authority", "un"),
        (TLS + "client didn't provide a certificate", "no_certificate"),
        (TLS + "client offered only unsupported versions: [303 302 301]", "old_tls"),
        (TLS + "first record does not look like a TLS handshake", "not_tls"),
        (TLS + "failed to verify certificate: x509: certificate has expired or is not yet", "ce"),
        (TLS + "failed to verify certificate: x509: certificate specifies an incompatible", "ce"),
        (START + "TLS handshake error: EOF", "tls_failed"),
        (START + "authentication error", "not_admitted"),
        (START + WHO + "maximum payload exceeded: 2000000 vs 1048576", "payload_too_large"),
        (START + WHO + "Client parser ERROR, state=0", "protocol_error"),
    ],
)
def test_real_lines_are_classified(line: str, kind: str) -> None:
    seen = classify_line(line)
    assert seen is not None
    assert seen.kind.value.startswith(kind)
    assert (seen.remote, seen.at_ms) == ("127.0.0.1", 1_795_411_917_855)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[1] 2026/11/23 05:31:56.754497 [INF] Server is ready",
        "[1] 2026/11/23 05:31:57.873791 [WRN] Auth callout service returned an error: refused",
        'x "[1] 2026/11/23 05:31:57.855914 [ERR] 1.2.3.4:1 - cid:1 - authentication error"',
    ],
)
def test_other_lines_are_nothing(line: str) -> None:
    assert classify_line(line) is None


def test_a_violation_names_device_and_subject() -> None:
    seen = classify_line(START + WHO + 'Publish Violation - Subject "$JS.API.INFO"')
    assert seen is not None
    assert (seen.kind, seen.device_id, seen.subject) == (RefusalKind.PUBLISH, ID, "$JS.API.INFO")
    seen = classify_line(START + WHO + 'Subscription Violation - Subject "a.\\"b", Queue: "q"')
    assert seen is not None
    assert (seen.kind, seen.subject) == (RefusalKind.SUBSCRIBE, 'a.\\"b')


def test_a_name_chosen_by_the_attacker_accuses_nobody() -> None:
    other = "b" * 32
    evil = (
        f'"x\\" - \\"DEVICES/user:{other}\\" - Publish Violation - Subject \\"fake\\"" - '
        f'"DEVICES/user:{ID}" - Publish Violation - Subject "real"'
    )
    seen = classify_line(START + evil)
    assert seen is not None
    assert (seen.device_id, seen.subject) == (ID, "real")
    before_admission = classify_line(START + f'"DEVICES/user:{other}" - authentication error')
    assert before_admission is not None
    assert before_admission.device_id == ""


def seen(subject: str = "s", at_ms: int = 1000) -> SeenRefusal:
    return SeenRefusal(RefusalKind.PUBLISH, "127.0.0.1", ID, subject, at_ms)


def test_equal_refusals_become_one_with_a_count() -> None:
    tally = RefusalTally(window_ms=100)
    for at in (1000, 1010, 1050):
        tally.add(seen(at_ms=at))
    tally.add(seen("other", at_ms=1060))
    assert tally.take_due(1090) == []
    (first,) = tally.take_due(1100)
    assert (first.subject, first.count) == ("s", 3)
    assert (first.first_at_ms, first.last_at_ms) == (1000, 1050)
    (second,) = tally.take_due(1160)
    assert (second.subject, second.count) == ("other", 1)


def test_a_minute_allows_so_many_and_counts_the_rest() -> None:
    tally = RefusalTally(window_ms=100, entries_a_minute=3)
    for number in range(10):
        tally.add(seen(f"s{number}"))
    assert len(tally.take_due(2000)) == 3
    assert tally.take_due(30_000) == []
    (rest,) = tally.take_due(62_000)
    assert (rest.kind, rest.count) == (RefusalKind.SUPPRESSED, 7)


def test_invented_subjects_do_not_fill_the_memory() -> None:
    tally = RefusalTally(window_ms=100, entries_a_minute=10_000)
    for number in range(KEYS_MAX + 500):
        tally.add(seen(f"s{number}"))
    out = tally.take_due(2000, everything=True)
    assert len(out) == KEYS_MAX + 1
    assert sum(item.count for item in out) == KEYS_MAX + 500


def test_nothing_is_lost_when_the_clock_goes_back() -> None:
    tally = RefusalTally(window_ms=100)
    tally.add(seen(at_ms=1_000_000))
    assert len(tally.take_due(5)) == 1


def follow(path: Path, steps: list[bytes | None]) -> list[BrokerRefusal]:
    """Run a follower; append each step to the log, or move the log aside for None."""
    out: list[BrokerRefusal] = []

    async def main() -> None:
        follower = BrokerLogFollower(
            path,
            SystemClock(),
            on_refusal=out.append,
            tally=RefusalTally(window_ms=1, entries_a_minute=1000),
        )
        task = asyncio.create_task(follower.run())
        await asyncio.sleep(0.05)
        for step in steps:
            if step is None:
                path.with_name(path.name + ".1").write_bytes(path.read_bytes())
                path.write_bytes(b"")
            else:
                with path.open("ab") as file:
                    file.write(step)
            await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    return out


LINE = (START + "authentication error\n").encode()


def test_the_follower_reads_half_lines_and_a_log_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "broker.log"
    path.write_bytes(LINE * 5)  # older than the follower
    out = follow(path, [LINE[:30], LINE[30:] + LINE, None, LINE])
    assert sum(item.count for item in out) == 3
    assert {item.kind for item in out} == {RefusalKind.NOT_ADMITTED}


def test_a_follower_that_is_far_behind_says_so(tmp_path: Path) -> None:
    path = tmp_path / "broker.log"
    out = follow(path, [b"x\n" * (BEHIND_BYTES // 2) + b"y\n" * 100])
    assert [item.kind for item in out] == [RefusalKind.UNREAD]
    assert out[0].count == 200
