"""What the server hands out about sessions. All of it is hearsay: `judging` says what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import msgspec

from fleetward.keyholder.api import ApiClient
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.wire.comparison import MAX_COMPARISON_BYTES

PER_PAGE: Final = 500
MAX_PAGES: Final = 40
"""Twenty thousand sessions; older ones are found by their id."""
PIECE_BYTES: Final = 1024 * 1024
WAITING: Final = ("asked", "offered")
LIVE: Final = ("granted", "open")
OVER: Final = ("ended", "denied", "stopped")
MIN_PREFIX: Final = 8
_Text = Annotated[str, msgspec.Meta(max_length=2000)]


class AccessRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request, or the session that became of it, as the server tells it."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    device_id: Annotated[str, msgspec.Meta(pattern="^[a-z2-7]{32}$")]
    device_name: _Text = ""
    site: _Text = ""
    state: _Text = ""
    requester: _Text = ""
    person: _Text = ""
    org: _Text = ""
    reason: _Text = ""
    case: _Text = ""
    scopes: list[_Text] = []
    seconds: int = 0
    asked_at: str | None = None
    offered_at: str | None = None
    granted_at: str | None = None
    opened_at: str | None = None
    ended_at: str | None = None
    ended_by: _Text | None = ""
    session: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""
    words: _Text = ""
    standing: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""
    recording_bytes: int = 0
    break_glass: bool = False


class Step(msgspec.Struct, frozen=True):
    """One thing that happened to a request, as the server says."""

    kind: str = ""
    words: str = ""
    at: str = ""


class NextNotice(msgspec.Struct, frozen=True):
    """Who is told next, as the server says."""

    at: str = ""
    names: list[str] = []


class PaperRunbook(msgspec.Struct, frozen=True, kw_only=True):
    """A signed runbook that came with a request, base64url."""

    envelope: str


class AccessPapers(AccessRow, frozen=True, kw_only=True):
    """A row with the signed documents themselves, base64url.

    `steps` and `next_notice` are the server's own words, and nothing hangs on them.
    """

    request: str
    offer: str = ""
    grant: str = ""
    entry: str = ""
    standing_document: str = ""
    denial: str = ""
    receipt: str = ""
    steps: list[Step] = []
    next_notice: NextNotice | None = None
    runbooks: list[PaperRunbook] = []


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What a technician needs to come to the bus: a certificate, and where it is."""

    certificate: str
    bus: list[str]
    server_ca_sha256: str
    server_ca: str
    device_id: str
    session: str
    expires_at: str = ""


class _Page(msgspec.Struct, frozen=True):
    items: list[AccessRow]
    total: int = 0


@dataclass(frozen=True, slots=True)
class RecordingPiece:
    """Bytes of a recording from an offset on, and how much the server holds in all."""

    data: bytes
    size: int
    done: bool


class AccessApi:
    """The server's half of sessions, over one client."""

    def __init__(self, client: ApiClient) -> None:
        self.client: Final = client

    def ask(self, envelope: bytes, runbooks: Sequence[bytes] = ()) -> AccessRow:
        """Hand over a signed request. Raises `Refused`, `Unreachable` or `Malformed`."""
        body: dict[str, Any] = _wrap(envelope)
        if runbooks:
            body["runbooks"] = [to_base64url(each) for each in runbooks]
        return self.client.post("/access/requests", body, AccessRow)

    def rows(self, **query: str) -> list[AccessRow]:
        """Return requests and sessions, newest first."""
        found: list[AccessRow] = []
        words = {name: value for name, value in query.items() if value}
        for number in range(1, MAX_PAGES + 1):
            asked = urlencode({**words, "page": str(number), "per_page": str(PER_PAGE)})
            page = self.client.get(f"/access/requests?{asked}", _Page)
            found += page.items
            if len(found) >= page.total or not page.items:
                break
        return found

    def papers(self, request: str) -> AccessPapers:
        """Return one request with its documents. Raises `Refused` when there is none.

        Raises `Untrusted` for the papers of another: what somebody says no to, stops, watches or
        enters is what he named, and not what the server would rather have.
        """
        papers = self.client.get(f"/access/requests/{quote(request, safe='')}", AccessPapers)
        if papers.id != request:
            raise Untrusted(
                f"The server answers about request {papers.id[:16]}; asked was "
                f"{request[:16]!r}. Nothing was done.",
                reason="another_request",
            )
        return papers

    def find(self, named: str) -> AccessPapers:
        """Return what a person named: by a request's or a session's hash, or its beginning.

        Raises `Refused` when nothing is so named, or more than one. That the papers are of what
        was named, `judging.require_named` says when they are judged.
        """
        text = named.strip().lower()
        if len(text) < MIN_PREFIX or set(text) - set("0123456789abcdef"):
            raise Refused(
                f"Expected the id of a request or session, or {MIN_PREFIX} digits of its "
                f"beginning; got {named[:80]!r}. See: fleetward owner session list",
                reason="bad_request_id",
            )
        found = [r for r in self.rows() if r.id.startswith(text) or r.session.startswith(text)]
        if len(found) != 1:
            raise Refused(
                f"Expected one request or session {text[:16]}…, found {len(found)}. "
                "See: fleetward owner session list",
                reason="request_not_found",
            )
        return self.papers(found[0].id)

    def hand(self, request: str, what: str, envelope: bytes) -> None:
        """Hand over a signed `grant`, `stop` or `beat`."""
        self.client.post(f"/access/requests/{request}/{what}", _wrap(envelope), dict[str, Any])

    def connect(self, request: str, public_key: bytes, proof: bytes) -> Connection:
        """Return a certificate for a transport key that the requester vouched for."""
        body = {"public_key": to_base64url(public_key), "proof": to_base64url(proof)}
        return self.client.post(f"/access/requests/{request}/connection", body, Connection)

    def recording(self, session: str, offset: int) -> RecordingPiece:
        """Return the next bytes of a recording. Raises as `ApiClient.piece`."""
        data, headers = self.client.piece(
            f"/access/sessions/{session}/recording?offset={offset}", PIECE_BYTES
        )
        size = headers.get("fleetward-recording-size", "")
        if not size.isdecimal() or len(size) > 15:
            raise Malformed(
                "Expected the server to say how long the recording is.", reason="bad_answer"
            )
        return RecordingPiece(data, int(size), headers.get("fleetward-recording-done") == "true")

    def changes(self, session: str) -> bytes:
        """Return the document of what changed during a session. Raises as `ApiClient.piece`."""
        return self.client.piece(f"/access/sessions/{session}/changes", MAX_COMPARISON_BYTES)[0]


def unwrap(text: str) -> bytes:
    """Return the bytes of a document, none for an empty text. Raises `Malformed`."""
    return from_base64url(text) if text else b""


def _wrap(envelope: bytes) -> dict[str, str]:
    return {"envelope": to_base64url(envelope)}
