"""The filter that closes ports: one table of nftables of our own, replaced as a whole.

Everything in it is made of numbers and of addresses that the kernel named. What it does:

- Nothing on loopback is touched.
- A packet to this machine is dropped when it goes to a closed port and its connection was begun by
  the other side (`ct direction original`). So a connection that this machine began itself lives,
  also one whose own port happens to have a closed number: the agent's, or that of a clock.
- Connections that were there before the filter are named one by one, as the kernel's table lists
  them, and dropped in both directions: the kernel cannot say any more who began those.

The hook comes before addresses are translated, so that a port which is handed on into a container
is closed too. `fib daddr type` leaves alone what this machine only forwards.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleetward.device.access.closing_words import PROGRAMS_PATH
from fleetward.trust.errors import Malformed, Unreachable

TABLE: Final = "fleetward"
TOOL_SECONDS: Final = 20
MAX_OUTPUT_BYTES: Final = 4 * 1024 * 1024
MAX_CUT: Final = 4096
"""Connections that are named one by one."""
_REMOVE: Final = f"table inet {TABLE} {{}}\ndelete table inet {TABLE}\n"


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """One connection: the other side's address and port, and our port."""

    address: str
    peer_port: int
    port: int

    def words(self) -> str:
        """Say it to a person."""
        shown = f"[{self.address}]" if ":" in self.address else self.address
        return f"{shown}:{self.peer_port} on tcp/{self.port}"


def render(tcp: Sequence[int], udp: Sequence[int], flows: Iterable[Flow]) -> str:
    """Return what makes nft replace our table by this one. Raises `Malformed` for anything else
    than port numbers and addresses.

    Without ports and flows it only removes the table.
    """
    named = list(flows)
    if not tcp and not udp and not named:
        return _REMOVE
    cut = {4: set[str](), 6: set[str]()}
    for flow in named[:MAX_CUT]:
        try:
            address = ipaddress.ip_address(flow.address)
        except ValueError as e:
            raise Malformed("Expected an address of the kernel's.", reason="bad_address") from e
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            raise Malformed("Expected an address without a scope.", reason="bad_address")
        ports = f"{_port(flow.peer_port)} . {_port(flow.port)}"
        cut[address.version].add(f"{address.compressed} . {ports}")
    tuples = "inet_service . inet_service"
    return "\n".join(
        (
            _REMOVE + f"table inet {TABLE} {{",
            _set("tcp_ports", "inet_service", (str(_port(p)) for p in tcp)),
            _set("udp_ports", "inet_service", (str(_port(p)) for p in udp)),
            _set("cut4", f"ipv4_addr . {tuples}", cut[4]),
            _set("cut6", f"ipv6_addr . {tuples}", cut[6]),
            " chain arriving {",
            "  type filter hook prerouting priority -150; policy accept;",
            '  iifname "lo" accept',
            "  ip saddr . tcp sport . tcp dport @cut4 drop",
            "  ip6 saddr . tcp sport . tcp dport @cut6 drop",
            "  fib daddr type != { local, broadcast, multicast } accept",
            "  ct direction original tcp dport @tcp_ports drop",
            "  ct direction original udp dport @udp_ports drop",
            " }",
            " chain leaving {",
            "  type filter hook output priority -150; policy accept;",
            '  oifname "lo" accept',
            "  ip daddr . tcp dport . tcp sport @cut4 drop",
            "  ip6 daddr . tcp dport . tcp sport @cut6 drop",
            " }",
            "}\n",
        )
    )


def find_nft() -> str:
    """Return the path of nft. Raises `Unreachable`."""
    found = shutil.which("nft", path=PROGRAMS_PATH)
    if found is None:
        raise Unreachable(
            "nft is missing: install the package nftables on this machine.", reason="no_nft"
        )
    return found


class Filter:
    """Our table in the kernel. Needs the right to change the network (CAP_NET_ADMIN)."""

    def __init__(self, nft: str) -> None:
        self._nft = nft

    def try_rules(self) -> None:
        """Have a table checked that is not loaded. Raises `Unreachable` when none can be."""
        self._run(["--check", "-f", "-"], render([1], [1], [Flow("192.0.2.1", 1, 1)]))

    def replace(self, tcp: Sequence[int], udp: Sequence[int], flows: Iterable[Flow]) -> str:
        """Replace the table by one for these, all at once; return its mark.

        Raises `Unreachable`; the table is then the one from before.
        """
        self._run(["-f", "-"], render(tcp, udp, flows))
        return self.mark()

    def mark(self) -> str:
        """Return what names the table as it stands: 64 digits, or nothing without a table."""
        table = self._list()
        return (
            hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest() if table else ""
        )

    def flows(self) -> list[Flow]:
        """Return the connections that the table names now."""
        found: list[Flow] = []
        for row in self._list():
            held = row.get("set", {})
            if held.get("name") in ("cut4", "cut6"):
                for element in held.get("elem", ()):
                    address, peer_port, port = element["concat"]
                    found.append(Flow(str(address), int(peer_port), int(port)))
        return found

    def _list(self) -> list[dict[str, Any]]:
        """Return the table's parts without what changes by itself; nothing without a table."""
        try:
            out = self._run(["-j", "list", "table", "inet", TABLE], "")
        except Unreachable:
            return []
        rows = json.loads(out)["nftables"]
        return [_without_handles(row) for row in rows if "metainfo" not in row]

    def _run(self, arguments: Sequence[str], text: str) -> bytes:
        try:
            done = subprocess.run(
                [self._nft, *arguments],
                input=text.encode("ascii"),
                capture_output=True,
                timeout=TOOL_SECONDS,
                check=False,
                env={"LC_ALL": "C", "PATH": PROGRAMS_PATH},
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise Unreachable(f"nft did not run: {e}.", reason="nft_failed") from e
        if done.returncode != 0 or len(done.stdout) > MAX_OUTPUT_BYTES:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise Unreachable(f"nft says: {(said or ['nothing'])[0][:200]}", reason="nft_failed")
        return done.stdout


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(sorted(elements))
    filled = f" elements = {{ {listed} }};" if listed else ""
    return f" set {name} {{ type {kind};{filled} }}"


def _port(number: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 65536:
        raise Malformed("Expected a port number.", reason="bad_port")
    return number


def _without_handles(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_handles(v) for k, v in value.items() if k not in ("handle", "index")}
    if isinstance(value, list):
        return [_without_handles(each) for each in value]
    return value
