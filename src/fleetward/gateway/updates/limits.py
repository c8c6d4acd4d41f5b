"""How often who may have the upstream asked, and what is not asked of it for now.

A stranger on the site's network can name digests that nobody has. Each costs the upstream a
question, so those are rationed: for each address, and in all. What was not there is remembered for
a moment. Both tables are bounded. Pure but for the time, which is an argument.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

MISSES_BURST: Final = 24.0
"""Questions of one address at once: the parts of a few releases."""
MISSES_PER_SECOND: Final = 0.25
ALL_BURST: Final = 96.0
ALL_PER_SECOND: Final = 2.0
MOST_ADDRESSES: Final = 1024
MOST_UNASKED: Final = 4096


def group_of(address: str) -> str:
    """Return what counts as one asker: an IPv4 address, or an IPv6 network of 64 bits."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float

    def fill(self, now: float, burst: float, per_second: float) -> None:
        self.left = min(burst, self.left + max(0.0, now - self.at) * per_second)
        self.at = now


class Ration:
    """Questions about blobs that the cache has not got. One that was there is given back."""

    def __init__(self, now: float) -> None:
        self._all = _Bucket(ALL_BURST, now)
        self._each: dict[str, _Bucket] = {}

    def take(self, group: str, now: float) -> bool:
        """Return whether this asker may have the upstream asked now."""
        own = self._each.pop(group, None) or _Bucket(MISSES_BURST, now)
        while len(self._each) >= MOST_ADDRESSES:
            del self._each[next(iter(self._each))]
        self._each[group] = own
        own.fill(now, MISSES_BURST, MISSES_PER_SECOND)
        self._all.fill(now, ALL_BURST, ALL_PER_SECOND)
        if own.left < 1 or self._all.left < 1:
            return False
        own.left -= 1
        self._all.left -= 1
        return True

    def give_back(self, group: str) -> None:
        """Note that what this asker named was there."""
        self._all.left = min(ALL_BURST, self._all.left + 1)
        if group in self._each:
            self._each[group].left = min(MISSES_BURST, self._each[group].left + 1)


class Unasked:
    """Blobs that the upstream is not asked for until a time, and why."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, sha256: str, until: float) -> None:
        """Ask for this one no more until then. The oldest entry goes where there are too many."""
        self._until.pop(sha256, None)
        while len(self._until) >= MOST_UNASKED:
            del self._until[next(iter(self._until))]
        self._until[sha256] = until

    def has(self, sha256: str, now: float) -> bool:
        """Return whether this one is not asked for now."""
        return self._until.get(sha256, now) > now

    def __len__(self) -> int:
        return len(self._until)
