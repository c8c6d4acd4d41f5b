"""What the maker's commands answer: how far the ceremony is, what runs out, which products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fleetward.keyholder.maker.ceremony import Progress
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.lives import SOON_DAYS, Life, list_lives
from fleetward.keyholder.maker.products import Product, list_products_of
from fleetward.keyholder.maker.released import list_drafts, list_released
from fleetward.keyholder.maker.repository import FIRST_ROOT
from fleetward.keyholder.maker.root_draft import DraftState, read_draft, tell_draft
from fleetward.runtime.files import read_bounded
from fleetward.trust.release_manifest import ANY_HARDWARE, Manifest
from fleetward.trust.releases import limits


def show_progress(path: Path, progress: Progress) -> dict[str, Any]:
    """Return how far a root is, as JSON shows it."""
    return {
        "folder": str(path),
        "root": progress.root,
        "version": progress.draft.version,
        "in_force": progress.file is None,
        "draft": str(progress.file or ""),
        "missing_signatures": progress.draft.missing if progress.file else 0,
        "threshold": progress.draft.threshold,
        "people": [{"name": name, "signed": signed} for name, signed in progress.draft.people],
        "words": progress.draft.words,
        "root_keys_here": list(progress.here),
    }


def tell_progress(path: Path, progress: Progress) -> str:
    """Say how far a root is, and what is to be done next."""
    draft = progress.draft
    if progress.file is not None:
        return "\n".join(
            [
                f"Root {draft.version} of {draft.maker} waits for signatures.",
                *_tell_people(draft),
                f"  in six words: {draft.words}",
                f"{draft.missing or 1} more must sign. Hand them {progress.file}; each runs, on "
                "his own computer:",
                f"  fleetward maker key sign {progress.file.name} --key HIS_KEY",
                "Then, here, with the file that comes back:",
                f"  fleetward maker init --maker {path} --draft {progress.file.name}",
            ]
        )
    lines = [
        f"Root {draft.version} of {draft.maker} is in force, until {draft.ends_at}.",
        *_tell_people(draft),
        f"An owner names it in his policy by the SHA-256 of its first root:\n  {progress.root}",
    ]
    if len(progress.here) >= draft.threshold > 1:
        lines += _tell_moving(path, progress)
    lines.append(f"Back {path} up, and keep it off every server.")
    lines.append(
        "Next: fleetward maker product add NAME --support-ends YYYY-MM-DD"
        if draft.version == 1
        else "Machines hear of it when you publish again, also a release that is out already: "
        "fleetward release publish PRODUCT/VERSION"
    )
    return "\n".join(lines)


def _tell_people(draft: DraftState) -> list[str]:
    rows = [
        f"  {name}: {'signed' if signed else 'has not signed'}" for name, signed in draft.people
    ]
    return [f"{draft.threshold} of these decide:", *rows]


def _tell_moving(path: Path, progress: Progress) -> list[str]:
    away = progress.here[1:]
    keys = " and ".join(f"{name}.key" for name in away)
    return [
        f"{len(progress.here)} root keys lie in this folder, so who takes it, takes all. Releases "
        f"need none of them: move {keys} to two sticks, and keep those in two places:",
        *(f"  mv {path}/keys/{name}.key /media/STICK_{n}/" for n, name in enumerate(away, 1)),
        "Bring one back when the root is to be changed or renewed.",
    ]


def tell_signed(file: Path, state: DraftState) -> str:
    """Say what was signed, and what is to be done with the file."""
    left = f"{state.missing} more must sign." if state.missing else "Enough have signed."
    return f"Signed: root {state.version} of {state.maker}. {left} Carry {file} back."


def tell_lives(lives: Sequence[Life]) -> str:
    """Say what runs out when, and what is to be done about it."""
    lines = [each.words for each in lives]
    late = [each.role for each in lives if each.days_left < SOON_DAYS]
    if "root" in late:
        lines.append("Renew the root: fleetward maker key renew")
    if set(late) - {"root"}:
        lines.append("Sign again, and publish: fleetward maker refresh")
    return "\n".join(lines)


def show_status(desk: MakerDesk) -> dict[str, Any]:
    """Return what is in force and what waits, as JSON shows it."""
    desk.repository.finish()
    waiting = [asdict(each) for each in _waiting(desk)]
    shown: dict[str, Any] = {
        "folder": str(desk.folder.path),
        "name": desk.folder.read_facts().name,
        "begun": desk.repository.is_begun,
        "drafts_of_root": waiting,
        "keys_here": list(desk.keys.names()),
        "lives": [],
        "drafts": [f"{each.product}/{each.version}" for each in list_drafts(desk.folder)],
    }
    if desk.repository.is_begun:
        shown["lives"] = [
            asdict(each) for each in list_lives(desk.repository.verify(), desk.now_ms)
        ]
    return shown


def tell_status(desk: MakerDesk) -> str:
    """Say what is in force and what waits."""
    shown = show_status(desk)
    lines = [f"{shown['name']}, in {shown['folder']}"]
    if desk.repository.is_begun:
        lines.append(tell_lives(list_lives(desk.repository.verify(), desk.now_ms)))
    for each in _waiting(desk):
        lines.append(f"Root {each.version} waits for signatures: fleetward maker init")
    lines += [f"Draft: {each}; sign it: fleetward release sign {each}" for each in shown["drafts"]]
    return "\n".join(lines)


def _waiting(desk: MakerDesk) -> list[DraftState]:
    files = sorted(desk.folder.drafts.glob(f"*{FIRST_ROOT[1:]}"))
    return [tell_draft(read_draft(read_bounded(each, limits.MAX_ROOT_BYTES))) for each in files]


def describe_product(product: Product, released: Sequence[Manifest]) -> dict[str, Any]:
    """Return a product as JSON shows it."""
    newest = released[-1] if released else None
    return {
        "product": product.name,
        "support_ends": product.support_ends,
        "notice": product.notice,
        "models": list(newest.hardware) if newest else [],
        "newest": newest.version if newest else "",
        "counter": newest.counter if newest else 0,
        "releases": len(released),
    }


def list_product_rows(desk: MakerDesk) -> list[dict[str, Any]]:
    """Return every product with its newest release."""
    state = desk.repository.verify()
    return [
        describe_product(product, list_released(desk.repository, state, product.name))
        for product in list_products_of(state, desk.now_ms)
    ]


def tell_products(rows: Sequence[dict[str, Any]]) -> str:
    """Say which products there are; the end of support stands beside each model."""
    lines = []
    for row in rows:
        newest = f"{row['newest']} (counter {row['counter']})" if row["newest"] else "no release"
        lines.append(f"{row['product']}: {newest}")
        for model in row["models"] or [ANY_HARDWARE]:
            words = "every model" if model == ANY_HARDWARE else f"model {model}"
            notice = f"  <- {row['notice']}" if row["notice"] else ""
            lines.append(f"  {words}: mended until {row['support_ends']}{notice}")
    return "\n".join(lines) or (
        "There is no product yet: fleetward maker product add NAME --support-ends YYYY-MM-DD"
    )
