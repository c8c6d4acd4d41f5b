"""Starting a short-lived program behind walls, and saying which of them stand.

The program is a module with two functions: `before_walls(arguments)` reads what the kernel says
(it may see other processes), `after_walls(arguments, prepared)` parses what others wrote, and
returns the bytes that go to the parent. Between the two, this file takes away, in this order:

1. open-ended resources (memory, processor time, file sizes, descriptors);
2. the network, by an empty network namespace;
3. writing, by a recursive read-only remount, and secrets, by an empty file system over each;
4. identity and privileges: an unused user id, and of all capabilities only reading;
5. system calls that a reader does not need (sockets, starting programs, opening for writing).

Without root, steps 2 and 3 are tried in a user namespace. A wall that cannot be built is not
hidden: the result names it and says why. The first line that the child writes is that report,
written before it parses anything; whatever comes later is untrusted bytes.

    python -m fleetward.device.confine SPECIFICATION MODULE [ARGUMENTS…]
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import platform
import resource
import selectors
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol, cast

import msgspec

from fleetward.device.launcher.interpreter import module_argv, own_tree
from fleetward.trust.errors import FleetwardError, Misuse, Unreachable

MAX_REPORT_BYTES: Final = 8192
MAX_ERROR_BYTES: Final = 16384
MAX_DESCRIPTORS: Final = 256
STRANGER: Final = 4_294_960_000
"""A user id that no account and no other process has: who shares an id may look at each other."""

WallName = Literal["limits", "network", "files", "secrets", "privileges", "calls"]


class Wall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One wall: whether it stands, and if not, why."""

    name: WallName
    built: bool
    words: str


