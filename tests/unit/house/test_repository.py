"""What must never be found in the project's own files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.unit.house.tracked import ROOT, list_tracked, read_text

SOURCES = ROOT / "src" / "fleetward"
THIS = Path(__file__).resolve()

BUILDERS_PLACES = re.compile(r"/work/|/tmp/plan|(?<![\w.$}])/root/|/home/(?!you/|user/)\w+/")
"""Folders of a machine on which somebody builds, which mean nothing to a reader."""

REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|npmjs\.(?:org|com)/|proxy\.golang|crates\.io"
    r"|artifactory|/simple/?(?:\s|$)|PIP_INDEX_URL=|index-url ?= ?http",
    re.IGNORECASE,
)

WEAKER = re.compile(
    r"(?:^|[_-])(?:insecure|unsafe|unverified|plaintext|allow[_-]http|trust[_-]all|skip[_-]\w+"
    r"|(?:no|without|disable|ignore)[_-](?:tls|ssl|verif\w*|check\w*|sign\w*|auth\w*|cert\w*))"
    r"(?:$|[_-])"
)
"""An option of such a name would turn a check off, and there is none."""

SECRET_NAMES = re.compile(r"(?:^|_)(?:password|passwd|pwd|password_hash)(?:$|_)")
OPTION = re.compile(r"^--?[a-z][a-z0-9-]*(?:/--[a-z][a-z0-9-]*)?$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(
    r"`((?:src|tests|tools|docs|locks|changes|console|bench|packs)/[\w./-]*\w)(?:::\w+)?`"
)
LOOKS_AT_MACHINES = (
    "src/fleetward/device/posture/",
    "tests/unit/posture/",
    "tests/attack/test_compare_hostile.py",
)
"""Collectors know the folders of a machine that they look at, root's among them."""

TELLS_OF_LOGINS = ("src/fleetward/wire/posture.py", "src/fleetward/server/posture/")
"""Whether a user of a machine has a password (set, locked, empty) is evidence, not a secret."""

MADE_LATER = (
    "src/fleetward/server/web/static",
    "src/fleetward/keyholder/console/static",
    "src/fleetward/keyholder/technician/static",
)


@cache
def list_texts() -> tuple[tuple[str, str], ...]:
    """Read every text file of the project but this one, which spells out what it looks for."""
    texts = ((path, read_text(path)) for path in list_tracked() if path != THIS)
    return tuple((str(path.relative_to(ROOT)), text) for path, text in texts if text is not None)


def find_lines(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in list_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


@cache
def parse_sources() -> tuple[tuple[str, ast.Module], ...]:
    """Parse every Python file that is shipped."""
    paths = sorted(SOURCES.rglob("*.py"))
    return tuple(
        (str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))) for path in paths
    )


def list_option_strings() -> Iterator[tuple[str, str]]:
    """Yield every string of the shipped sources that has the form of a command-line option."""
    for name, tree in parse_sources():
        for node in ast.walk(tree):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and OPTION.match(value):
                yield name, value


def list_field_names() -> Iterator[tuple[str, str]]:
    """Yield the names of all fields of classes, and of all columns of tables."""
    for name, tree in parse_sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                        yield name, inner.target.id
            elif isinstance(node, ast.Call) and _called_name(node) in {"Column", "column"}:
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant):
                    yield name, str(first.value)


def list_parameters() -> Iterator[tuple[str, str]]:
    """Yield the parameters of functions: a Typer option is one of them."""
    for name, tree in parse_sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                spec = node.args
                for one in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs):
                    yield name, one.arg


def _called_name(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def test_no_folder_of_a_builders_machine_is_named() -> None:
    found = find_lines(BUILDERS_PLACES)
    assert not [line for line in found if not line.startswith(LOOKS_AT_MACHINES)]


def test_no_address_of_a_package_registry_is_named() -> None:
    assert not find_lines(REGISTRIES)


def test_no_private_key_is_checked_in() -> None:
    assert not find_lines(re.compile(r"^\s*-----BEGIN [A-Z ]*PRIVATE KEY-----"))


def test_nothing_is_left_for_later_in_shipped_code() -> None:
    shipped = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
    assert not [line for line in find_lines(shipped) if line.startswith(("src/", "tools/"))]


def test_no_option_turns_a_check_off() -> None:
    options = [found for found in list_option_strings() if WEAKER.search(found[1].lstrip("-"))]
    assert not options
    assert not [found for found in list_parameters() if WEAKER.search(found[1])]
    assert not [found for found in list_field_names() if WEAKER.search(found[1])]


@pytest.mark.parametrize(
    "name", ["insecure", "no-verify", "skip-signature", "disable_tls", "allow-http", "no-checks"]
)
def test_such_an_option_would_be_noticed(name: str) -> None:
    assert WEAKER.search(name)


@pytest.mark.parametrize("name", ["no-browser", "notify", "once", "once-verified", "signature"])
def test_an_honest_option_is_left_alone(name: str) -> None:
    assert not WEAKER.search(name)


def test_no_password_is_stored_anywhere() -> None:
    fields = list(list_field_names())
    assert len(fields) > 50
    secret = [(name, field) for name, field in fields if SECRET_NAMES.search(field)]
    assert not [found for found in secret if not found[0].startswith(TELLS_OF_LOGINS)]


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_shipped_file_says_what_it_is_for() -> None:
    silent = [
        name for name, tree in parse_sources() if tree.body and ast.get_docstring(tree) is None
    ]
    assert not silent


def list_documents() -> list[tuple[Path, str]]:
    documents = [(ROOT / name, text) for name, text in list_texts() if name.endswith(".md")]
    assert len(documents) > 5
    return documents


def test_links_in_documents_lead_somewhere() -> None:
    broken = []
    for path, text in list_documents():
        for match in LINK.finditer(text):
            target = (match[1] or match[2]).partition("#")[0]
            if target and "://" not in target and not target.startswith("mailto:"):
                place = path.parent / target
                broken += [] if place.exists() else [f"{path.relative_to(ROOT)}: {target}"]
    assert not broken


def test_files_named_in_documents_are_there() -> None:
    gone = []
    for path, text in list_documents():
        for name in (match[1] for match in NAMED.finditer(text)):
            if not (ROOT / name).exists() and not name.startswith(MADE_LATER):
                gone.append(f"{path.relative_to(ROOT)}: {name}")
    assert not gone
