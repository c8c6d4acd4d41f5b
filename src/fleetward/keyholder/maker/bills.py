"""Bills of materials: CycloneDX 1.6 JSON, given by the maker or made of what is packed.

A given one is better: a build knows its libraries, a folder of files does not. What is made here
names each file with its SHA-256, and each Debian package with name, version and architecture. It
is meant for people who ask what a release holds, and for the difference between two.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from fleetward.keyholder.maker.debs import DebPackage
from fleetward.keyholder.maker.packing import PackedFile
from fleetward.trust.errors import Malformed

SPEC_VERSION: Final = "1.6"
MAX_BILL_BYTES: Final = 64 * 1024 * 1024
MAX_COMPONENTS: Final = 250_000
_KINDS: Final = ("application", "firmware", "operating-system", "library", "file")
_SPACE: Final = uuid.UUID("6f0c0e0a-4d0e-5b52-9d0a-9f6a6e1f7a11")
"""A name space of ours (RFC 9562 section 5.5), so that one release has one serial number."""


@dataclass(frozen=True, slots=True)
class BillPart:
    """What one part of a release brings to its bill."""

    name: str
    sha256: str
    files: Sequence[PackedFile] = ()
    packages: Sequence[DebPackage] = ()


@dataclass(frozen=True, slots=True)
class BillDifference:
    """How the components of a release differ from those of the one before it, each as words."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def make_bill(product: str, version: str, parts: Sequence[BillPart], now_ms: int) -> bytes:
    """Return a bill of what is packed."""
    components: list[dict[str, Any]] = []
    for part in parts:
        components.append(_component("file", part.name, version, part.sha256, f"part:{part.name}"))
        for package in part.packages:
            components.append(_write_package(package, part.name))
        if not part.packages:
            components += [
                _component("file", f"{part.name}/{each.path}", "", each.sha256,
                           f"file:{part.name}/{each.path}")
                for each in part.files
            ]  # fmt: skip
    inside = json.dumps(components, sort_keys=True)
    bill = {
        "bomFormat": "CycloneDX",
        "components": components,
        "metadata": {
            "component": {
                "bom-ref": f"product:{product}@{version}",
                "name": product,
                "type": "application",
                "version": version,
            },
            "timestamp": datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, f'{product} {version} {inside}')}",
        "specVersion": SPEC_VERSION,
        "version": 1,
    }
    return json.dumps(bill, sort_keys=True, separators=(",", ":")).encode("utf-8")


def read_bill(data: bytes) -> dict[str, str]:
    """Return what a bill names: each component, and its version or hash.

    Raises `Malformed` for what is no CycloneDX JSON. Components inside components count too.
    """
    try:
        bill = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise _not_a_bill("JSON") from e
    if not isinstance(bill, dict) or bill.get("bomFormat") != "CycloneDX":
        raise _not_a_bill('"bomFormat": "CycloneDX"')
    found: dict[str, str] = {}
    waiting = [bill.get("components", [])]
    while waiting:
        components = waiting.pop()
        if not isinstance(components, list) or len(found) + len(components) > MAX_COMPONENTS:
            raise _not_a_bill(f"a list of at most {MAX_COMPONENTS} components")
        for each in components:
            if not isinstance(each, dict) or not isinstance(each.get("name"), str):
                raise _not_a_bill("components with names")
            found[_name(each)] = _state(each)
            waiting.append(each.get("components", []))
    return found


def compare_bills(before: dict[str, str], after: dict[str, str]) -> BillDifference:
    """Return what came, went and changed."""
    changed = [
        f"{name}: {before[name]} -> {after[name]}"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    ]
    return BillDifference(
        added=tuple(f"{name}: {after[name]}" for name in sorted(after.keys() - before.keys())),
        removed=tuple(f"{name}: {before[name]}" for name in sorted(before.keys() - after.keys())),
        changed=tuple(changed),
    )


def _component(kind: str, name: str, version: str, sha256: str, ref: str) -> dict[str, Any]:
    made: dict[str, Any] = {"bom-ref": ref, "name": name, "type": kind}
    if version:
        made["version"] = version
    if sha256:
        made["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    return made


def _write_package(package: DebPackage, part: str) -> dict[str, Any]:
    made = _component(
        "library", package.name, package.version, package.sha256, f"deb:{part}/{package.file}"
    )
    purl = f"pkg:deb/{quote(package.name)}@{quote(package.version)}"
    made["purl"] = f"{purl}?arch={quote(package.architecture)}" if package.architecture else purl
    return made


def _name(component: dict[str, Any]) -> str:
    kind = component.get("type")
    group = component.get("group")
    name = f"{group}/{component['name']}" if isinstance(group, str) and group else component["name"]
    return f"{kind} {name}" if kind in _KINDS else str(name)


def _state(component: dict[str, Any]) -> str:
    """Return the version, or else the beginning of a hash."""
    version = component.get("version")
    hashes = component.get("hashes")
    if component.get("type") == "file" and isinstance(hashes, list) and hashes:
        first = hashes[0]
        if isinstance(first, dict) and isinstance(first.get("content"), str):
            return str(first["content"])[:16]
    return version if isinstance(version, str) else ""


def _not_a_bill(expected: str) -> Malformed:
    return Malformed(
        f"Expected a bill of materials in CycloneDX JSON: {expected}.", reason="bad_sbom"
    )