class Specification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the child is told about its walls."""

    hidden: tuple[str, ...]
    memory_bytes: int
    processor_seconds: int


class ConfinedResult(msgspec.Struct, frozen=True):
    """How a confined program ended. `output` is untrusted: the child read hostile files."""

    state: Literal["done", "failed", "too_slow", "too_much"]
    exit_code: int
    output: bytes
    errors: str
    walls: tuple[Wall, ...]
    seconds: float

    @property
    def missing(self) -> tuple[Wall, ...]:
        """Return the walls that could not be built."""
        return tuple(wall for wall in self.walls if not wall.built)


class Confinable(Protocol):
    """What a module offers to be run behind walls."""

    def before_walls(self, arguments: Sequence[str]) -> object:
        """Read what the kernel says."""

    def after_walls(self, arguments: Sequence[str], prepared: Any) -> bytes:
        """Parse what others wrote, and return the output."""


# --- The parent -----------------------------------------------------------------------------


def run_confined(
    argv: Sequence[str],
    *,
    hidden: Sequence[Path],
    timeout_seconds: float,
    memory_bytes: int,
    output_bytes: int,
    secret: bytes = b"",
) -> ConfinedResult:
    """Run a module of ours behind walls and wait for it; never longer than the time given.

    `argv` is the module's name and its arguments; a leading `[python, "-m"]` is accepted.
    `hidden` are files and folders that the child must not see; `secret` comes to its standard
    input, so that it stands in no argument. Raises Misuse when `argv` is
    not a module of this package, and Unreachable when no process can be started.
    """
    given = list(argv)
    if given[1:2] == ["-m"]:
        given = given[2:]
    if not given or not given[0].startswith("fleetward."):
        raise Misuse(
            f"Expected the name of a module of this package, came {given[:1]}.",
            reason="confine_not_a_module",
        )
    specification = Specification(
        hidden=tuple(str(path.resolve()) for path in hidden),
        memory_bytes=memory_bytes,
        processor_seconds=max(1, int(timeout_seconds) + 1),
    )
    command = module_argv("fleetward.device.confine", own_tree())
    command += [msgspec.json.encode(specification).decode(), *given]
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if secret else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        )
    except OSError as error:
        raise Unreachable(
            f"The collector cannot be started ({error.strerror}); it is tried again.",
            reason="confine_cannot_start",
        ) from error
    with child:
        if child.stdin is not None:
            _hand_over(child.stdin, secret)
        gathered = _gather(child, started + timeout_seconds, output_bytes + MAX_REPORT_BYTES)
        if gathered.stopped:
            _stop(child)
        code = child.wait()
    return _judge_result(gathered, code, output_bytes, time.monotonic() - started)


def _hand_over(pipe: IO[bytes], secret: bytes) -> None:
    """Write a few bytes, which a pipe holds, to a child that may have ended already."""
    try:
        pipe.write(secret)
        pipe.close()
    except OSError:
        pass  # Its end tells more than this does.


class _Gathered(msgspec.Struct):
    output: bytearray
    errors: bytearray
    stopped: Literal["", "too_slow", "too_much"] = ""


def _gather(child: subprocess.Popen[bytes], deadline: float, limit: int) -> _Gathered:
    """Read both pipes until they close, the deadline passes, or too much has come."""
    gathered = _Gathered(bytearray(), bytearray())
    with selectors.DefaultSelector() as selector:
        for pipe, target in ((child.stdout, gathered.output), (child.stderr, gathered.errors)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, target)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                gathered.stopped = "too_slow"
                break
            for key, _ in selector.select(left):
                block = os.read(key.fd, 1 << 16)
                if not block:
                    selector.unregister(key.fileobj)
                elif key.data is gathered.output:
                    gathered.output += block
                elif len(gathered.errors) < MAX_ERROR_BYTES:
                    gathered.errors += block
            if len(gathered.output) > limit:
                gathered.stopped = "too_much"
                break
    return gathered


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started; its session is its own."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        child.kill()


def _judge_result(
    gathered: _Gathered, code: int, output_bytes: int, seconds: float
) -> ConfinedResult:
    line, mark, output = bytes(gathered.output).partition(b"\n")
    walls: tuple[Wall, ...] = ()
    if mark and len(line) <= MAX_REPORT_BYTES:
        try:
            walls = msgspec.json.decode(line, type=tuple[Wall, ...])
        except (msgspec.MsgspecError, UnicodeError):
            output = b""
    state: Literal["done", "failed", "too_slow", "too_much"] = "done"
    if gathered.stopped:
        state = gathered.stopped
    elif len(output) > output_bytes:
        state = "too_much"
    elif code != 0 or not walls:
        state = "failed"
    return ConfinedResult(
        state=state,
        exit_code=code,
        output=output if state == "done" else b"",
        errors=ascii(bytes(gathered.errors[-2000:]).decode("utf-8", "replace"))[1:-1],
        walls=walls,
        seconds=seconds,
    )


# --- The child: system calls ----------------------------------------------------------------

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUTS: Final = 0x04000000
_CLONE_NEWIPC: Final = 0x08000000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_MS_RDONLY: Final = 1
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_NOEXEC: Final = 8
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_PRIVATE: Final = 1 << 18
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_SYS_MOUNT_SETATTR: Final = 442
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_KEEPCAPS: Final = 8
_PR_SET_SECCOMP: Final = 22
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_FILTER: Final = 2
_CAP_DAC_READ_SEARCH: Final = 2
_CAP_VERSION_3: Final = 0x20080522
_CAP_COUNT: Final = 64

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# Numbers of <asm/unistd_64.h> and <asm-generic/unistd.h>. Denied are: sockets; starting and
# touching other programs; changing names, modes and sizes; mounts, namespaces, modules, keys;
# and open_by_handle_at, by which a reader of everything could pass a hidden folder.
_COMMON: Final = (424, 425, 428, 429, 430, 434, 435, 437, 438, 442)
_DENIED: Final[dict[str, tuple[int, ...]]] = {
    "x86_64": (
        *(41, 42, 49, 50, 53, 56, 57, 58, 59, 62, 101, 200, 234, 310, 311, 322),
        *(76, 77, 82, 83, 84, 86, 87, 88, 90, 91, 92, 93, 94, 133, 188, 189, 190),
        *(258, 259, 260, 263, 264, 265, 266, 268, 280, 316),
        *(155, 161, 165, 166, 169, 175, 246, 248, 249, 250, 272, 298, 303, 304, 308, 313),
        *(321, 323),
    ),
    "aarch64": (
        *(117, 129, 130, 131, 198, 199, 200, 201, 203, 220, 221, 270, 271, 281),
        *(5, 6, 7, 33, 34, 35, 36, 37, 38, 45, 46, 52, 53, 54, 55, 88, 276),
        *(39, 40, 41, 51, 97, 104, 105, 142, 217, 218, 219, 241, 264, 265, 268, 273, 280, 282),
    ),
}
_OPENING: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "x86_64": ((2, 1), (257, 2)),
    "aarch64": ((56, 2),),
}
"""(number, argument that holds the flags) of `open` and `openat`; `creat` needs `x86_64` 85."""
_AUDIT: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


class _Kernel:
    """The few calls that the standard library does not offer."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of libc that returns zero; raise OSError otherwise."""
        if getattr(self._libc, name)(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def mount(self, source: str, target: str, kind: str | None, flags: int, data: str) -> None:
        """Mount; see mount(2)."""
        self.call(
            "mount",
            source.encode(),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            data.encode(),
        )

    def control(self, option: int, *values: int) -> None:
        """Call prctl with whole-width arguments."""
        wide = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
        self.call("prctl", option, *wide)


def build_filter(machine: str, *, opening: bool = True) -> bytes:
    """Return the program for the kernel's system call filter. Raises OSError when unknown.

    Without `opening` not even reading may be opened: what has its descriptors needs no more.
    """
    if machine not in _AUDIT or struct.calcsize("P") != 8:
        # A 32-bit program on a 64-bit kernel makes other calls than its kernel's name says.
        raise OSError(errno.ENOSYS, f"the system calls of {machine} are not listed")
    load, equal, greater, bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, end = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
    steps: list[tuple[int, str, int]] = []  # (code, "" or "refuse" or "skip:N", value)
    for number in (*_COMMON, *_DENIED[machine], *((85,) if machine == "x86_64" else ())):
        steps.append((equal, "refuse", number))
    if machine == "x86_64":
        steps.append((greater, "refuse", 0x40000000))
    for number, argument in _OPENING[machine]:
        if not opening:
            steps.append((equal, "refuse", number))
            continue
        steps.append((equal, "skip:3", number))
        steps.append((load, "", 16 + 8 * argument))
        steps.append((bits, "refuse", _WRITING))
        steps.append((give, "", allow))
    form = struct.Struct("=HBBI")
    program = form.pack(load, 0, 0, 4) + form.pack(equal, 1, 0, _AUDIT[machine])
    program += form.pack(give, 0, 0, end) + form.pack(load, 0, 0, 0)
    for index, (code, jump, value) in enumerate(steps):
        yes = len(steps) - index if jump == "refuse" else 0
        no = int(jump[5:]) if jump.startswith("skip:") else 0
        program += form.pack(code, yes, no, value)
    return program + form.pack(give, 0, 0, allow) + form.pack(give, 0, 0, refuse)


# --- The child: the walls, in order ---------------------------------------------------------


def _limit(specification: Specification) -> None:
    bounds = (
        (resource.RLIMIT_AS, specification.memory_bytes),
        (resource.RLIMIT_CPU, specification.processor_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS),
    )
    for name, value in bounds:
        _, hard = resource.getrlimit(name)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (bound, bound))


