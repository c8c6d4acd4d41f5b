"""`fleetward device|event|token|drill|doctor`: what the console shows, on a terminal."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode

import typer
from rich.console import Console
from rich.table import Table

from fleetward.cli.owner import confirm, retire
from fleetward.cli.plain import PLAIN
from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.place import find_server
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.errors import Refused

MAX_PAGES: Final = 1000
PER_PAGE: Final = 500
UNBROKEN: Final = ("id", "device_id", "at", "received_at")
PIPE_COLUMNS: Final = 240
LOOK_SECONDS: Final = 0.3
DRILL_SECONDS: Final = 180.0
NO_REASON: Final = "No reason was given."
MIN_TOKEN_SECONDS: Final = 60
PROPERTY_STATES: Final = {
    "shown": "Shown",
    "partly": "Partly",
    "not_shown": "Not shown",
    "not_visible": "Not visible",
}

device_app: Final = typer.Typer(no_args_is_help=True, **PLAIN)
event_app: Final = typer.Typer(no_args_is_help=True, **PLAIN)
token_app: Final = typer.Typer(no_args_is_help=True, **PLAIN)
drill_app: Final = typer.Typer(no_args_is_help=True, **PLAIN)
doctor_app: Final = typer.Typer(**PLAIN)

Data = Annotated[Path | None, typer.Option("--data", help="The control plane's folder, here.")]
Server = Annotated[str, typer.Option("--server", help="A control plane elsewhere: https://HOST.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="File (0600) with a token.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
DeviceId = Annotated[str, typer.Argument(help="Its id, the start of it, or its name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the record.")]
State = Literal["", "pending", "active", "quarantined", "retired"]
Need = Literal["", "waiting", "quarantined", "silent", "exposed", "updates", "unconfirmed"]
Role = Literal["viewer", "operator", "admin"]


@event_app.callback()
def _event_words() -> None:
    """What machines reported."""


@drill_app.callback()
def _drill_words() -> None:
    """Attack a machine with everything that the server holds; it answers by its journal."""


def _client(data: Path | None, server: str, token_file: Path | None) -> ApiClient:
    place = find_server(data, server, token_file)
    return ApiClient(place.api, place.token, place.server_ca_pem)


def _all_pages(client: ApiClient, path: str, **query: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for page in range(1, MAX_PAGES):
        words = {k: v for k, v in query.items() if v}
        words |= {"page": str(page), "per_page": str(PER_PAGE)}
        answer = client.get(f"{path}?{urlencode(words)}", dict[str, Any])
        items += answer["items"]
        if len(items) >= answer["total"] or not answer["items"]:
            break
    return items


def _find(client: ApiClient, device: str) -> str:
    """Return the whole id of a machine named by the start of its id, or by its name."""
    found = [
        row
        for row in _all_pages(client, "/devices", q=device)
        if row["id"].startswith(device) or row["name"] == device
    ]
    if not found:
        found = [
            row
            for row in _all_pages(client, "/devices", state="retired")
            if row["id"].startswith(device) or row["name"] == device
        ]
    if len(found) != 1:
        raise Refused(
            f"Expected one machine for {device[:64]!r}, found {len(found)}. "
            "`fleetward device list` shows them.",
            reason="device_not_found",
        )
    return str(found[0]["id"])


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...], empty: str) -> None:
    if not rows:
        say(empty)
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=column in UNBROKEN, overflow="fold")
    for row in rows:
        cells = ("" if row.get(c) is None else one_line(str(row[c])) for c in columns)
        table.add_row(*cells, style=None)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    console.print(table)


@device_app.command("list")
def list_devices(
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False,
    site: Annotated[str, typer.Option("--site", help="One site only.")] = "",
    state: Annotated[State, typer.Option("--state", help="Machines in one state only.")] = "",
    need: Annotated[Need, typer.Option("--need", help="Only those that need this.")] = "",
) -> None:  # fmt: skip
    """List machines. Retired ones are listed only by `--state retired`.

    fleetward device list --data ~/fleetward --need exposed
    """
    with refusals():
        rows = _all_pages(
            _client(data, server, token_file), "/devices", site=site, state=state, need=need
        )
        if as_json:
            emit(rows, as_json, "")
            return
        columns = ("name", "site", "state", "connection", "need", "open_ports", "id")
        empty = "No devices yet. `fleetward owner invite` makes a join command."
        if site or state or need:
            empty = "No device is so. Without --site, --state and --need all are listed."
        _table(rows, columns, empty)


@device_app.command("show")
def show_device(
    device: DeviceId, data: Data = None, server: Server = "", token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show everything about one machine.

    fleetward device show pump-7 --data ~/fleetward
    """
    with refusals():
        client = _client(data, server, token_file)
        shown = client.get(f"/devices/{_find(client, device)}", dict[str, Any])
        if as_json:
            emit(shown, as_json, "")
            return
        lines = [
            f"{shown['name']}  ({shown['model'] or 'unknown model'}, {shown['site'] or 'no site'})",
            f"  state       {shown['state']}{'' if shown['confirmed'] else ', unconfirmed'}"
            f"{', simulated' if shown['simulated'] else ''}",
            f"  connection  {shown['connection']}, last heard {shown['last_seen_at'] or 'never'}",
            f"  trust       {shown['trust']['words']}",
            f"  six words   {shown['words']}",
            f"  ports       {shown['reachability']['words']}",
            f"  software    {shown['software']['os']}  {shown['software']['words']}",
            *(
                f"  {PROPERTY_STATES.get(p['state'], p['state']):<12}{p['name']}"
                for p in shown["properties"]
            ),
        ]
        emit(shown, as_json, "\n".join(lines))


