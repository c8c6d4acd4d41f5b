"""What the owner's console says and takes."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from fleetward.keyholder.desk import MAX_TTL_SECONDS, MIN_TTL_SECONDS
from fleetward.trust.invitation import MAX_USES

DeviceId: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[a-z2-7]{32}$")]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=80)]
Line: TypeAlias = Annotated[str, msgspec.Meta(max_length=500)]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the program answers."""


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page asks; a field that is not known is refused."""


class KeyView(Answer, frozen=True, kw_only=True):
    """A key of the policy, and what it may sign."""

    key_id: str
    suite: str
    scopes: list[str]
    origins: list[str] = msgspec.field(default_factory=list)
    """Where it is used, for a passkey."""


class PersonView(Answer, frozen=True, kw_only=True):
    """A person of the policy."""

    person: str
    keys: list[KeyView]


class RootView(Answer, frozen=True, kw_only=True):
    """Another root that the policy names."""

    name: str
    value: str


class ThresholdView(Answer, frozen=True, kw_only=True):
    """How many people something takes."""

    scope: str
    people: int


class RequesterView(Answer, frozen=True, kw_only=True):
    """Somebody who may ask for sessions, and the six words of his key."""

    person: str
    org: str
    words: str
    may_delegate: bool


class BreakGlassView(Answer, frozen=True, kw_only=True):
    """Who says yes when the usual approvers are away; each rule in words."""

    people: list[str]
    threshold: int
    seconds: int
    rules: list[str]


class AccessRulesView(Answer, frozen=True, kw_only=True):
    """Who may ask for sessions, and for what. `rules` are in words, one for each kind of scope."""

    requesters: list[RequesterView]
    rules: list[str]
    sandbox_only: bool
    break_glass: BreakGlassView | None


class PolicyView(Answer, frozen=True, kw_only=True):
    """The newest policy."""

    version: int
    epoch: int
    people: list[PersonView]
    hash: str
    roots: list[RootView]
    thresholds: list[ThresholdView]
    access: AccessRulesView


class RosterView(Answer, frozen=True, kw_only=True):
    """The newest roster."""

    version: int
    count: int
    hash: str


class HeadView(Answer, frozen=True, kw_only=True):
    """The newest head, and until when it may be relied on."""

    version: int
    lease_until: str
    hash: str


class ServerView(Answer, frozen=True, kw_only=True):
    """The server as this program sees it now."""

    url: str
    reachable: bool
    words: str


class RecoveryView(Answer, frozen=True, kw_only=True):
    """A policy that recovery keys announced, verified here."""

    version: int
    people: list[str]
    announced_at: str
    earliest_at: str


class State(Answer, frozen=True, kw_only=True):
    """What the owner's folder holds."""

    name: str
    owner_root: str
    policy: PolicyView
    roster: RosterView
    head: HeadView
    server: ServerView
    same_host: bool
    same_host_words: str
    recoveries: list[RecoveryView]


class PendingView(Answer, frozen=True, kw_only=True):
    """A waiting machine. `words` are computed here, from its key."""

    id: str
    words: str
    name_suggested: str
    site: str
    model: str
    joined_at: str
    preapproved: bool


class PendingList(Answer, frozen=True, kw_only=True):
    """The machines that wait."""

    items: list[PendingView]


class MachineView(Answer, frozen=True, kw_only=True):
    """A machine of the roster."""

    id: str
    name: str
    site: str
    groups: list[str]
    model: str
    maker: str
    state: str


class MachineList(Answer, frozen=True, kw_only=True):
    """The roster's machines."""

    items: list[MachineView]


class Confirm(Question, frozen=True, kw_only=True):
    """These words stand on the machine."""

    device_id: DeviceId
    words: Line
    name: Name = ""
    site: Name = ""


class Retire(Question, frozen=True, kw_only=True):
    """This machine is no longer ours; why, is kept in the owner's folder."""

    device_id: DeviceId
    reason: Line


class Signed(Answer, frozen=True, kw_only=True):
    """A machine's entry was signed. `handed_over` is false while the server is not in reach."""

    id: str
    state: str
    roster: int
    handed_over: bool
    words: str


class Invite(Question, frozen=True, kw_only=True):
    """What an invitation shall say."""

    site: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    uses: Annotated[int, msgspec.Meta(ge=1, le=MAX_USES)]
    ttl_seconds: Annotated[int, msgspec.Meta(ge=MIN_TTL_SECONDS, le=MAX_TTL_SECONDS)]
    preapproved: bool = False


class Invitation(Answer, frozen=True, kw_only=True):
    """A signed invitation."""

    join: str
    expires_at: str
    owner_root: str


class Nothing(Question, frozen=True, kw_only=True):
    """An empty object."""


class FindingView(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """One statement of a verification."""

    id: str
    words: str
    entry: int | str = ""
    device: str = ""


class OpenFinding(Answer, frozen=True, kw_only=True):
    """What cannot be known yet, with the age of the newest word where there is one."""

    id: str
    words: str
    device: str
    age_seconds: int | None


class Verdict(Answer, frozen=True, kw_only=True):
    """The three lists, and the command that says the same without this program."""

    proven: list[FindingView]
    contradicted: list[FindingView]
    unknown: list[OpenFinding]
    command: str
    entries: int
    as_of: str


Event: TypeAlias = dict[str, Any]
