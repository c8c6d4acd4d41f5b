"""How an ELF executable was hardened, read from its headers alone.

Every count and offset of the file is a claim: all are bounded, nothing is mapped or run, and
whatever does not fit raises Malformed.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import Final

from fleetward.trust.errors import Malformed
from fleetward.wire.posture import Hardening

MAX_PROGRAM_HEADERS: Final = 1024
"""Real executables have about a dozen."""
MAX_DYNAMIC_BYTES: Final = 1 << 20
MAX_STRINGS_BYTES: Final = 16 << 20
"""The dynamic names of the largest browser take about 1 MB."""

_ET_EXEC: Final = 2
_ET_DYN: Final = 3
_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_PT_INTERP: Final = 3
_PT_GNU_STACK: Final = 0x6474E551
_PT_GNU_RELRO: Final = 0x6474E552
_PF_X: Final = 1
_DT_STRTAB: Final = 5
_DT_STRSZ: Final = 10
_DT_BIND_NOW: Final = 24
_DT_FLAGS: Final = 30
_DT_FLAGS_1: Final = 0x6FFFFFFB
_DF_BIND_NOW: Final = 8
_DF_1_NOW: Final = 1
_DF_1_PIE: Final = 0x08000000

_CANARY: Final = re.compile(rb"\0__(?:intel_security_cookie|stack_chk_(?:fail|guard))\0")
_FORTIFIED: Final = re.compile(rb"\0__[a-z0-9_]+_chk\0")
_FORTIFIABLE: Final = re.compile(
    rb"\0(?:mem(?:cpy|move|set|pcpy)|st[pr]n?(?:cpy|cat)|v?s?n?printf|v?fprintf|gets|fgets|"
    rb"read|pread|recv|recvfrom|readlink|realpath|getcwd|fread)\0"
)


@dataclass(frozen=True)
class ElfHardening:
    """Five flags; `unknown` where the file cannot tell, as in a static executable."""

    canary: Hardening
    nx: Hardening
    pie: Hardening
    relro: Hardening
    fortify: Hardening
    static: bool


@dataclass(frozen=True)
class _Segment:
    kind: int
    flags: int
    offset: int
    address: int
    size: int


@dataclass(frozen=True)
class _Header:
    wide: bool
    order: str
    kind: int
    table_offset: int
    entry_size: int
    count: int


def _read(descriptor: int, size: int, offset: int, what: str) -> bytes:
    if offset < 0 or offset > 2**62:
        raise Malformed(f"{what} lies outside any file", reason="elf_malformed")
    content = os.pread(descriptor, size, offset)
    if len(content) != size:
        raise Malformed(f"{what} lies past the end of the file", reason="elf_malformed")
    return content


def _read_header(descriptor: int) -> _Header:
    ident = _read(descriptor, 20, 0, "the ELF header")
    if ident[:4] != b"\x7fELF":
        raise Malformed("not an ELF file", reason="elf_absent")
    if ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise Malformed("neither 32 nor 64 bit", reason="elf_malformed")
    wide, order = ident[4] == 2, "<" if ident[5] == 1 else ">"
    (kind,) = struct.unpack_from(order + "H", ident, 16)
    if wide:
        rest = _read(descriptor, 64, 0, "the ELF header")
        (offset,) = struct.unpack_from(order + "Q", rest, 32)
        entry_size, count = struct.unpack_from(order + "HH", rest, 54)
    else:
        rest = _read(descriptor, 52, 0, "the ELF header")
        (offset,) = struct.unpack_from(order + "I", rest, 28)
        entry_size, count = struct.unpack_from(order + "HH", rest, 42)
    if count > MAX_PROGRAM_HEADERS or (count and entry_size != (56 if wide else 32)):
        raise Malformed(f"{count} program headers of {entry_size} bytes", reason="elf_malformed")
    return _Header(wide, order, kind, offset, entry_size, count)


def _read_segments(descriptor: int, header: _Header) -> list[_Segment]:
    size = header.entry_size * header.count
    table = _read(descriptor, size, header.table_offset, "the program headers")
    segments = []
    for at in range(0, size, header.entry_size or 1):
        if header.wide:
            kind, flags, offset, address, _, size_in_file = struct.unpack_from(
                header.order + "IIQQQQ", table, at
            )
        else:
            kind, offset, address, _, size_in_file, _, flags = struct.unpack_from(
                header.order + "IIIIIII", table, at
            )
        segments.append(_Segment(kind, flags, offset, address, size_in_file))
    return segments


def _read_dynamic(descriptor: int, header: _Header, segments: list[_Segment]) -> dict[int, int]:
    """Return the dynamic tags; of one that repeats the last counts, as for the loader."""
    found = next((segment for segment in segments if segment.kind == _PT_DYNAMIC), None)
    if found is None or not found.size:
        return {}
    if found.size > MAX_DYNAMIC_BYTES:
        raise Malformed(f"a dynamic section of {found.size} bytes", reason="elf_malformed")
    form = struct.Struct(header.order + ("QQ" if header.wide else "II"))
    size = found.size - found.size % form.size
    tags: dict[int, int] = {}
    for tag, value in form.iter_unpack(_read(descriptor, size, found.offset, "the dynamic part")):
        if tag == 0:
            break
        tags[tag] = value
    return tags


def _read_names(descriptor: int, tags: dict[int, int], segments: list[_Segment]) -> bytes | None:
    """Return the dynamic string table, each name between zero bytes."""
    address, size = tags.get(_DT_STRTAB), tags.get(_DT_STRSZ)
    if address is None or size is None:
        return None
    if size > MAX_STRINGS_BYTES:
        raise Malformed(f"dynamic names of {size} bytes", reason="elf_malformed")
    for segment in segments:
        inside = address - segment.address
        if segment.kind == _PT_LOAD and inside >= 0 and inside + size <= segment.size:
            return b"\0" + _read(descriptor, size, segment.offset + inside, "dynamic names") + b"\0"
    raise Malformed("dynamic names outside every segment", reason="elf_malformed")


def _judge_stack(segments: list[_Segment]) -> Hardening:
    stacks = [segment for segment in segments if segment.kind == _PT_GNU_STACK]
    return "yes" if stacks and not any(segment.flags & _PF_X for segment in stacks) else "no"


def _judge_pie(kind: int, tags: dict[int, int], segments: list[_Segment]) -> Hardening:
    if kind == _ET_EXEC:
        return "no"
    starts = any(segment.kind == _PT_INTERP for segment in segments)
    if kind == _ET_DYN and (starts or tags.get(_DT_FLAGS_1, 0) & _DF_1_PIE):
        return "yes"
    return "unknown"


def _judge_relro(tags: dict[int, int], segments: list[_Segment]) -> Hardening:
    if not any(segment.kind == _PT_GNU_RELRO for segment in segments):
        return "no"
    now = (
        _DT_BIND_NOW in tags
        or tags.get(_DT_FLAGS, 0) & _DF_BIND_NOW
        or tags.get(_DT_FLAGS_1, 0) & _DF_1_NOW
    )
    return "yes" if now else "partial"


def _judge_fortify(names: bytes) -> Hardening:
    if _FORTIFIED.search(names.replace(b"\0__stack_chk_fail\0", b"\0\0")):
        return "yes"
    return "no" if _FORTIFIABLE.search(names) else "unknown"


def judge_elf(descriptor: int) -> ElfHardening:
    """Read the hardening of an open executable. Raises Malformed when it is not sound ELF."""
    header = _read_header(descriptor)
    segments = _read_segments(descriptor, header)
    tags = _read_dynamic(descriptor, header, segments)
    names = _read_names(descriptor, tags, segments)
    static = not any(segment.kind == _PT_INTERP for segment in segments)
    # Names follow one another, so each match consumes the zero byte that the next one needs.
    spaced = None if names is None or static else names.replace(b"\0", b"\0\0")
    return ElfHardening(
        canary="unknown" if spaced is None else ("yes" if _CANARY.search(spaced) else "no"),
        nx=_judge_stack(segments),
        pie=_judge_pie(header.kind, tags, segments),
        relro=_judge_relro(tags, segments),
        fortify="unknown" if spaced is None else _judge_fortify(spaced),
        static=static,
    )
