"""What a release is: the maker's manifest, one target of his repository.

A manifest is canonical JSON. Nobody signs it by itself: the maker's TUF metadata names its length
and hashes (`releases.target`), and it names everything else by hash. So one signature covers
firmware, system, application and policy, and they are one version.

1. The path of the target is `PRODUCT/VERSION/release.json`, and says the product and the version
   that stand in it. So a product's key, which may sign below `PRODUCT/` alone, cannot release
   another product.
2. `counter` is what "older" means: a machine never goes below the highest that it has committed,
   whatever a version is called.
3. A **blob** is a file named by its SHA-256. Its segments of 4 MiB have hashes of their own, in a
   list that is a blob too, so that each is verified as it arrives, and a machine that was cut off
   fetches none twice. One SHA-256 is one blob in the whole manifest, and no blob is a list.
4. A part says by which installer it goes where. A place is a name that the machine's own file gives
   a meaning (`places.toml`), never a path. Paths in a manifest are relative and lie below a part.
5. What a delta yields is verified as the part itself is: a delta is never believed.
6. Commands are files inside a part, named by their path, with the arguments that stand here.
7. A release that replaces the agent itself, in whatever part, says so (`agent`). A part of the
   installer `agent` comes alone, so that what goes wrong in its trial is its own.

    >>> manifest = read_manifest(data)
    >>> manifest.product, manifest.version, manifest.counter
    ('kiosk', '1.1', 11)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields
from fleetward.trust.release_checks import Check, check_path, read_check

RELEASE_TYPE: Final = "fleetward.release.v1"
MAX_MANIFEST_BYTES: Final = 256 * 1024
SEGMENT_BYTES: Final = 4 * 1024 * 1024
HASH_BYTES: Final = 32
MAX_BLOB_BYTES: Final = 64 * 1024**3
"""Bytes of one blob: its list of segments has 512 KiB then."""
MAX_PARTS: Final = 32
MAX_DELTAS: Final = 8
"""Deltas to one part: from the versions that most machines have."""
MAX_HARDWARE: Final = 64
MAX_FIXES: Final = 256
MAX_RULES: Final = 32
"""Releases of other products that one needs, or does not bear."""
MAX_CHECKS: Final = 16
MAX_UNPACKED_BYTES: Final = 64 * 1024**3
MAX_UNPACKED_FILES: Final = 1_000_000
MAX_NOTES: Final = 4000
ANY_HARDWARE: Final = "*"
INSTALLERS: Final = ("directory", "file-slot", "rauc", "dpkg", "agent")
UNPACKED: Final = frozenset({"directory", "dpkg", "agent"})
"""Installers whose part is an archive, which says how much it unpacks to."""
WITHIN_SECONDS: Final = (5, 3600)
STEADY_SECONDS: Final = (0, 3600)

_PRODUCT: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Blob:
    """A file, named by what it holds. `segments` is the SHA-256 of the list of the SHA-256 of
    each 4 MiB of it, 32 bytes each; that of a short file lists one."""

    sha256: str
    length_bytes: int
    segments: str

    @property
    def segment_count(self) -> int:
        """How many segments it has; the last may be short."""
        return -(-self.length_bytes // SEGMENT_BYTES)

    def to_json(self) -> JsonObject:
        """Return the blob as it stands in a manifest."""
        return {"length": self.length_bytes, "segments": self.segments, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Delta:
    """A blob that makes a part out of the one before it, whose SHA-256 is `source`."""

    source: str
    blob: Blob


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is installed. `unpacked_bytes` and `unpacked_files` are 0 for images."""

    name: str
    installer: str
    place: str
    blob: Blob
    deltas: tuple[Delta, ...] = ()
    unpacked_bytes: int = 0
    unpacked_files: int = 0
    hook: str = ""
    """A program in the part that is run after each switch, to it or back from it; or nothing."""


