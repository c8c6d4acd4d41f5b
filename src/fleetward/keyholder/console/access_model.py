"""What the owner's console says and takes about sessions."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from fleetward.keyholder.console.model import Answer, Question
from fleetward.trust.access import MAX_SCOPES, MAX_SECONDS

Hash: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Scope: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=12 * 1024)]
"""As it is typed; that of a runbook has every argument in it."""


class RunView(Answer, frozen=True, kw_only=True):
    """What a runbook would do, of the very document whose hash the request names.

    Each step is one line, its arguments filled in and quoted as a shell would need them.
    """

    name: str
    version: int
    description: str
    run_as: str
    seconds: int
    steps: list[str]


class ScopeView(Answer, frozen=True, kw_only=True):
    """A scope as it is typed and as it is said; with what it runs, where it is a runbook."""

    id: str
    words: str
    run: RunView | None = None


class AccessView(Answer, frozen=True, kw_only=True):
    """A request and what became of it. With `trouble` its papers are not believed, and only what
    the server says of its place and state is here."""

    id: str
    trouble: str
    state: str
    device_id: str
    machine: str = ""
    site: str = ""
    person: str = ""
    org: str = ""
    reason: str = ""
    case: str = ""
    scopes: list[ScopeView] = msgspec.field(default_factory=list)
    seconds: int = 0
    asked_at: str | None = None
    wall: str = ""
    sandbox: str = ""
    sandboxed: bool = False
    people_needed: int = 0
    must_watch: bool = False
    own: bool = False
    """Whether the approver of this folder asks himself, so that somebody else has to answer."""
    answerable: str = ""
    """Why no answer can be given now; empty when one can."""
    session: str = ""
    six_words: str = ""
    granted: list[ScopeView] = msgspec.field(default_factory=list)
    granted_seconds: int = 0
    people: list[str] = msgspec.field(default_factory=list)
    ahead: bool = False
    """Whether they allowed it ahead, in windows of time."""
    watched: bool = False
    opened_at: str | None = None
    ended_at: str | None = None
    ended_by: str = ""
    ended_who: str = ""
    denied: str = ""
    recording_bytes: int = 0
    break_glass: bool = False
    """The usual approvers were away: every page says so."""
    acknowledged: bool = False
    """Whether somebody has said on this computer that he knows of it."""


class FindingView(Answer, frozen=True, kw_only=True):
    """A change that somebody should look at."""

    rule: str
    severity: str
    words: str
    evidence: str
    attack: list[str]


class ChangeView(Answer, frozen=True, kw_only=True):
    """One thing that was added, removed or changed."""

    kind: str
    change: str
    name: str
    before: str
    after: str


class ChangesView(Answer, frozen=True, kw_only=True):
    """What changed during a session, checked here against the machine's receipt.

    Only in the state `compared` are there rows; `left` are changes that are not among them.
    """

    state: str
    words: str
    findings: list[FindingView] = msgspec.field(default_factory=list)
    changes: list[ChangeView] = msgspec.field(default_factory=list)
    left: int = 0
    notes: list[str] = msgspec.field(default_factory=list)


class AccessList(Answer, frozen=True, kw_only=True):
    """Requests and sessions, newest first; `more` older ones are not looked at here."""

    items: list[AccessView]
    more: int


class Prepare(Question, frozen=True, kw_only=True):
    """What an approver would give; what is left out is all that was asked for."""

    id: Hash
    scopes: Annotated[list[Scope], msgspec.Meta(max_length=MAX_SCOPES)] = msgspec.field(
        default_factory=list
    )
    seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)] = 0
    watched: bool = False


Base64: TypeAlias = Annotated[str, msgspec.Meta(max_length=8192, pattern="^[A-Za-z0-9_-]*$")]


class PasskeyChoice(Answer, frozen=True, kw_only=True):
    """What a browser needs to ask for a passkey's yes. The challenge is the grant."""

    challenge: str
    rp_id: str
    names: list[str]
    people: list[str]


class PasskeyYes(Question, frozen=True, kw_only=True):
    """A passkey's yes, as a browser gives it."""

    authenticator_data: Base64
    client_data: Base64
    signature: Base64


class PreparedView(Answer, frozen=True, kw_only=True):
    """A grant that is ready to be signed; with a passkey where one may approve here."""

    grant: str
    six_words: str
    scopes: list[ScopeView]
    seconds: int
    watched: bool
    passkey: PasskeyChoice | None = None
    own_key: bool = True
    """Whether the approver's key of this folder may sign it."""
    said: list[str] = msgspec.field(default_factory=list)
    """Who has signed it already, where it takes several people."""


class Approve(Question, frozen=True, kw_only=True):
    """Sign the grant with this hash, which was prepared and shown, by the approver's key."""

    grant: Hash


class EndWish(Question, frozen=True, kw_only=True):
    """Say no to a request, or end its session."""

    id: Hash
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Acknowledge(Question, frozen=True, kw_only=True):
    """Say that one knows of a BREAK-GLASS: the banner about it goes."""

    id: Hash


class Answered(Answer, frozen=True, kw_only=True):
    """What was signed and handed over."""

    id: str
    session: str
    words: str
    watched: bool = False


class Screening(Answer, frozen=True, kw_only=True):
    """Events of a recording from one place on: seconds, code, text made harmless."""

    events: list[tuple[float, str, str]]
    next: int
    done: bool
    state: str
    words: str
    beats: str
    """Why the last beat did not arrive, where one was sent."""
