"""`fleetward recall`: find the machines that have a fault, tell people, and prove that it is over.

A recall changes no machine. What mends one is a release that its owner approves; what ends one is
the owner's roster. `verify` needs no server: it compares a proof with the owner's own record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from fleetward.cli.plain import PLAIN
from fleetward.cli.recall_words import tell_check, tell_forecast, tell_machine, tell_recall
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.place import find_server
from fleetward.keyholder.recall_check import check_recall, read_proof, show_check
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.ledger import Auditor

PER_PAGE: Final = 500
BASE: Final = "/updates/recalls"
MAX_PROOF_BYTES: Final = 256 * 1024 * 1024
"""A quarter of a million machines."""
DAY_END: Final = "T23:59:59.999Z"
"""A day that is named is there to its end: it is overdue when the day has passed."""

recall_app: Final = typer.Typer(
    help="Find the machines that something is wrong with, and prove when it is over.",
    no_args_is_help=True,
    **PLAIN,
)

Data = Annotated[Path | None, typer.Option("--data", help="The control plane's folder, here.")]
Server = Annotated[str, typer.Option("--server", help="A control plane elsewhere: https://HOST.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="File (0600) with a token.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the record.")]
RecallId = Annotated[str, typer.Argument(help="Its id, or the first 8 digits of it.")]
Names = list[str] | None


@recall_app.command("open")
def open_recall(
    product: Annotated[str, typer.Argument(help="The product; none: machines as they are.")] = "",
    title: Annotated[str, typer.Option("--title", help="What is wrong, in a line.")] = "",
    why: Annotated[str, typer.Option("--why", help="What can happen, and to whom.")] = "",
    version: Annotated[
        Names, typer.Option("--version", help="1.1, 1.0:1.2, :1.2, 1.0: or #7; none: all.")
    ] = None,
    fix: Annotated[str, typer.Option("--fix", help="The version that mends it.")] = "",
    disable: Annotated[
        bool, typer.Option("--disable", help="Machines are to be disabled, by the owner.")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Machines are to be taken out of use.")
    ] = False,
    advisory: Annotated[Names, typer.Option("--advisory", help="CVE or other id.")] = None,
    model: Annotated[Names, typer.Option("--model", help="Machines of this model.")] = None,
    site: Annotated[Names, typer.Option("--site", help="Machines of this site.")] = None,
    group: Annotated[Names, typer.Option("--group", help="Machines of this group.")] = None,
    until: Annotated[str, typer.Option("--until", help="A day, as 2027-03-01.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say whom it would find; open nothing.")
    ] = False,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Open a recall. It says first which machines it finds.

    fleetward recall open kiosk --version :1.1 --fix 1.2 --advisory CVE-2026-1234
    --title "Open debug port" --why "Anybody on the network can log in."

    fleetward recall open --model "Camera X1" --stop --title "Battery" --why "It can burn."
    """
    with refusals():
        remedies = [name for name, on in (("disable", disable), ("stop", stop)) if on]
        remedies += ["patch"] if fix else []
        if len(remedies) != 1:
            raise Refused(
                "Expected what is to be done: --fix VERSION, --disable, or --stop.",
                reason="no_remedy",
            )
        wish: dict[str, Any] = {
            "title": title,
            "why": why,
            "remedy": remedies[0],
            "product": product,
            "versions": version or [],
            "fix_version": fix,
            "advisories": advisory or [],
        }
        words = {"models": model or [], "sites": site or [], "groups": group or []}
        if any(words.values()):
            wish["machines"] = words
        if until:
            wish["until"] = until + DAY_END if "T" not in until else until
        client = _client(data, server, token_file)
        forecast = client.post("/updates/recall-forecasts", wish, dict[str, Any])
        if dry_run:
            emit(forecast, as_json, tell_forecast(forecast))
            return
        say(tell_forecast(forecast))
        made = client.post(BASE, wish, dict[str, Any])
        emit(made, as_json, tell_recall(made, []))


