"""Procedures that need files, written so that they fetch none: what a driver gives is all they get.

A procedure is a generator that yields a `Want` and receives the bytes, or None where there are
none. `Steps` runs one for a driver, who does all I/O:

    steps = Refresh(root, now_ms)
    while steps.want is not None:
        try:
            steps.give(fetch(steps.want))
        finally:
            store(steps.take_changes())

Rules for drivers:

1. Read at most `max_bytes` + 1 bytes; give what came. More is refused here.
2. Where a file is not there, give None. Where it could not be learnt whether it is, give nothing:
   abandon the steps, and begin anew later.
3. Store the changes in their order, each durable before the next, also after an exception: they
   were verified before it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from fleetward.trust.errors import Malformed, Misuse, Refused, Unreachable, Untrusted
from fleetward.trust.releases import limits
from fleetward.trust.releases.names import name_file, name_kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Want:
    """The file that is needed next."""

    role: str
    version: int | None
    """The version that stands in the file's name; None where names carry none."""
    max_bytes: int
    is_kept: bool = False
    """Whether it is sought among what the machine kept, and not in the repository."""
    may_be_absent: bool = False

    @property
    def file_name(self) -> str:
        """The file's name, safe in a path and in a URL."""
        return name_file(self.role, self.version)


@dataclass(frozen=True, slots=True)
class Change:
    """What to keep for the next time: a role's verified bytes, or None to forget them."""

    role: str
    data: bytes | None

    @property
    def file_name(self) -> str:
        """The name to keep it under: without a version, safe in a path."""
        return name_file(self.role, None)


Run: TypeAlias = Generator[Want, "bytes | None", T]
"""A procedure: wants files, receives bytes, returns what it was run for."""


class Steps(Generic[T]):
    """One run of a procedure, which raises what the procedure raises and is over then."""

    def __init__(self, run: Run[T], changes: list[Change]) -> None:
        self._run = run
        self._changes = changes
        self._result: tuple[T] | None = None
        self.want: Want | None = None
        self._advance(None)

    def give(self, data: bytes | None) -> None:
        """Answer the want.

        Raises `Unreachable` when the file is absent and must not be, `Malformed`, `Untrusted` or
        `Refused` when it may not be believed.
        """
        want, self.want = self.want, None
        if want is None:
            raise Misuse("Bytes were given that nobody wants.", reason="wrong_order")
        if data is not None and len(data) > want.max_bytes:
            if not want.is_kept:
                raise Malformed(
                    f"Expected at most {want.max_bytes} bytes of {want.file_name}, got more.",
                    reason=f"{name_kind(want.role)}_too_large",
                )
            data = None
        if data is None and not want.may_be_absent:
            raise Unreachable(
                f"{want.file_name} is not there. Try again later, or from elsewhere.",
                reason=f"{name_kind(want.role)}_absent",
            )
        self._advance(data)

    def take_changes(self) -> tuple[Change, ...]:
        """Return what is to be stored since the last call, in this order."""
        taken = tuple(self._changes)
        self._changes.clear()
        return taken

    @property
    def result(self) -> T:
        """What the procedure returned. Raises `Misuse` before it has."""
        if self._result is None:
            raise Misuse("The steps are not at their end.", reason="not_finished")
        return self._result[0]

    def _advance(self, data: bytes | None) -> None:
        try:
            self.want = self._run.send(data)
        except StopIteration as e:
            self._result = (e.value,)


def want_kept(role: str) -> Want:
    """Return the wish for a file that the machine kept; it may be absent."""
    return Want(role, None, limits.MAX_KEPT_BYTES, is_kept=True, may_be_absent=True)


def try_kept(data: bytes | None, load: Callable[[bytes], object]) -> bool:
    """Load a kept file if it still holds. One that does not is no error: it is fetched again."""
    if data is None:
        return False
    try:
        load(data)
    except (Malformed, Untrusted, Refused):
        return False
    return True
