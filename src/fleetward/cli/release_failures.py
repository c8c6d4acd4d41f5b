"""`fleetward release failures`: what failed in the field, for those who have to mend it.

It is what machines signed of a release, put together by cause. Names and sites of machines are left
out unless they are asked for: a maker's engineers need the cause, and not where it happened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from fleetward.cli.maker_options import AsJson, Named
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.maker.released import split_release
from fleetward.keyholder.place import find_server
from fleetward.keyholder.speak import emit, refusals
from fleetward.trust.sayings import say_count
from fleetward.trust.update_report import FAILURES

PER_PAGE: Final = 500
MAX_WORDS: Final = 3
"""Different words of machines that one cause is shown with."""


@dataclass(slots=True)
class Cause:
    """Machines on which a release failed by the same rule and check."""

    count: int = 0
    simulated: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    from_versions: dict[str, int] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    devices: list[dict[str, str]] = field(default_factory=list)


def failures(
    release: Named,
    machines: Annotated[
        bool, typer.Option("--machines", help="Name the machines and their sites too.")
    ] = False,
    data: Annotated[Path | None, typer.Option("--data", help="The control plane's folder.")] = None,
    server: Annotated[str, typer.Option("--server", help="A server: https://HOST[:PORT].")] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File (0600) with a token.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what failed in the field by cause, as machines signed it.

    fleetward release failures kiosk/1.1 --server https://fleet.example --token-file token --json
    """
    with refusals():
        product, version = split_release(release)
        place = find_server(data, server, token_file)
        client = ApiClient(place.api, place.token, place.server_ca_pem)
        causes = group_failures(_list_rows(client, product, version), with_machines=machines)
        shown = {"product": product, "version": version, "causes": causes}
        emit(shown, as_json, _tell(release, causes))


def group_failures(
    rows: Iterable[dict[str, Any]], *, with_machines: bool
) -> list[dict[str, Any]]:  # fmt: skip
    """Return causes with what machines said, the most frequent first."""
    found: dict[str, Cause] = {}
    for row in rows:
        if row["outcome"] not in FAILURES or row["runs"]:
            continue
        cause = found.setdefault(row["cause"] or row["outcome"], Cause())
        cause.count += 1
        cause.simulated += bool(row["simulated"])
        _count(cause.outcomes, row["outcome"])
        _count(cause.from_versions, row["version"])
        if row["words"] and row["words"] not in cause.words and len(cause.words) < MAX_WORDS:
            cause.words.append(row["words"])
        if with_machines:
            names = ("device_id", "name", "site", "words", "said_at")
            cause.devices.append({name: row[name] or "" for name in names})
    ordered = sorted(found.items(), key=lambda pair: (-pair[1].count, pair[0]))
    return [
        {
            "cause": name,
            "machines": cause.count,
            "simulated": cause.simulated,
            "outcomes": cause.outcomes,
            "from_versions": cause.from_versions,
            "words": cause.words,
            **({"devices": cause.devices} if with_machines else {}),
        }
        for name, cause in ordered
    ]


def _count(numbers: dict[str, int], name: str) -> None:
    numbers[name] = numbers.get(name, 0) + 1


def _list_rows(client: ApiClient, product: str, version: str) -> Iterable[dict[str, Any]]:
    path = f"/updates/releases/{quote(product, safe='')}/{quote(version, safe='')}/devices"
    page, total = 1, 1
    while (page - 1) * PER_PAGE < total:
        told = client.get(f"{path}?page={page}&per_page={PER_PAGE}", dict[str, Any])
        total = told["total"]
        yield from told["items"]
        page += 1


def _tell(release: str, causes: list[dict[str, Any]]) -> str:
    lines = []
    for each in causes:
        said = "; ".join(f"“{words}”" for words in each["words"])
        before = ", ".join(version or "nothing" for version in each["from_versions"])
        lines.append(f"{say_count(each['machines'], 'machine')} by {each['cause']}")
        lines.append(f"  came from {before}. {said}".rstrip())
        if each["simulated"]:
            lines.append(f"  {each['simulated']} of them simulated")
        lines += [f"  {d['device_id']}  {d['name']}  {d['site']}" for d in each.get("devices", ())]
    return "\n".join(lines) or f"No machine's newest attempt at {release} failed."
