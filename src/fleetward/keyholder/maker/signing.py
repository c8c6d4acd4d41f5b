"""What is meant becomes signed files: a targets role or several, then snapshot, then timestamp.

Each role's version rises by one, its life begins anew, and it is signed by the key that its
delegator names; another key is refused before anything is written. The files are returned, not
written: `repository.commit` judges them first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuf.api.metadata import Key, Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from fleetward.keyholder.maker.key_ring import ONLINE, Opens, key_of_role
from fleetward.keyholder.maker.lives import days_of, end_of
from fleetward.keyholder.maker.repository import Verified
from fleetward.keyholder.maker.tuf_keys import add_signature, is_same_key
from fleetward.trust.errors import Refused
from fleetward.trust.keys import Signer
from fleetward.trust.releases.checks import Delegator
from fleetward.trust.releases.names import name_file


def sign_change(
    state: Verified,
    edited: Mapping[str, Metadata[Targets]],
    keys: Opens,
    now_ms: int,
    root: Metadata[Root] | None = None,
) -> dict[str, bytes]:
    """Return the files of a change: edited targets roles, snapshot and timestamp, all signed.

    With `root`, a next root that is signed already, its keys sign for the four. Raises `Refused`
    when a key is not here or not the one that the delegator names.
    """
    top = root if root is not None else state.open("root", Root)
    files: dict[str, bytes] = {}
    if root is not None:
        files[f"metadata/{name_file('root', root.signed.version)}"] = root.to_bytes()
    targets = edited.get("targets") or state.open("targets", Targets)
    snapshot = state.open("snapshot", Snapshot)
    for role, metadata in edited.items():
        delegator: Delegator = top.signed if role == "targets" else targets.signed
        data = _sign(role, metadata, delegator, keys, now_ms)
        version = metadata.signed.version
        files[f"metadata/{name_file(role, version)}"] = data
        snapshot.signed.meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])
    data = _sign("snapshot", snapshot, top.signed, keys, now_ms)
    version = snapshot.signed.version
    files[f"metadata/{name_file('snapshot', version)}"] = data
    timestamp = state.open("timestamp", Timestamp)
    timestamp.signed.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])
    files["metadata/timestamp.json"] = _sign("timestamp", timestamp, top.signed, keys, now_ms)
    return files


def sign_first(root: Metadata[Root], keys: Opens, now_ms: int) -> dict[str, bytes]:
    """Return the files of a repository that begins: root 1, and the other three, empty."""
    later = end_of(1, now_ms)
    first: dict[str, Metadata[Any]] = {
        "targets": Metadata(Targets(expires=later)),
        "snapshot": Metadata(Snapshot(expires=later)),
        "timestamp": Metadata(Timestamp(expires=later)),
    }
    files = {f"metadata/{name_file('root', 1)}": root.to_bytes()}
    stated: MetaFile | None = None
    for role in ONLINE:
        metadata = first[role]
        metadata.signed.version = 0  # the signing below raises it
        if role == "snapshot" and stated is not None:
            metadata.signed.meta["targets.json"] = stated
        if role == "timestamp" and stated is not None:
            metadata.signed.snapshot_meta = stated
        data = _sign(role, metadata, root.signed, keys, now_ms)
        stated = MetaFile.from_data(1, data, ["sha256"])
        files[f"metadata/{name_file(role, None if role == 'timestamp' else 1)}"] = data
    return files


def find_key(delegator: Delegator, role: str, signer: Signer) -> Key:
    """Return the key of a role that a signer is. Raises `Refused` when it is none of them."""
    for key_id in delegator.get_delegated_role(role).keyids:
        key = delegator.keys[key_id] if isinstance(delegator, Root) else delegator.get_key(key_id)
        if is_same_key(key, signer.public):
            return key
    raise Refused(
        f"Expected a key that may sign for {role!r}; the one that was opened is another. Take the "
        "right one, or replace it: fleetward maker key replace",
        reason="another_key",
    )


def _sign(
    role: str, metadata: Metadata[Any], delegator: Delegator, keys: Opens, now_ms: int
) -> bytes:
    signer = keys.open(key_of_role(role))
    key = find_key(delegator, role, signer)
    metadata.signed.version += 1
    metadata.signed.expires = end_of(days_of(role), now_ms)
    metadata.signatures.clear()
    add_signature(metadata, signer, key)
    return metadata.to_bytes()
