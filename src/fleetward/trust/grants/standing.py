"""The standing document: the owner's yes, given ahead, to sessions in windows of time.

It lets these requesters enter these machines, for these scopes, once in each of its windows. An
**entry** (see `entry`) uses one window of it. Rules:

1. It is of this owner and epoch. It names no policy: it is judged again under the policy in force
   each time, so that it outlives every version that still permits it, and no other.
2. Each requester that it names is a requester of the policy in force. When the policy drops one of
   them, the whole document is of no force: nobody can tell any more whose yes he could have given.
3. The rules in force permit each scope for so long.
4. The threshold counts people, as for a grant, and nobody who may enter by it counts.
5. It is watched where a rule wants that, and names the policy's recording key.
6. Its windows are sorted and apart, none longer than a day, the last within 400 days of its making.
   Their places in the list count: a machine takes only a place above the last that was used. The
   time zone is for people; times are UTC.
7. Documents of one series share the machine's count of used windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.access import MAX_SECONDS, Scope, read_scopes
from fleetward.trust.canonical import Json, JsonObject, to_base64url
from fleetward.trust.envelope import read_envelope, require_type
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields, require_key_id
from fleetward.trust.grants.grant import IDLE_SECONDS, count_people
from fleetward.trust.grants.request import MAX_SCOPE_ITEMS, check_rules
from fleetward.trust.policy import Policy
from fleetward.trust.words import six_words

STANDING_TYPE: Final = "fleetward.standing.v1"
MAX_STANDING_BYTES: Final = 64 * 1024
"""As for a grant: most of it are the signatures of passkeys."""
SERIES_BYTES: Final = 16
MAX_DEVICES: Final = 64
MAX_STANDING_REQUESTERS: Final = 16
MAX_WINDOWS: Final = 64
"""More than a year of weekly windows."""
MAX_WINDOW_MS: Final = 86_400_000
MAX_AHEAD_MS: Final = 400 * 86_400_000
"""As long as a lease can be: whoever allowed it is asked again after a year."""
MAX_ZONE_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Window:
    """One window: from `not_before_ms` up to, and without, `not_after_ms`. Unix time."""

    not_before_ms: int
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A verified standing document. `people` are the approvers who signed it."""

    owner: str
    epoch: int
    series: bytes
    devices: tuple[str, ...]
    requesters: tuple[str, ...]
    scopes: tuple[Scope, ...]
    seconds: int
    idle_seconds: int
    watched: bool
    recording_key: str
    windows: tuple[Window, ...]
    reason: str
    time_zone: str
    issued_at_ms: int
    people: tuple[str, ...]
    hash: str
    raw: bytes

    @property
    def words(self) -> str:
        """Six words that everybody who sees this document sees."""
        return six_words(bytes.fromhex(self.hash))


@dataclass(frozen=True, slots=True)
class Permission:
    """What the approvers decide, before it is signed. Devices and requesters may be unsorted."""

    series: bytes
    devices: tuple[str, ...]
    requesters: tuple[str, ...]
    scopes: tuple[Scope, ...]
    seconds: int
    idle_seconds: int
    watched: bool
    windows: tuple[Window, ...]
    reason: str
    time_zone: str


def make_standing_payload(policy: Policy, given: Permission, issued_at_ms: int) -> JsonObject:
    """Return the payload of a standing document."""
    return {
        "devices": [*sorted(given.devices)],
        "epoch": policy.epoch,
        "idle_seconds": given.idle_seconds,
        "issued_at": issued_at_ms,
        "owner": policy.owner,
        "reason": given.reason,
        "recording_key": policy.roots.recording_key,
        "requesters": [*sorted(given.requesters)],
        "scopes": [scope.to_json() for scope in given.scopes],
        "seconds": given.seconds,
        "series": to_base64url(given.series),
        "time_zone": given.time_zone,
        "type": STANDING_TYPE,
        "watched": given.watched,
        "windows": [
            {"not_after": each.not_after_ms, "not_before": each.not_before_ms}
            for each in sorted(given.windows, key=lambda w: w.not_before_ms)
        ],
    }