def _list_facts(kind: str, columns: tuple[str, ...], empty: str) -> Any:
    def command(
        device: DeviceId, data: Data = None, server: Server = "", token_file: TokenFile = None,
        as_json: AsJson = False,
    ) -> None:  # fmt: skip
        with refusals():
            client = _client(data, server, token_file)
            rows = _all_pages(client, f"/devices/{_find(client, device)}/{kind}")
            if as_json:
                emit(rows, as_json, "")
            else:
                _table(rows, columns, empty)

    command.__doc__ = (
        f"List a machine's {kind}.\n\nfleetward device {kind} pump-7 --data ~/fleetward --json"
    )
    return command


device_app.command("packages")(
    _list_facts("packages", ("name", "version", "manager", "update", "security"), "None seen.")
)
device_app.command("sockets")(
    _list_facts(
        "sockets",
        ("proto", "address", "port", "exposure", "process", "user", "unit"),
        "None visible. Without root a machine sees its own sockets only.",
    )
)
device_app.command("history")(
    _list_facts("history", ("at", "kind", "words", "sequence", "leaf"), "Nothing yet.")
)


device_app.command("confirm")(confirm)
device_app.command("retire")(retire)


def _act_on(verb: str, words: str) -> Any:
    def command(
        device: DeviceId, reason: Reason = NO_REASON, data: Data = None, server: Server = "",
        token_file: TokenFile = None, as_json: AsJson = False,
    ) -> None:  # fmt: skip
        with refusals():
            client = _client(data, server, token_file)
            done = client.post(
                f"/devices/{_find(client, device)}/{verb}", {"reason": reason}, dict[str, str]
            )
            emit(done, as_json, f"{done['id']} is {done['state']}.")

    command.__doc__ = (
        f"{words}\n\nfleetward device {verb} pump-7 --reason 'odd traffic' --data ~/fleetward"
    )
    return command


device_app.command("quarantine")(
    _act_on("quarantine", "Cut a machine off but for its evidence and its owner's documents.")
)
device_app.command("readmit")(_act_on("readmit", "Let a quarantined machine back."))


@event_app.command("list")
def list_events(
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False,
    device: Annotated[str, typer.Option("--device", help="One machine only.")] = "",
    since: Annotated[str, typer.Option("--since", help="Arrived since (RFC 3339).")] = "",
    kind: Annotated[str, typer.Option("--kind", help="One kind only, as posture.changed.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many.")] = 1000,
) -> None:  # fmt: skip
    """List what machines reported, newest arrival first.

    fleetward event list --data ~/fleetward --since 2026-11-23T00:00:00Z
    """
    with refusals():
        arrived = _read_since(since)
        client = _client(data, server, token_file)
        whole = _find(client, device) if device else ""
        rows: list[dict[str, Any]] = []
        for page in range(1, MAX_PAGES):
            query = {"device": whole, "since": arrived, "kind": kind, "page": str(page),
                     "per_page": str(min(PER_PAGE, limit))}  # fmt: skip
            words = urlencode({k: v for k, v in query.items() if v})
            answer = client.get(f"/events?{words}", dict[str, Any])
            rows += answer["items"]
            if len(rows) >= min(limit, answer["total"]) or not answer["items"]:
                break
        if as_json:
            emit(rows[:limit], as_json, "")
        else:
            _table(rows[:limit], ("received_at", "device_id", "sequence", "words"), "None yet.")


