"""The closer: `python -I -m fleetward.device.access.closer_main --guard FD`.

A process of a moment that closes ports, because guard has no right to the network. It is started
like a session's process, hears words of numbers alone (`closing_words`), and ends. It decides
nothing: what may be closed, guard has judged.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from fleetward.device.access.closing_words import (
    MAX_TEXTS,
    MAX_WORD_BYTES,
    Access,
    Check,
    Checked,
    Done,
    Shut,
    Survey,
    Surveyed,
    Upward,
    clean,
    encode,
    read_downward,
)
from fleetward.device.access.connections import Look, look, name_inodes
from fleetward.device.access.local_ways import (
    Services,
    find_ports,
    find_running,
    find_services,
)
from fleetward.device.access.nft_rules import Filter, find_nft
from fleetward.device.privileges import seal_process
from fleetward.trust.errors import FleetwardError, Unreachable

LIFE_SECONDS: Final = 150
"""It ends by itself after so long, whatever a tool does."""


@dataclass(frozen=True)
class Closer:
    """Closes. Tests hand in services and a filter of their own."""

    services: Services
    find_filter: Callable[[], Filter]

    def survey(self, word: Survey) -> Surveyed:
        """Say what there is, and try whether the kernel takes a filter from us."""
        try:
            if os.geteuid() != 0:
                raise Unreachable(
                    "the agent does not run as root, which alone may close ports. Install it with "
                    "`sudo fleetward-agent install`.",
                    reason="no_root",
                )
            self.find_filter().try_rules()
        except FleetwardError as e:
            return Surveyed(e.message, (), ())
        seen = look()
        names = name_inodes({row.inode for row in seen.waiting})
        units = self.services.list_on(word.local_access)
        ports = {*find_ports(word.local_access, seen, names), *self.services.ports_of(units)}
        return Surveyed("", units, tuple(sorted(ports)))

    def shut(self, word: Shut) -> Done:
        """Have it so. The filter is replaced as a whole; services follow it.

        First nobody new gets in, then those who are in are looked for once more and cut: nobody
        slips through between the two.
        """
        seen = look()
        try:
            table = self.find_filter()
            # Those named before stay named while they live: the kernel may revive them otherwise.
            known = table.flows()
            flows = seen.flows_to(word.tcp, known)
            mark = table.replace(word.tcp, word.udp, flows)
            late = look().flows_to(word.tcp, flows)
            if set(late) - set(flows):
                flows = sorted({*flows, *late})
                mark = table.replace(word.tcp, word.udp, flows)
        except FleetwardError as e:
            return Done(e.message, "", "", (), 0, (), ())
        failed = [*self.services.stop(word.stop), *self.services.start(word.start)]
        remark = f"These did not obey: {', '.join(failed)}." if failed else ""
        cut = [flow for flow in flows if flow not in known]
        return _say_done(mark, remark, [flow.words() for flow in cut], word.local_access)

    def check(self) -> Checked:
        """Return the mark of the filter as it stands."""
        try:
            return Checked(self.find_filter().mark())
        except FleetwardError:
            return Checked("")


def _say_done(mark: str, remark: str, cut: list[str], ways: Collection[Access]) -> Done:
    after: Look = look()
    beyond = [row for row in after.waiting if not row.loopback]
    names = name_inodes({row.inode for row in beyond})
    listening = sorted(
        {(r.port, f"{r.protocol}/{r.port} {names.get(r.inode, '')}".strip()) for r in beyond}
    )
    return Done(
        "",
        remark,
        mark,
        tuple(sorted({clean(text) for text in cut}))[:MAX_TEXTS],
        len(cut),
        tuple(dict.fromkeys(clean(text) for _, text in listening))[:MAX_TEXTS],
        find_running(ways, beyond, names),
    )


def main(argv: list[str] | None = None) -> int:
    """Do what guard says until it says no more; return the exit status."""
    arguments = _parse(argv)
    seal_process(arguments.parent)
    os.umask(0o077)
    signal.alarm(LIFE_SECONDS)
    guard = _take_socket(arguments.guard)
    closer = Closer(find_services(), lambda: Filter(find_nft()))
    try:
        while data := guard.recv(MAX_WORD_BYTES):
            guard.send(encode(_answer(closer, data)))
    except (FleetwardError, OSError) as e:
        sys.stderr.write(f"closer: {e}\n")
        return 1
    return 0


def _answer(closer: Closer, data: bytes) -> Upward:
    word = read_downward(data)
    if isinstance(word, Survey):
        return closer.survey(word)
    if isinstance(word, Shut):
        return closer.shut(word)
    assert isinstance(word, Check)
    return closer.check()


def _take_socket(descriptor: int) -> socket.socket:
    """Return guard's socket, which no tool that is started here inherits."""
    moved = os.dup(descriptor)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    return socket.socket(fileno=moved)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Close ports. Started by the agent alone.")
    parser.add_argument("--guard", type=int, default=0)
    parser.add_argument("--parent", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
