"""What is different between two looks. Pure: two looks in, differences out.

1. A row that only the later look has was added, one that only the earlier has was removed, one with
   another value was changed. A kind that one of them does not have is passed over.
2. The same holds for the entries of a folder, where both looks listed it to its end.
3. A folder that only one look has counts with all that is in it, when the other look shows that it
   was not there; when the other did not get there, nothing is said of it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from fleetward.device.posture.compare.snapshot import FileState, Row, Snapshot
from fleetward.wire.comparison import Difference

KINDS: Final = (
    "user", "group", "key", "sudo", "cron", "at", "unit", "start", "boot", "preload", "shell",
    "pam", "sshd", "raised", "socket", "module", "program", "tool",
)  # fmt: skip
MAX_SHOWN: Final = 400
"""Characters of a name or value in a document: a person reads no more."""
_TYPES: Final = {
    stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device", stat.S_IFBLK: "device", stat.S_IFREG: "file",
}  # fmt: skip

Change = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Delta:
    """One difference with the rows themselves; `show` makes of it what stands in a document."""

    kind: str
    change: Change
    name: str
    before: Row = ()
    after: Row = ()

    def show(self) -> Difference:
        """Return it as it stands in a document. What stands for a secret is left out."""
        before, after = _say(self.kind, self.before), _say(self.kind, self.after)
        if before == after and self.change == "changed":
            after = after and "another content"
            if self.kind == "user":
                after = "another password"
        return Difference(
            kind=self.kind, change=self.change, name=_shorten(self.name), before=before, after=after
        )


def find_deltas(before: Snapshot, after: Snapshot) -> list[Delta]:
    """Return every difference: those of named kinds first, then files in the order of paths."""
    found: list[Delta] = []
    for kind in KINDS:
        if kind in before.facts and kind in after.facts:
            found.extend(_compare_rows(kind, before.facts[kind], after.facts[kind]))
    found.extend(sorted(_compare_folders(before, after), key=lambda delta: delta.name))
    return found


def _compare_rows(kind: str, old: Mapping[str, Row], new: Mapping[str, Row]) -> Iterator[Delta]:
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was is None and now is not None:
            yield Delta(kind, "added", name, (), now)
        elif now is None and was is not None:
            yield Delta(kind, "removed", name, was, ())
        elif was is not None and now is not None and was != now:
            yield Delta(kind, "changed", name, was, now)


def _compare_folders(before: Snapshot, after: Snapshot) -> Iterator[Delta]:
    earlier, later = _Side(before), _Side(after)
    for path in before.folders.keys() | after.folders.keys():
        old, new = before.folders.get(path), after.folders.get(path)
        if old is None and new is not None:
            # 3.
            if earlier.lacks(path):
                yield from _compare_entries(path, {}, new)
        elif new is None and old is not None:
            if later.lacks(path):
                yield from _compare_entries(path, old, {})
        elif old is not None and new is not None:
            yield from _compare_both(path, old, new, whole=earlier.has_whole(path, later))


def _compare_both(
    path: str, old: Mapping[str, FileState], new: Mapping[str, FileState], *, whole: bool
) -> Iterator[Delta]:
    if not whole:
        # 2. What both saw can be compared; what one lacks may be what it did not reach.
        both = old.keys() & new.keys()
        old, new = ({name: side[name] for name in both} for side in (old, new))
    yield from _compare_entries(path, old, new)


@dataclass(slots=True)
class _Side:
    """One look, asked for what it shows not to have been there."""

    look: Snapshot

    def has_whole(self, path: str, other: _Side) -> bool:
        """Say whether both looks listed a folder to its end."""
        return path not in self.look.partial and path not in other.look.partial

    def lacks(self, path: str) -> bool:
        """Say whether this look shows that a folder was not there."""
        while path not in ("", "/"):
            parent, _, name = path.rpartition("/")
            listed = self.look.folders.get(parent or "/")
            if listed is not None:
                known = listed.get(name)
                there = known is not None and stat.S_ISDIR(known.mode)
                return not there and parent not in self.look.partial
            path = parent
        return False


def _compare_entries(
    path: str, old: Mapping[str, FileState], new: Mapping[str, FileState]
) -> Iterator[Delta]:
    for name in old.keys() | new.keys():
        was, now = old.get(name), new.get(name)
        whole = f"{path.rstrip('/')}/{name}"
        if was is None and now is not None:
            yield Delta("file", "added", whole, (), (_describe(now),))
        elif now is None and was is not None:
            yield Delta("file", "removed", whole, (_describe(was),), ())
        elif was is not None and now is not None and (ways := list(_ways(was, now))):
            first, second = zip(*ways, strict=True)
            yield Delta("file", "changed", whole, ("; ".join(first),), ("; ".join(second),))


def _ways(was: FileState, now: FileState) -> Iterator[tuple[str, str]]:
    """Yield in what an entry differs, before and after. A folder's own times say nothing."""
    if stat.S_IFMT(was.mode) != stat.S_IFMT(now.mode):
        yield _type(was), _type(now)
    elif stat.S_IMODE(was.mode) != stat.S_IMODE(now.mode):
        yield _mode(was), _mode(now)
    if (was.uid, was.gid) != (now.uid, now.gid):
        yield f"of {was.uid}:{was.gid}", f"of {now.uid}:{now.gid}"
    if stat.S_ISDIR(now.mode) or stat.S_ISSOCK(now.mode) or stat.S_ISFIFO(now.mode):
        return
    told = was.content and now.content
    other = was.content != now.content if told else False
    timed = (was.size, was.mtime_ns, was.inode) != (now.size, now.mtime_ns, now.inode)
    if was.size != now.size:
        yield f"{was.size} bytes", f"{now.size} bytes"
    elif other:
        same = (was.size, was.mtime_ns) == (now.size, now.mtime_ns)
        yield "", "another content" + (", its time set back" if same else "")
    elif timed and not told:
        yield "", "written again"


def _describe(state: FileState) -> str:
    size = f", {state.size} bytes" if stat.S_ISREG(state.mode) else ""
    return f"{_type(state)} {_mode(state)} of {state.uid}:{state.gid}{size}"


def _type(state: FileState) -> str:
    return _TYPES.get(stat.S_IFMT(state.mode), "something")


def _mode(state: FileState) -> str:
    return f"{stat.S_IMODE(state.mode):04o}"


_PLACES: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "user": (("uid", 0), ("group", 1), ("shell", 2), ("home", 3), ("password", 4)),
    "group": (("gid", 0), ("members", 1)),
    "key": (("", 3), ("", 4)),
    "unit": (("", 1),),
    "start": (("to", 0),),
    "raised": (("mode", 0), ("owner", 1), ("group", 2)),
    "socket": (("", 0), ("", 1), ("", 2), ("user", 3)),
    "tool": (("", 1), ("approved by", 2)),
    "cron": (), "sudo": (), "at": (), "boot": (), "shell": (), "pam": (), "sshd": (),
    "preload": (), "module": (), "program": (),
}  # fmt: skip


def _say(kind: str, row: Row) -> str:
    """Return a row in words; digests and marks are never among them."""
    if kind == "file":
        return _shorten("; ".join(row))
    parts = [
        f"{name} {row[place]}".strip()
        for name, place in _PLACES.get(kind, ())
        if place < len(row) and row[place] and not row[place].startswith("link:")
    ]
    return _shorten(", ".join(parts))


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