@recall_app.command("list")
def list_recalls(
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """List recalls, newest first.

    fleetward recall list --data ~/fleetward
    """
    with refusals():
        items = _client(data, server, token_file).get(BASE, dict[str, Any])["items"]
        lines = [
            f"{row['id'][:12]}  {row['state']}{' (overdue)' if row['overdue'] else ''}  "
            f"{row['title']}  {row['headline']}"
            for row in items
        ]
        emit(items, as_json, "\n".join(lines) or "No recalls.")


@recall_app.command("show")
def show_recall(
    recall: RecallId,
    machines: Annotated[
        bool, typer.Option("--machines", help="Every machine, those that are open first.")
    ] = False,
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show a recall: whether it is over, who is open, and what to do next.

    fleetward recall show 3f9a01bc --machines --data ~/fleetward
    """
    with refusals():
        client = _client(data, server, token_file)
        shown = _show(client, recall, page=1)
        if machines:
            for page in range(2, -(-shown["total"] // PER_PAGE) + 1):
                shown["items"] += _show(client, recall, page=page)["items"]
        words = tell_recall(shown["recall"], shown["steps"])
        if machines:
            words += "\n\n" + "\n".join(tell_machine(item) for item in shown["items"])
        emit(shown, as_json, words)


def _make_verb(verb: str, words: str, example: str) -> None:
    def change(
        recall: RecallId, reason: Reason = "", data: Data = None, server: Server = "",
        token_file: TokenFile = None, as_json: AsJson = False,
    ) -> None:  # fmt: skip
        with refusals():
            client = _client(data, server, token_file)
            path = f"{BASE}/{_check_id(recall)}/{verb}"
            made = client.post(path, {"reason": reason}, dict[str, Any])
            emit(made, as_json, tell_recall(made, []))

    change.__doc__ = f"{words}\n\nfleetward recall {verb} 3f9a01bc {example}"
    recall_app.command(verb)(change)


for _verb, _words, _example in (
    ("acknowledge", "Say that you know of it and answer for it: nobody is reminded any more.",
     '--reason "we update on Monday"'),
    ("close", "Close a recall. Where machines are not proven to be done, it needs a reason.",
     '--reason "the last three are scrapped"'),
    ("reopen", "Open a recall again, and tell people anew.", '--reason "one came back"'),
    ("cancel", "End a recall that was a mistake.", '--reason "another product"'),
):  # fmt: skip
    _make_verb(_verb, _words, _example)


@recall_app.command("note")
def note_machine(
    recall: RecallId,
    device: Annotated[list[str], typer.Argument(help="Machines: the whole id of each.")],
    words: Annotated[str, typer.Option("--words", help="What is said of them.")],
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write what somebody says of machines. It is shown beside them, and proves nothing.

    fleetward recall note 3f9a01bc ID --words "It lies in the cellar, unplugged."
    """
    with refusals():
        client = _client(data, server, token_file)
        path = f"{BASE}/{_check_id(recall)}/notes"
        made = client.post(path, {"devices": device, "words": words}, dict[str, Any])
        emit(made, as_json, tell_recall(made, []))


@recall_app.command("export")
def export_recall(
    recall: RecallId,
    out: Annotated[Path, typer.Option("--out", help="A file that does not exist yet.")],
    table: Annotated[bool, typer.Option("--csv", help="A table, in place of the proof.")] = False,
    data: Data = None, server: Server = "", token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write all machines of a recall with their proof into a file, for `recall verify`.

    fleetward recall export 3f9a01bc --out recall.json --data ~/fleetward
    """
    with refusals():
        if out.exists():
            raise Refused(f"{out} is there already. Name another file.", reason="file_exists")
        client = _client(data, server, token_file)
        name = "machines.csv" if table else "proof"
        body, _ = client.piece(f"{BASE}/{_check_id(recall)}/{name}", MAX_PROOF_BYTES)
        if not table:
            read_proof(body)
        atomic_write(out, body)
        words = f"{out} holds {len(body)} bytes."
        if not table:
            words += (
                " Check it against your own copy of the record: `fleetward audit export --out "
                f"record`, then `fleetward recall verify {out} --record record --root …`."
            )
        emit({"out": str(out), "bytes": len(body)}, as_json, words)


@recall_app.command("verify")
def verify_recall(
    proof: Annotated[Path, typer.Argument(help="What `recall export` wrote.")],
    record: Annotated[Path, typer.Option("--record", help="What `audit export` wrote, later.")],
    root: Annotated[str, typer.Option("--root", help="The owner root's hash, 64 digits.")],
    as_json: AsJson = False,
) -> None:
    """Check a recall's proof against the record, with no server. Exit 0 only when nothing is
    contradicted and every machine is proven to be done.

    fleetward recall verify recall.json --record record-2026-11 --root 5f1c…
    """
    with refusals():
        read = read_proof(read_bounded(proof, MAX_PROOF_BYTES))
        auditor = Auditor(now_ms=SystemClock().wall_ms())
        result = check_recall(read, record, root, auditor)
        emit(show_check(result), as_json, tell_check(result))
    if not result.is_over:
        raise typer.Exit(1)


def _client(data: Path | None, server: str, token_file: Path | None) -> ApiClient:
    place = find_server(data, server, token_file)
    return ApiClient(place.api, place.token, place.server_ca_pem)


def _show(client: ApiClient, recall: str, *, page: int) -> dict[str, Any]:
    query = urlencode({"page": str(page), "per_page": str(PER_PAGE)})
    return client.get(f"{BASE}/{_check_id(recall)}?{query}", dict[str, Any])


def _check_id(recall: str) -> str:
    """Return what may stand in a path. Raises `Malformed`."""
    if not recall.isascii() or not recall.isalnum():
        raise Malformed(
            "Expected a recall's id, which `fleetward recall list` shows.", reason="bad_recall_id"
        )
    return recall
