"""The newest checkpoint that the owner's tools found whole: the next record must extend it."""

from __future__ import annotations

from pathlib import Path

from fleetward.keyholder.export_folder import ExportFolder
from fleetward.keyholder.folder import OwnerFolder
from fleetward.trust.note import MAX_NOTE_BYTES, read_checkpoint

_FILE = "checkpoint"


def read_kept(folder: OwnerFolder) -> tuple[bytes, ...]:
    """Return the checkpoint kept, if there is one. Raises `Malformed` when it is damaged."""
    if not folder.has(_FILE):
        return ()
    note = folder.read(_FILE, MAX_NOTE_BYTES)
    read_checkpoint(note)
    return (note,)


def keep_checkpoint(folder: OwnerFolder, export: Path, generation: int) -> None:
    """Keep the checkpoint of an export that was just found whole."""
    note = ExportFolder(export).checkpoint(generation)
    if note is not None:
        folder.replace(_FILE, note)