def verify_standing(data: bytes, policy: Policy) -> Standing:
    """Return the standing document that is in force under this policy.

    Raises `Malformed`, `Untrusted`, or `Refused` when the rules permit no such session. That it
    was not taken back, and which of its windows were used, remains the caller's duty.
    """
    envelope = read_envelope(data, max_bytes=MAX_STANDING_BYTES)
    require_type(envelope, STANDING_TYPE)
    fields = _read_fields(envelope.payload)
    # Rule 1.
    if fields.digest("owner") != policy.owner:
        raise Untrusted("This was allowed by another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted("This was allowed in an epoch that has passed.", reason="old_epoch")
    # Rule 2.
    requesters = _read_sorted(fields, "requesters", MAX_STANDING_REQUESTERS)
    if any(each not in policy.access.requesters for each in requesters):
        raise Untrusted(
            "This allows somebody ahead whom the owner's policy names no more as a requester. "
            "The owner allows the others anew with `fleetward owner window add`.",
            reason="unknown_requester",
        )
    # Rule 3.
    scopes = read_scopes(fields.items("scopes", most=MAX_SCOPE_ITEMS))
    seconds = fields.integer("seconds", low=1, high=MAX_SECONDS)
    rules = check_rules(policy, scopes, seconds)
    # Rule 4.
    asking = {policy.keys[each].person for each in requesters}
    people = count_people(envelope, STANDING_TYPE, policy, asking, rules)
    # Rule 5.
    watched = fields.boolean("watched")
    if any(rule.watched for rule in rules) and not watched:
        raise Untrusted("The policy wants such sessions watched.", reason="not_watched")
    recording_key = fields.text("recording_key", most=256, least=1)
    if recording_key != policy.roots.recording_key:
        raise Untrusted("The recording is for another key.", reason="another_recording_key")
    # Rule 6.
    issued_at_ms = fields.integer("issued_at")
    windows = _read_windows(fields.items("windows", most=MAX_WINDOWS), issued_at_ms)
    series = fields.binary("series", most=SERIES_BYTES)
    if len(series) != SERIES_BYTES:
        raise Malformed(f"Expected a series of {SERIES_BYTES} bytes.", reason="bad_field")
    return Standing(
        owner=policy.owner,
        epoch=policy.epoch,
        series=series,
        devices=_read_sorted(fields, "devices", MAX_DEVICES),
        requesters=requesters,
        scopes=scopes,
        seconds=seconds,
        idle_seconds=fields.integer("idle_seconds", low=IDLE_SECONDS[0], high=IDLE_SECONDS[1]),
        watched=watched,
        recording_key=recording_key,
        windows=windows,
        reason=fields.text("reason", most=500, least=1),
        time_zone=fields.text("time_zone", most=MAX_ZONE_CHARACTERS, least=1),
        issued_at_ms=issued_at_ms,
        people=people,
        hash=envelope.hash,
        raw=data,
    )


def _read_fields(payload: JsonObject) -> Fields:
    return Fields(
        payload,
        "the standing document",
        {
            "devices", "epoch", "idle_seconds", "issued_at", "owner", "reason", "recording_key",
            "requesters", "scopes", "seconds", "series", "time_zone", "type", "watched",
            "windows",
        },
    )  # fmt: skip


def _read_sorted(fields: Fields, name: str, most: int) -> tuple[str, ...]:
    """Return 1 to `most` key ids in their one order."""
    values = tuple(require_key_id(each, name) for each in fields.texts(name, most=most))
    if not values or list(values) != sorted(values):
        raise Malformed(f"Expected 1 to {most} sorted {name}.", reason="bad_field")
    return values


def _read_windows(values: list[Json], issued_at_ms: int) -> tuple[Window, ...]:
    windows: list[Window] = []
    for value in values:
        fields = Fields(value, "a window", {"not_after", "not_before"})
        window = Window(fields.integer("not_before"), fields.integer("not_after"))
        if not 0 < window.not_after_ms - window.not_before_ms <= MAX_WINDOW_MS:
            raise Malformed("Expected a window of up to a day.", reason="bad_window")
        if windows and window.not_before_ms < windows[-1].not_after_ms:
            raise Malformed("Expected windows in their order, and apart.", reason="bad_window")
        windows.append(window)
    if not windows or windows[0].not_after_ms <= issued_at_ms:
        raise Malformed("Expected windows that are ahead.", reason="bad_window")
    if windows[-1].not_after_ms - issued_at_ms > MAX_AHEAD_MS:
        raise Malformed("Expected windows within 400 days.", reason="bad_window")
    return tuple(windows)
