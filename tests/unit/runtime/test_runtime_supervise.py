"""A supervised child: ready, killed, started again, stopped, bounded, and never orphaned."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fleetward.runtime.supervise import ChildSpec, Supervised
from fleetward.trust.errors import Unreachable

READY = "import pathlib,sys,time; pathlib.Path(sys.argv[1]).write_text('x'); "


def spec(tmp_path: Path, program: str, **settings: float) -> ChildSpec:
    return ChildSpec(
        name="child",
        argv=(sys.executable, "-c", READY + program, str(tmp_path / "ready")),
        log_path=tmp_path / "logs" / "child.log",
        ready_seconds=settings.get("ready_seconds", 10),
        stop_seconds=settings.get("stop_seconds", 5),
        log_bytes=int(settings.get("log_bytes", 1_000_000)),
    )


def probe(tmp_path: Path) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return (tmp_path / "ready").exists()

    return ready


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_child_comes_back_and_stop_ends_it(tmp_path: Path) -> None:
    async def main() -> None:
        changes: list[str] = []
        child = Supervised(
            spec(tmp_path, "time.sleep(60)"), probe=probe(tmp_path), on_change=changes.append
        )
        await child.start()
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.pid not in (None, first) and len(changes) >= 3)
        assert child.starts == 2
        assert changes[1] == "child ended with -9; starting it again"
        second = child.pid
        assert second is not None
        await child.stop()
        assert child.pid is None
        assert not alive(second)

    asyncio.run(main())


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async def main() -> None:
        program = "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
        child = Supervised(
            spec(tmp_path, program, stop_seconds=0.3),
            probe=probe(tmp_path),
            on_change=lambda _: None,
        )
        await child.start()
        await asyncio.sleep(0.2)
        pid = child.pid
        assert pid is not None
        await child.stop()
        assert not alive(pid)

    asyncio.run(main())


def test_a_child_that_dies_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    async def main() -> None:
        child = Supervised(
            ChildSpec(
                "child", (sys.executable, "-c", "raise SystemExit('no port')"), tmp_path / "log"
            ),
            probe=probe(tmp_path),
            on_change=lambda _: None,
        )
        with pytest.raises(Unreachable, match="no port"):
            await child.start()
        assert child.pid is None

    asyncio.run(main())


def test_a_child_that_never_gets_ready_is_not_left_running(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async def main() -> None:
        child = Supervised(
            spec(tmp_path, "time.sleep(60)", ready_seconds=0.4),
            probe=never,
            on_change=lambda _: None,
        )
        with pytest.raises(Unreachable) as caught:
            await child.start()
        assert caught.value.reason == "child_not_ready"
        assert child.pid is None

    asyncio.run(main())


def test_the_log_is_bounded_and_the_child_gets_no_environment(tmp_path: Path) -> None:
    async def main() -> None:
        program = (
            "import os\nprint(sorted(os.environ), flush=True)\n"
            "while True: print('x' * 1000, flush=True); time.sleep(0.01)"
        )
        child = Supervised(
            spec(tmp_path, program, log_bytes=20_000),
            probe=probe(tmp_path),
            on_change=lambda _: None,
        )
        await child.start()
        log = tmp_path / "logs" / "child.log"
        aside = log.with_name("child.log.1")
        await until(aside.exists)
        await until(lambda: log.stat().st_size < 20_000)
        await child.stop()
        assert aside.read_text().startswith(("[]", "['LC_CTYPE']"))

    asyncio.run(main())


PARENT = """
import asyncio, pathlib, sys
from fleetward.runtime.supervise import ChildSpec, Supervised
async def main():
    async def ready(): return True
    argv = (sys.executable, "-c", "import time; time.sleep(60)")
    spec = ChildSpec("c", argv, pathlib.Path(sys.argv[1]) / "log")
    child = Supervised(spec, probe=ready, on_change=lambda _: None)
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)  # past the moment when the child becomes its program
        assert alive(pid)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)
