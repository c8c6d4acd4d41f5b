"""`fleetward rollout`: bring a release to machines in waves, and stop it.

The server carries it out: it decides who is told when, and nothing else. Each machine installs what
its maker signed and its owner approved for it, whoever asks for a rollout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from fleetward.cli.plain import PLAIN
from fleetward.keyholder.access.scope_words import parse_length
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.place import find_server
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.sayings import say_length

PER_PAGE: Final = 500
BASE: Final = "/updates/rollouts"
STATES_SHOWN: Final = (
    "placed", "accepted", "installed", "committed", "refused", "rolled_back", "failed", "passed",
)  # fmt: skip

rollout_app: Final = typer.Typer(
    help="Bring a release to machines in waves, and stop it.", no_args_is_help=True, **PLAIN
)

Data = Annotated[Path | None, typer.Option("--data", help="The control plane's folder, here.")]
Server = Annotated[str, typer.Option("--server", help="A control plane elsewhere: https://HOST.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="File (0600) with a token.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the record.")]
RolloutId = Annotated[str, typer.Argument(help="Its id, or the first 8 digits of it.")]
Names = list[str] | None


@rollout_app.command("create")
def create_rollout(
    release: Annotated[str, typer.Argument(help="PRODUCT/VERSION, as it was published.")],
    group: Annotated[Names, typer.Option("--group", help="Machines of this group.")] = None,
    site: Annotated[Names, typer.Option("--site", help="Machines of this site.")] = None,
    model: Annotated[Names, typer.Option("--model", help="Machines of this model.")] = None,
    device: Annotated[Names, typer.Option("--device", help="This machine, by id or name.")] = None,
    all_machines: Annotated[bool, typer.Option("--all", help="Every machine.")] = False,
    canary: Annotated[
        Names, typer.Option("--canary", help="First of all these: a device, or group:NAME.")
    ] = None,
    waves: Annotated[str, typer.Option("--waves", help="Each with those before.")] = "1%,10%,100%",
    soak: Annotated[str, typer.Option("--soak", help="Quiet before the next wave, as 1h.")] = "1h",
    allow_failures: Annotated[
        int, typer.Option("--allow-failures", help="Machines that may fail before it is held.")
    ] = 0,
    bandwidth: Annotated[
        int, typer.Option("--bandwidth", help="KiB a second and machine; 0: no ceiling.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would be; make nothing.")
    ] = False,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a rollout. It says first how many machines can have it before somebody looks.

    Before the owner approves the release or after: a machine takes it when both are there. Of a
    product that the owner approved ahead, one is made by itself: one machine, a tenth, all.

    fleetward rollout create kiosk/1.1 --all --canary kiosk-3 --waves 1%,10%,100% --soak 2h
    """
    with refusals():
        client = _client(data, server, token_file)
        product, _, version = release.partition("/")
        if not version:
            raise Malformed(
                f"Expected PRODUCT/VERSION, as kiosk/1.1; got {release[:80]!r}.",
                reason="bad_release",
            )
        words = {"groups": group or [], "sites": site or [], "models": model or []}
        named = any(words.values()) or bool(device)
        if named == all_machines:
            raise Refused(
                "Expected which machines: --group, --site, --model, --device, or --all alone.",
                reason="no_machines",
            )
        wish: dict[str, Any] = {
            "product": product,
            "version": version,
            "selector": {**words, "devices": [_find(client, each) for each in device or ()]},
            "waves": [each.strip() for each in waves.split(",")],
            "soak_seconds": 0 if soak == "0" else parse_length(soak),
            "allowed_failures": allow_failures,
            "bandwidth": bandwidth * 1024,
        }
        if canary:
            wish["canaries"] = _read_canaries(client, canary)
        forecast = client.post("/updates/rollout-forecasts", wish, dict[str, Any])
        if dry_run:
            emit(forecast, as_json, _tell_forecast(forecast))
            return
        say(_tell_forecast(forecast))
        made = client.post(BASE, wish, dict[str, Any])
        emit(made, as_json, _tell(made))