def _separate(kernel: _Kernel) -> None:
    """Leave the network, mount, name and message spaces of the machine."""
    spaces = _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWUTS | _CLONE_NEWIPC
    if os.geteuid() == 0:
        kernel.call("unshare", spaces)
        return
    user, group = os.geteuid(), os.getegid()
    kernel.call("unshare", spaces | _CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _hide(kernel: _Kernel, hidden: Sequence[str]) -> None:
    """Lay an empty folder over each secret folder, nothing over each secret file."""
    kernel.mount("none", "/", None, _MS_REC | _MS_PRIVATE, "")
    for path in hidden:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(mode):
            flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_RDONLY
            kernel.mount("none", path, "tmpfs", flags, "size=4k,mode=0")
        else:
            kernel.mount("/dev/null", path, None, _MS_BIND, "")


def _freeze(kernel: _Kernel) -> None:
    """Make every mount read-only, without devices and without raised rights."""
    attributes = struct.pack("=QQQQ", _MS_RDONLY | _MS_NOSUID | _MS_NODEV, 0, 0, 0)
    kernel.call(
        "syscall",
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        b"/",
        ctypes.c_uint(_AT_RECURSIVE),
        attributes,
        ctypes.c_size_t(len(attributes)),
    )


def _lower(kernel: _Kernel) -> None:
    """Become a stranger, keep of root's capabilities only the one to read files."""
    kept = 0
    if os.geteuid() == 0:
        for capability in range(_CAP_COUNT):
            if capability != _CAP_DAC_READ_SEARCH:
                try:
                    kernel.control(_PR_CAPBSET_DROP, capability)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
        kernel.control(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(STRANGER, STRANGER, STRANGER)
        os.setresuid(STRANGER, STRANGER, STRANGER)
        kept = 1 << _CAP_DAC_READ_SEARCH
    header = struct.pack("=Ii", _CAP_VERSION_3, 0)
    kernel.call("capset", header, struct.pack("=IIIIII", kept, kept, 0, 0, 0, 0))
    kernel.control(_PR_SET_NO_NEW_PRIVS, 1)
    kernel.control(_PR_SET_PDEATHSIG, signal.SIGKILL)


def forbid_calls(*, opening: bool) -> None:
    """Give up, for good, all calls but those of a process that reads (see `build_filter`).

    Raises `OSError` where the kernel or the processor has no such filter.
    """
    kernel = _Kernel()
    kernel.control(_PR_SET_NO_NEW_PRIVS, 1)
    _filter(kernel, opening=opening)


def _filter(kernel: _Kernel, *, opening: bool = True) -> None:
    program = build_filter(platform.machine(), opening=opening)
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    pointer = ctypes.create_string_buffer(head, len(head))
    kernel.control(_PR_SET_SECCOMP, _SECCOMP_FILTER, ctypes.addressof(pointer))


def build_walls(specification: Specification) -> tuple[Wall, ...]:
    """Build what can be built, in order, and report each wall."""
    return tuple(_walls(specification))


def _walls(specification: Specification) -> Iterator[Wall]:
    kernel = _Kernel()
    yield _build("limits", "Memory, time and files are bounded.", lambda: _limit(specification))
    network = _build("network", "It has no network.", lambda: _separate(kernel))
    yield network
    if network.built:
        yield _build(
            "secrets", "Secrets are out of sight.", lambda: _hide(kernel, specification.hidden)
        )
        yield _build("files", "Nothing can be written.", lambda: _freeze(kernel))
    else:
        words = "Not built: it needs its own name space for files, which the system refuses."
        yield Wall("secrets", built=False, words=words)
        yield Wall("files", built=False, words=words)
    yield _build("privileges", "It has no rights but to read.", lambda: _lower(kernel))
    yield _build("calls", "It can only read.", lambda: _filter(kernel))


def _build(name: WallName, words: str, build: Callable[[], None]) -> Wall:
    try:
        build()
    except (OSError, ValueError, AttributeError) as error:
        return Wall(name, built=False, words=f"Not built: {error}.")
    return Wall(name, built=True, words=words)


def main(arguments: Sequence[str]) -> int:
    """Be the child. The report comes first, then the output of the module."""
    specification = msgspec.json.decode(arguments[0], type=Specification)
    module = cast(Confinable, importlib.import_module(arguments[1]))
    try:
        prepared = module.before_walls(arguments[2:])
        report = msgspec.json.encode(build_walls(specification)) + b"\n"
        _write(report)
        _write(module.after_walls(arguments[2:], prepared))
    except FleetwardError as error:
        os.write(2, error.message.encode())
        return 1
    return 0


def _write(content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