def _read_since(since: str) -> str:
    """Return a moment as the API writes it. A moment without a zone is taken for UTC."""
    if not since:
        return ""
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        words = f"Expected a moment such as 2026-11-23T14:02:05Z or 2026-11-23, got {since[:40]!r}."
        raise typer.BadParameter(words, param_hint="'--since'") from None
    at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return to_rfc3339(int(at.timestamp() * 1000))


@token_app.command("create")
def create_token(
    role: Annotated[Role, typer.Option("--role", help="What it may do.")],
    ttl: Annotated[
        int, typer.Option("--ttl", min=MIN_TOKEN_SECONDS, help="Seconds that it lives.")
    ],
    name: Annotated[str, typer.Option("--name", help="What it is for.")] = "command line",
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make an API token; it is shown this once.

    fleetward token create --role viewer --ttl 86400 --data ~/fleetward --json
    """
    with refusals():
        made = _client(data, server, token_file).post(
            "/tokens", {"name": name, "role": role, "ttl_seconds": ttl}, dict[str, str]
        )
        emit(made, as_json, made["token"])


@token_app.command("list")
def list_tokens(
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """List the tokens of programs.

    fleetward token list --data ~/fleetward
    """
    with refusals():
        rows = _all_pages(_client(data, server, token_file), "/tokens")
        if as_json:
            emit(rows, as_json, "")
        else:
            _table(rows, ("id", "name", "role", "expires_at"), "No tokens.")


@token_app.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(help="The token's id.")],
    data: Data = None, server: Server = "", token_file: TokenFile = None,
) -> None:  # fmt: skip
    """Revoke a token. `fleetward token list` shows the ids.

    fleetward token revoke ID --data ~/fleetward
    """
    with refusals():
        _client(data, server, token_file).request("DELETE", f"/tokens/{quote(token)}")
        say("Revoked.")


@drill_app.command("stolen-server")
def drill_stolen_server(
    device: Annotated[str, typer.Option("--device", help="The machine to attack: id or name.")],
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Attack one machine with everything that the server holds, and show its signed answers.

    fleetward drill stolen-server --device ID --data ~/fleetward
    """
    with refusals():
        client = _client(data, server, token_file)
        wish = {"kind": "stolen-server", "device_id": _find(client, device)}
        drill = client.post("/drills", wish, dict[str, Any])
        deadline = time.monotonic() + DRILL_SECONDS
        told = 0
        while True:
            drill = client.get(f"/drills/{drill['id']}", dict[str, Any])
            for step in drill["steps"][told:]:
                if step["outcome"] == "waiting":
                    break
                say(f"{step['outcome']:<10} {step['attack']}: {step['answer'] or step['words']}")
                told += 1
            if drill["state"] != "running" or time.monotonic() > deadline:
                break
            time.sleep(LOOK_SECONDS)
        words = {
            "passed": "The machine refused everything.",
            "failed": "The machine accepted something. Its journal says what.",
        }.get(drill["state"], "The machine did not answer everything.")
        emit(drill, as_json, words)
        if drill["state"] != "passed":
            raise SystemExit(1)


@doctor_app.command()
def doctor(
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Say what is not as it should be, each with its cure.

    fleetward doctor --data ~/fleetward
    """
    with refusals():
        found = _client(data, server, token_file).get("/doctor", dict[str, Any])
        lines = []
        for check in found["checks"]:
            lines.append(f"{check['state']:<5} {check['words']}")
            if check["next"]:
                lines.append(f"      {check['next']}")
        emit(found, as_json, "\n".join(lines))
        if any(check["state"] == "bad" for check in found["checks"]):
            raise SystemExit(1)
