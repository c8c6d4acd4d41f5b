"""A step of the public Uptane vectors, said in our form, with every defect that it has.

The vectors are of an older writing of TUF and of cars. Translated is:

1. A key is replaced by a twin of ours, under the id that the vector gives it. Where a signature of
   the vector verifies, the twin signs the translated body; where it does not, the twin's signature
   is broken too.
2. `_type`, `spec_version` and a key's `scheme` are written as TUF 1.0 writes them. The director's
   root gets the two roles that ours has and that nobody uses.
3. Lengths and hashes that are right for the vector's file are right for the translated one; wrong
   ones stay wrong.
4. `file.txt` is the release 1.0 of the product `foo`: its content is a manifest for the hardware
   that the image repository names. Where the vector has the top role name it, the product's own
   role names it here, delegated to by the top role, since no maker of ours releases otherwise.
5. An ECU of this hardware is a machine: the director's word names it as a whole.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tests.adversary.release_repository import signer
from tests.conformance.uptane_vectors import Document, Step, list_delegations
from tests.update_world import make_manifest

from fleetward.trust.release_manifest import write_manifest
from fleetward.trust.releases.director import DEVICE_FIELD, OWNER_FIELD

PRODUCT: Final = "foo"
"""The name that the vectors give to a delegated role: here, a product."""
VERSIONS: Final = {"file.txt": "1.0"}
ECU: Final = "123"
HARDWARE: Final = "abc"
MOST_LIFTED: Final = 10
"""Targets that the product's role takes over; a file that is too large stays as large."""
_KINDS: Final = ("Root", "Timestamp", "Snapshot", "Targets")


def path_of(name: str) -> str:
    """Return the path that a target of the vectors has here."""
    return f"{PRODUCT}/{VERSIONS.get(name, f'1.0-{name}')}/release.json"


@dataclass
class Served:
    """What both repositories serve at a step, in our form, by name of the file."""

    director: dict[str, bytes]
    image: dict[str, bytes]
    manifest: bytes


@dataclass
class Translator:
    """Keeps the twins, so that a key is the same one in every step."""

    publics: dict[str, str] = field(default_factory=dict)
    """The vectors' public keys, by their true ids."""
    twins: dict[str, CryptoSigner] = field(default_factory=dict)

    def learn(self, step: Step) -> None:
        """Take note of every key that a step shows."""
        for files in step.served.values():
            for document in files.values():
                for key in _keys_of(document["signed"]).values():
                    public = key["keyval"]["public"]
                    true_id = hashlib.sha256(_canonical(public)).hexdigest()
                    self.publics[true_id] = public

    def translate(self, step: Step, device: str, owner: str) -> Served:
        """Return a step in our form, for this machine and owner."""
        image = step.served["image_repo"]
        manifest = write_manifest(make_manifest(
            VERSIONS["file.txt"], 1, b"wat", product=PRODUCT, hardware=_hardware_of(image)
        ))  # fmt: skip
        form = _Form(self, manifest)
        director: dict[str, bytes] = {}
        for name, document in step.served["director"].items():
            body = form.write_body(document)
            if name == "targets":
                meant = device if _means_us(document["signed"]) else "d" * len(device)
                body |= {DEVICE_FIELD: meant, OWNER_FIELD: owner}
            director[name] = form.sign(body, document)
        return Served(director, form.write_image(image), manifest)

    def twin(self, public: str) -> CryptoSigner:
        """Return our key that stands for one of the vectors."""
        return self.twins.setdefault(public, signer(2000 + len(self.twins)))