@rollout_app.command("list")
def list_rollouts(
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """List rollouts, newest first.

    fleetward rollout list --data ~/fleetward
    """
    with refusals():
        items = _client(data, server, token_file).get(BASE, dict[str, Any])["items"]
        lines = [
            f"{row['id'][:12]}  {row['product']} {row['version']}  {row['state']}  "
            f"{row['exposure']} of {row['machines']}  {row['words']}".rstrip()
            for row in items
        ]
        emit(items, as_json, "\n".join(lines) or "No rollouts yet.")


@rollout_app.command("show")
def show_rollout(
    rollout: RolloutId, data: Data = None, server: Server = "", token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show a rollout: its waves, how the machines stand, and why it waits.

    fleetward rollout show 3f9a01bc --data ~/fleetward
    """
    with refusals():
        client = _client(data, server, token_file)
        shown = client.get(f"{BASE}/{_check_id(rollout)}?per_page={PER_PAGE}", dict[str, Any])
        emit(shown, as_json, _tell(shown["rollout"]))


def _make_verb(verb: str, words: str) -> None:
    def change(
        rollout: RolloutId, reason: Reason = "", data: Data = None, server: Server = "",
        token_file: TokenFile = None, as_json: AsJson = False,
    ) -> None:  # fmt: skip
        with refusals():
            client = _client(data, server, token_file)
            path = f"{BASE}/{_check_id(rollout)}/{verb}"
            made = client.post(path, {"reason": reason}, dict[str, Any])
            emit(made, as_json, _tell(made))

    change.__doc__ = f'{words}\n\nfleetward rollout {verb} 3f9a01bc --reason "we look first"'
    rollout_app.command(verb)(change)


for _verb, _words in (
    ("pause", "Let no new machine in. Who has begun goes on."),
    ("resume", "Let a rollout that was stopped go on."),
    ("hold", "Hold a rollout as a failure would."),
    ("continue", "Go on despite failures or silence, and open the next wave."),
    ("cancel", "End a rollout. What is installed stays."),
    ("offer-again", "Offer it again where it failed; the owner approves it anew besides."),
):
    _make_verb(_verb, _words)


def _client(data: Path | None, server: str, token_file: Path | None) -> ApiClient:
    place = find_server(data, server, token_file)
    return ApiClient(place.api, place.token, place.server_ca_pem)


def _find(client: ApiClient, named: str) -> str:
    """Return the whole id of a machine named by the start of its id, or by its name."""
    query = urlencode({"q": named, "per_page": str(PER_PAGE)})
    rows = client.get(f"/devices?{query}", dict[str, Any])["items"]
    found = [row["id"] for row in rows if row["id"].startswith(named) or row["name"] == named]
    if len(found) != 1:
        raise Refused(
            f"Expected one machine for {named[:64]!r}, found {len(found)}. "
            "`fleetward device list` shows them.",
            reason="device_not_found",
        )
    return str(found[0])


def _read_canaries(client: ApiClient, canaries: list[str]) -> dict[str, list[str]]:
    groups = [each.removeprefix("group:") for each in canaries if each.startswith("group:")]
    devices = [_find(client, each) for each in canaries if not each.startswith("group:")]
    if groups and devices:
        raise Refused("Expected canaries by name, or by group; not both.", reason="bad_canaries")
    return {"groups": groups} if groups else {"devices": devices}


def _check_id(rollout: str) -> str:
    """Return what may stand in a path. Raises `Malformed`."""
    if not rollout.isascii() or not rollout.isalnum():
        raise Malformed(
            "Expected a rollout's id, which `fleetward rollout list` shows.",
            reason="bad_rollout_id",
        )
    return rollout


def _tell_forecast(forecast: dict[str, Any]) -> str:
    lines = [forecast["promise_words"]]
    lines += [
        f"  {stage['words']}: {'everybody' if stage['limit'] is None else stage['limit']}"
        for stage in forecast["stages"]
    ]
    missing = forecast["machines"] - forecast["approved"]
    if missing > 0:
        lines.append(f"The owner has not approved it for {missing} of them yet.")
    if forecast["already"]:
        lines.append(f"{forecast['already']} were told of it before, and are in from the start.")
    return "\n".join(lines)


def _tell(row: dict[str, Any]) -> str:
    counts = row["counts"]
    stands = [f"{counts[state]} {state.replace('_', ' ')}" for state in STATES_SHOWN if
              counts.get(state)]  # fmt: skip
    waves = [
        f"{'*' if stage['open'] else ' '} {stage['words']}: "
        f"{'everybody' if stage['limit'] is None else stage['limit']}"
        for stage in row["stages"]
    ]
    lines = [
        f"{row['product']} {row['version']} to {row['selector']}: {row['state']}",
        row["words"],
        *waves,
        f"{row['exposure']} of {row['machines']} machines are in: {', '.join(stands) or 'none'}.",
        row["promise_words"],
        f"{say_length(row['soak_seconds'])} of quiet before each next wave.",
        row["waits"],
        *(f"Failed by {each['cause']}: {each['count']}" for each in row["failures"]),
        f"Rollout {row['id']}",
    ]
    return "\n".join(line for line in lines if line)