@dataclass(frozen=True, slots=True)
class Needed:
    """A product that has to be installed, at this counter or above."""

    product: str
    least: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Releases of another product, by counter, both ends included, with which it does not run."""

    product: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Health:
    """When it is healthy: all checks hold `within_seconds`, and then for `steady_seconds`, in
    powered-on time. Without checks it is healthy when it was switched to."""

    within_seconds: int
    steady_seconds: int
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A release as its maker describes it. It is true once its hash is a verified target's."""

    product: str
    version: str
    counter: int
    released_at_ms: int
    hardware: tuple[str, ...]
    """Models of the roster that it is for, or `*` alone."""
    parts: tuple[Part, ...]
    needs: tuple[Needed, ...]
    conflicts: tuple[Conflict, ...]
    least_before: int
    """A machine that has an older one than this counter takes one in between first; 0: none."""
    health: Health
    reboot: bool
    """Whether the machine starts again to run it."""
    notes: str
    fixes: tuple[str, ...]
    """Ids of weaknesses that it removes."""
    support_ends_at_ms: int
    """Until when the maker mends this product; 0 when he has not said."""
    sbom: Blob | None
    """Its bill of materials, CycloneDX JSON."""
    hash: str
    replaces_agent: bool = False
    """Whether what it installs holds the agent itself, in whatever form (rule 7)."""

    @property
    def path(self) -> str:
        """The path of its target (rule 1)."""
        return make_path(self.product, self.version)

    @property
    def has_agent(self) -> bool:
        """Whether it is the agent's own code, for the launcher."""
        return any(part.installer == "agent" for part in self.parts)

    def blobs(self) -> tuple[Blob, ...]:
        """Return every blob that it names, each once."""
        named = [part.blob for part in self.parts]
        named += [delta.blob for part in self.parts for delta in part.deltas]
        named += [self.sbom] if self.sbom is not None else []
        return tuple({blob.sha256: blob for blob in named}.values())


def make_path(product: str, version: str) -> str:
    """Return the path of a release's target."""
    return f"{product}/{version}/release.json"


def check_product(text: str) -> str:
    """Return a product's name unchanged. Raises `Malformed`."""
    if _PRODUCT.fullmatch(text) is None:
        raise Malformed(
            "Expected a product of 1 to 48 letters a-z, digits and hyphens within, got "
            f"{text[:60]!r}.",
            reason="bad_product",
        )
    return text


def check_version(text: str) -> str:
    """Return a version unchanged. Raises `Malformed`."""
    if _VERSION.fullmatch(text) is None:
        raise Malformed(
            f"Expected a version of letters, digits and . + ~ _ -, got {text[:60]!r}.",
            reason="bad_version",
        )
    return text


def list_segments(data: bytes) -> bytes:
    """Return the list of a whole file's segments (rule 3)."""
    pieces = (data[at : at + SEGMENT_BYTES] for at in range(0, len(data), SEGMENT_BYTES))
    return b"".join(hashlib.sha256(piece).digest() for piece in pieces)


def make_blob(data: bytes) -> Blob:
    """Return the blob that names these bytes. It holds them whole: for what fits into memory."""
    return Blob(
        hashlib.sha256(data).hexdigest(),
        len(data),
        hashlib.sha256(list_segments(data)).hexdigest(),
    )


