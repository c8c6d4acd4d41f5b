"""Hardening of ELF files, against pyelftools on the executables of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from fleetward.device.posture.elf import ElfHardening, judge_elf
from fleetward.trust.errors import Malformed


def judge(path: Path) -> ElfHardening:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return judge_elf(descriptor)
    finally:
        os.close(descriptor)


def _is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def _sample() -> list[Path]:
    found = [path for path in sorted(Path("/usr/bin").iterdir()) if _is_elf(path)]
    return found[:: max(1, len(found) // 60)]


def _told_by_pyelftools(path: Path) -> tuple[bool, bool, bool, bool, bool, bool]:
    """Return (nx, pie, relro, now, canary, static) as another reader sees them."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        kinds = [segment["p_type"] for segment in elf.iter_segments()]
        stack = next((s for s in elf.iter_segments() if s["p_type"] == "PT_GNU_STACK"), None)
        static = "PT_INTERP" not in kinds
        flags = flags_1 = 0
        bind = False
        for section in elf.iter_sections():
            if isinstance(section, DynamicSection):
                for tag in section.iter_tags():
                    bind = bind or tag.entry.d_tag == "DT_BIND_NOW"
                    flags = tag.entry.d_val if tag.entry.d_tag == "DT_FLAGS" else flags
                    flags_1 = tag.entry.d_val if tag.entry.d_tag == "DT_FLAGS_1" else flags_1
        symbols = elf.get_section_by_name(".dynsym")
        names = (
            {symbol.name for symbol in symbols.iter_symbols()}
            if isinstance(symbols, SymbolTableSection)
            else set()
        )
        return (
            stack is not None and not stack["p_flags"] & 1,
            elf["e_type"] == "ET_DYN",
            "PT_GNU_RELRO" in kinds,
            bind or bool(flags & 8) or bool(flags_1 & 1),
            "__stack_chk_fail" in names,
            static,
        )


def test_the_executables_of_this_machine_are_judged_as_pyelftools_reads_them() -> None:
    sample = _sample()
    assert len(sample) > 10
    for path in sample:
        nx, pie, relro, now, canary, static = _told_by_pyelftools(path)
        found = judge(path)
        assert (found.nx == "yes") == nx, path
        assert found.relro == ("no" if not relro else "yes" if now else "partial"), path
        assert found.static == static, path
        if not static:
            assert (found.pie == "yes") == pie, path
            assert (found.canary == "yes") == canary, path
        else:
            assert found.canary == "unknown", path


def test_bash_of_debian_is_fully_hardened() -> None:
    if not Path("/etc/debian_version").exists():
        pytest.skip("not Debian")
    found = judge(Path("/usr/bin/bash"))
    assert (found.canary, found.nx, found.pie, found.fortify) == ("yes", "yes", "yes", "yes")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!/bin/sh\n",
        b"\x7fELF",
        b"\x7fELF\x02\x01" + b"\xff" * 58,
        b"\x7fELF\x01\x02" + b"\xff" * 46,
        b"\x7fELF\x03\x01" + b"\0" * 60,
    ],
)
def test_what_is_no_sound_elf_is_malformed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(Malformed):
        judge(path)