@dataclass
class _Form:
    """The translation of one step."""

    translator: Translator
    manifest: bytes
    product_key: CryptoSigner = field(default_factory=lambda: signer(1999))

    def write_image(self, served: dict[str, Document]) -> dict[str, bytes]:
        """Translate the image repository; snapshot and timestamp last, as they name the others."""
        written: dict[str, bytes] = {}
        bodies = {name: self.write_body(document) for name, document in served.items()}
        lifted = self._lift(bodies["targets"]) if not list_delegations(served["targets"]) else None
        for name, document in served.items():
            if name not in ("snapshot", "timestamp"):
                written[name] = self.sign(bodies[name], document)
        if lifted is not None:
            written[PRODUCT] = _write(lifted, [_sign(self.product_key, lifted)])
            bodies["snapshot"]["meta"][f"{PRODUCT}.json"] = {"version": lifted["version"]}
        for name, below in (("snapshot", "targets"), ("timestamp", "snapshot")):
            stated = bodies[name]["meta"][f"{below}.json"]
            _restate(stated, _compact(served[below]), written[below])
            written[name] = self.sign(bodies[name], served[name])
        return written

    def write_body(self, document: Document) -> Document:
        """Return what is signed, in our form (rules 2 to 4)."""
        body: Document = copy.deepcopy(document["signed"])
        kind = body["_type"]
        body["_type"] = kind.lower() if kind in _KINDS else kind
        body["spec_version"] = "1.0.31"
        for key in _keys_of(body).values():
            public = self.translator.twin(key["keyval"]["public"]).public_key
            key |= {"scheme": "ed25519", "keyval": {"public": public.keyval["public"]}}
        if "roles" in body:
            self._add_unused_roles(body)
        if "targets" in body:
            body["targets"] = {
                path_of(name): self._write_target(each) for name, each in body["targets"].items()
            }
            for role in body.get("delegations", {}).get("roles", []):
                role["paths"] = [path_of(pattern) for pattern in role["paths"]]
        return body

    def _add_unused_roles(self, body: Document) -> None:
        unused = signer(1998).public_key
        for role in ("snapshot", "timestamp"):
            if role not in body["roles"]:
                body["roles"][role] = {"keyids": [unused.keyid], "threshold": 1}
                body["keys"][unused.keyid] = unused.to_dict()

    def _write_target(self, stated: Document) -> Document:
        content = b"wat wat wat"
        target = {name: each for name, each in stated.items() if name != "custom"}
        _restate(target, content, self.manifest)
        target["length"] = len(self.manifest) + stated["length"] - len(content)
        return target

    def _lift(self, targets: Document) -> Document | None:
        """Move what the top role names into the product's own role (rule 4)."""
        if not 0 < len(targets["targets"]) <= MOST_LIFTED:
            return None
        key = self.product_key.public_key
        lifted: Document = {
            "_type": "targets", "expires": "2038-01-19T03:14:06Z",
            "spec_version": targets["spec_version"], "targets": targets["targets"],
            "version": targets["version"],
        }  # fmt: skip
        role = {
            "name": PRODUCT, "keyids": [key.keyid], "threshold": 1, "terminating": True,
            "paths": [f"{PRODUCT}/*/release.json"],
        }  # fmt: skip
        targets["targets"] = {}
        targets["delegations"] = {"keys": {key.keyid: key.to_dict()}, "roles": [role]}
        return lifted

    def sign(self, body: Document, document: Document) -> bytes:
        """Return the file, signed as well and as badly as the vector's (rule 1)."""
        signed = _canonical(document["signed"])
        signatures = []
        for each in document["signatures"]:
            public = self.translator.publics[each["keyid"]]
            made = _sign(self.translator.twin(public), body)
            good = False
            with contextlib.suppress(InvalidSignature):
                key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
                key.verify(bytes.fromhex(each["sig"]), signed)
                good = True
            sig = made["sig"] if good else _break(made["sig"])
            signatures.append({"keyid": each["keyid"], "sig": sig})
        return _write(body, signatures)


def _keys_of(signed: Document) -> dict[str, Any]:
    found: dict[str, Any] = signed.get("keys") or signed.get("delegations", {}).get("keys", {})
    return found


def _hardware_of(image: dict[str, Document]) -> tuple[str, ...]:
    """Return the hardware that the image repository names for its target."""
    for document in image.values():
        for stated in document["signed"].get("targets", {}).values():
            custom = stated["custom"]
            if "hardwareIds" in custom:
                return tuple(custom["hardwareIds"])
            # One vector writes the image repository's targets as the director's.
            return tuple(each["hardwareId"] for each in custom["ecuIdentifiers"].values())
    return (HARDWARE,)


def _means_us(targets: Document) -> bool:
    """Whether every target of the director is for this ECU and its hardware (rule 5)."""
    named = [each["custom"]["ecuIdentifiers"] for each in targets["targets"].values()]
    return all(each == {ECU: {"hardwareId": HARDWARE}} for each in named)


def _restate(stated: Document, old: bytes, new: bytes) -> None:
    """Make what is stated of a file as true of the new one as it was of the old (rule 3)."""
    if "length" in stated:
        stated["length"] += len(new) - len(old)
    for name, digest in stated.get("hashes", {}).items():
        right = hashlib.new(name, new).hexdigest()
        stated["hashes"][name] = (
            right if hashlib.new(name, old).hexdigest() == digest else _break(right)
        )


def _break(digits: str) -> str:
    return f"{int(digits[0], 16) ^ 1:x}{digits[1:]}"


def _sign(by: CryptoSigner, body: Document) -> Document:
    made: Document = by.sign(_canonical(body)).to_dict()
    return made


def _canonical(value: Any) -> bytes:
    text = encode_canonical(value)
    assert text is not None  # it was given nowhere to write to
    return text.encode()


def _compact(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _write(body: Document, signatures: list[Document]) -> bytes:
    return _compact({"signed": body, "signatures": signatures})