def write_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest; its own `hash` is ignored."""
    value: JsonObject = {
        "agent": manifest.replaces_agent,
        "conflicts": [
            {"first": each.first, "last": each.last, "product": each.product}
            for each in manifest.conflicts
        ],
        "counter": manifest.counter,
        "fixes": list(manifest.fixes),
        "hardware": list(manifest.hardware),
        "health": {
            "checks": [check.to_json() for check in manifest.health.checks],
            "steady_seconds": manifest.health.steady_seconds,
            "within_seconds": manifest.health.within_seconds,
        },
        "least_before": manifest.least_before,
        "needs": [{"least": each.least, "product": each.product} for each in manifest.needs],
        "notes": manifest.notes,
        "parts": [_write_part(part) for part in manifest.parts],
        "product": manifest.product,
        "reboot": manifest.reboot,
        "released_at": manifest.released_at_ms,
        "support_ends_at": manifest.support_ends_at_ms,
        "type": RELEASE_TYPE,
        "version": manifest.version,
    }
    if manifest.sbom is not None:
        value["sbom"] = manifest.sbom.to_json()
    return canonical.encode(value)


def _write_part(part: Part) -> JsonObject:
    value: JsonObject = {
        **part.blob.to_json(),
        "deltas": [{**delta.blob.to_json(), "source": delta.source} for delta in part.deltas],
        "installer": part.installer,
        "name": part.name,
        "place": part.place,
    }
    if part.installer in UNPACKED:
        value["unpacked_bytes"] = part.unpacked_bytes
        value["unpacked_files"] = part.unpacked_files
    if part.hook:
        value["hook"] = part.hook
    return value


def read_manifest(data: bytes) -> Manifest:
    """Return what a manifest says. Raises `Malformed`.

    It does not say that anybody signed it: that its hash is a target's, and that its path is
    (rule 1), the caller demands.
    """
    fields = Fields(
        canonical.decode(data, max_bytes=MAX_MANIFEST_BYTES),
        "the release",
        {
            "agent", "conflicts", "counter", "fixes", "hardware", "health", "least_before",
            "needs", "notes", "parts", "product", "reboot", "released_at", "support_ends_at",
            "type", "version",
        },
        {"sbom"},
    )  # fmt: skip
    fields.choice("type", (RELEASE_TYPE,))
    parts = tuple(_read_part(each) for each in fields.items("parts", most=MAX_PARTS))
    if not parts or len({part.name for part in parts}) != len(parts):
        raise Malformed("Expected parts, each with a name of its own.", reason="bad_parts")
    health = _read_health(fields.map("health"))
    _check_paths(health, parts)
    agent, reboot = fields.boolean("agent"), fields.boolean("reboot")
    _check_agent(parts, agent=agent, reboot=reboot)
    sbom = None
    if fields.has("sbom"):
        sbom = read_blob(Fields(fields.map("sbom"), "the bill of materials", BLOB_FIELDS))
    _check_blobs(parts, sbom)
    return Manifest(
        product=check_product(fields.text("product")),
        version=check_version(fields.text("version")),
        counter=fields.integer("counter", low=1),
        released_at_ms=fields.integer("released_at"),
        hardware=_read_hardware(fields),
        parts=parts,
        needs=tuple(_read_needed(each) for each in fields.items("needs", most=MAX_RULES)),
        conflicts=tuple(_read_conflict(each) for each in fields.items("conflicts", most=MAX_RULES)),
        least_before=fields.integer("least_before"),
        health=health,
        reboot=reboot,
        notes=_read_notes(fields),
        fixes=fields.texts("fixes", most=MAX_FIXES),
        support_ends_at_ms=fields.integer("support_ends_at"),
        sbom=sbom,
        hash=hashlib.sha256(data).hexdigest(),
        replaces_agent=agent,
    )


BLOB_FIELDS: Final = {"length", "segments", "sha256"}


def read_blob(fields: Fields) -> Blob:
    """Return the blob in these fields. Raises `Malformed`."""
    return Blob(
        fields.digest("sha256"),
        fields.integer("length", low=1, high=MAX_BLOB_BYTES),
        fields.digest("segments"),
    )


def _read_part(value: Json) -> Part:
    named = value.get("installer") if isinstance(value, dict) else ""
    unpacked = isinstance(named, str) and named in UNPACKED
    beside = {"unpacked_bytes", "unpacked_files"} if unpacked else set[str]()
    fields = Fields(
        value, "a part", BLOB_FIELDS | {"deltas", "installer", "name", "place"} | beside, {"hook"}
    )
    return Part(
        name=_read_name(fields, "name"),
        installer=fields.choice("installer", INSTALLERS),
        place=_read_name(fields, "place"),
        blob=read_blob(fields),
        deltas=tuple(_read_delta(each) for each in fields.items("deltas", most=MAX_DELTAS)),
        unpacked_bytes=fields.integer("unpacked_bytes", high=MAX_UNPACKED_BYTES) if beside else 0,
        unpacked_files=fields.integer("unpacked_files", high=MAX_UNPACKED_FILES) if beside else 0,
        hook=check_path(fields.text("hook")) if fields.has("hook") else "",
    )


def _read_delta(value: Json) -> Delta:
    fields = Fields(value, "a delta", BLOB_FIELDS | {"source"})
    return Delta(fields.digest("source"), read_blob(fields))


def _read_needed(value: Json) -> Needed:
    fields = Fields(value, "what is needed", {"least", "product"})
    return Needed(check_product(fields.text("product")), fields.integer("least", low=1))


def _read_conflict(value: Json) -> Conflict:
    fields = Fields(value, "a conflict", {"first", "last", "product"})
    first = fields.integer("first")
    return Conflict(check_product(fields.text("product")), first, fields.integer("last", low=first))


def _read_health(value: JsonObject) -> Health:
    fields = Fields(value, "health", {"checks", "steady_seconds", "within_seconds"})
    low, high = WITHIN_SECONDS
    return Health(
        within_seconds=fields.integer("within_seconds", low=low, high=high),
        steady_seconds=fields.integer(
            "steady_seconds", low=STEADY_SECONDS[0], high=STEADY_SECONDS[1]
        ),
        checks=tuple(read_check(each) for each in fields.items("checks", most=MAX_CHECKS)),
    )


def _check_blobs(parts: Sequence[Part], sbom: Blob | None) -> None:
    """Demand that each file is named in one way: a machine would fetch it for ever otherwise."""
    blobs = {part.blob for part in parts} | {d.blob for part in parts for d in part.deltas}
    blobs |= {sbom} if sbom is not None else set()
    names = {blob.sha256 for blob in blobs}
    if len(names) != len(blobs) or not names.isdisjoint(blob.segments for blob in blobs):
        raise Malformed("Expected each blob to be named in one way.", reason="bad_blob")


def _check_agent(parts: Sequence[Part], *, agent: bool, reboot: bool) -> None:
    """Demand rule 7 of a release with the agent's own code."""
    own = [part for part in parts if part.installer == "agent"]
    if not own:
        return
    if not agent:
        raise Malformed(
            "Expected a release with a part of the installer agent to say that it replaces the "
            "agent.",
            reason="agent_not_marked",
        )
    if len(parts) > 1 or reboot or own[0].hook:
        raise Malformed(
            "Expected the agent to be the only part of its release, without a hook and without a "
            "restart of the machine. Release the rest by itself.",
            reason="agent_not_alone",
        )


def _check_paths(health: Health, parts: Sequence[Part]) -> None:
    names = {part.name for part in parts if part.installer in UNPACKED}
    for check in health.checks:
        if check.part and check.part not in names:
            raise Malformed(
                f"A check is about the part {check.part!r}, which has no files.",
                reason="bad_check",
            )


def _read_hardware(fields: Fields) -> tuple[str, ...]:
    hardware = fields.texts("hardware", most=MAX_HARDWARE)
    if not hardware or (ANY_HARDWARE in hardware and len(hardware) > 1) or "" in hardware:
        raise Malformed("Expected models, or `*` alone.", reason="bad_hardware")
    return hardware


def _read_notes(fields: Fields) -> str:
    """Lines are joined by the maker's tool: a text of a signed document has no line ends."""
    return fields.text("notes", most=MAX_NOTES)


def _read_name(fields: Fields, name: str) -> str:
    text = fields.text(name)
    if _NAME.fullmatch(text) is None:
        raise Malformed(f"Expected a name of a-z, 0-9 and -, got {text[:40]!r}.", reason="bad_name")
    return text
