"""Sessions behind the owner's console: what waits, what is open, and the owner's answers.

What the page shows of a request comes from its verified papers. What it signs is a grant that was
prepared here and shown with its six words: the page names it by its hash, and can name no other.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from fleetward.keyholder.access.answering import (
    Answer,
    Prepared,
    Question,
    check_lease,
    check_may_approve,
    prepare_grant,
    read_question,
    sign_grant,
    verify_own_grant,
)
from fleetward.keyholder.access.comparing import read_changes
from fleetward.keyholder.access.cosigning import make_draft
from fleetward.keyholder.access.judging import Judge
from fleetward.keyholder.access.passkeys import Yes, add_yes
from fleetward.keyholder.access.server_rows import LIVE, WAITING, AccessApi, AccessRow
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.console.access_model import AccessView, Answered, ChangesView
from fleetward.keyholder.console.access_views import (
    show_case,
    show_doubted,
    show_what_changed,
)
from fleetward.keyholder.console.callers import Caller
from fleetward.keyholder.console.ending_keeper import EndingKeeper
from fleetward.keyholder.console.known_break_ins import KnownBreakIns
from fleetward.keyholder.console.passkey_keeper import PasskeyKeeper
from fleetward.keyholder.console.phone_log import PhoneLog
from fleetward.keyholder.console.screening import Screen, open_screen
from fleetward.keyholder.console.stream import Changes
from fleetward.keyholder.desk import Desk
from fleetward.runtime.clock import Clock
from fleetward.trust.envelope import RoleKey, read_envelope, seal
from fleetward.trust.errors import FleetwardError, Misuse, Refused, Untrusted
from fleetward.trust.grants.grant import MAX_GRANT_BYTES

MAX_LOOKED_AT: Final = 100
"""Requests whose papers a page has checked; older ones are for `fleetward owner session`."""
MAX_PREPARED: Final = 32
MAX_SCREENS: Final = 4
PREPARED_FOR_MS: Final = 10 * 60_000
"""A grant that was shown this long ago is prepared anew: its times would be old."""
Reach: TypeAlias = Callable[[], ApiClient]
"""Finds the server anew each time: after a restart it has another port and another token."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A grant that a page was shown, and the signatures that it got on this page so far."""

    at_ms: int
    prepared: Prepared
    signed: bytes = b""


class AccessKeeper:
    """The state behind the pages of requests and sessions. Safe to call from any thread."""

    def __init__(
        self,
        desk: Desk,
        reach: Reach,
        changes: Changes,
        clock: Clock,
        passkeys: PasskeyKeeper,
        log: PhoneLog,
    ) -> None:
        self.passkeys: Final = passkeys
        self.known: Final = KnownBreakIns(desk.folder)
        self.ending: Final = EndingKeeper(desk, reach, changes, clock, passkeys, log)
        self._log = log
        self._desk = desk
        self._reach = reach
        self._changes = changes
        self._clock = clock
        self._acting = threading.Lock()
        self._seen: list[tuple[str, str]] = []
        self._settled: dict[str, AccessView] = {}
        self._prepared: OrderedDict[str, Shown] = OrderedDict()
        self._screens: OrderedDict[str, Screen] = OrderedDict()

    def look(self, client: ApiClient) -> None:
        """Tell the pages when the server has other requests or states. Raises `Unreachable`.

        A server that refuses the list is told to who opens the page; the other pages go on.
        """
        try:
            seen = [(row.id, row.state) for row in AccessApi(client).rows()]
        except Refused:
            seen = []
        if seen != self._seen:
            self._seen = seen
            self._changes.tell("access")

    def views(self, caller: Caller) -> tuple[list[AccessView], int]:
        """Return what the server has, judged here, and how many older ones were left out."""
        api, judge = self._api(), self._judge()
        rows = api.rows()
        shown = [self._view(api, judge, row, caller) for row in rows[:MAX_LOOKED_AT]]
        shown = [self.known.mark(view) for view in shown]
        return shown, max(len(rows) - MAX_LOOKED_AT, 0)

    def view(self, id_: str, caller: Caller) -> AccessView:
        """Return one request, judged anew. Raises as the API does."""
        api = self._api()
        return self.known.mark(self._view(api, self._judge(), api.papers(id_), caller))

    def acknowledge(self, id_: str) -> Answered:
        """Somebody knows of this BREAK-GLASS: no banner tells of it any more on this computer."""
        with self._acting:
            self.known.add(id_)
        self._changes.tell("access")
        return Answered(id=id_, session="", words="You know of it. It stays in the record.")

    def prepare(self, id_: str, answer: Answer, caller: Caller) -> Prepared:
        """Return the grant that an answer means, and keep it until it is signed.

        Where somebody has signed that very grant already, on this page or on another phone, it is
        his: who signs too is shown the same six words.
        """
        now_ms = self._clock.wall_ms()
        documents = self._desk.documents()
        check_lease(documents, now_ms)
        question = read_question(self._judge(), self._api().papers(id_), now_ms)
        self._check_somebody_may(question, caller)
        prepared = prepare_grant(question, answer, now_ms)
        with self._acting:
            if begun := self._find_begun(prepared, answer, now_ms):
                return begun
            self._prepared[prepared.hash] = Shown(now_ms, prepared)
            while len(self._prepared) > MAX_PREPARED:
                self._prepared.popitem(last=False)
        return prepared

    def approve(self, grant: str, caller: Caller, yes: Yes | None = None) -> Answered:
        """Sign a grant that was shown, and hand it over. Raises `Refused` for any other.

        With a passkey's `yes` it is the signature; without, the approver's key signs, but for
        nobody who comes by a phone.
        """
        with self._acting:
            shown = self._prepared.get(grant)
            if shown is None or self._clock.wall_ms() - shown.at_ms > PREPARED_FOR_MS:
                raise Refused(
                    "This was shown too long ago. Look at it again.", reason="not_prepared"
                )
            prepared = shown.prepared
            raw = self._sign(shown, caller, yes)
            request = prepared.question.request
            self._log.note(
                caller, "said yes", person=_last_person(raw, prepared), request=request.hash,
                machine=prepared.question.entry.name, grant=grant,
            )  # fmt: skip
            try:
                verify_own_grant(raw, prepared)
            except Untrusted as e:
                if e.reason != "too_few_signatures":
                    raise
                self._prepared[grant] = Shown(shown.at_ms, prepared, raw)
                raise self._keep_draft(prepared, raw, caller) from e
            self._api().hand(request.hash, "grant", raw)
            self._prepared.pop(grant, None)
        self._changes.tell("access")
        return Answered(
            id=request.hash,
            session=prepared.hash,
            words=_say_granted(prepared),
            watched=prepared.terms.watched,
        )

    def _find_begun(self, wanted: Prepared, answer: Answer, now_ms: int) -> Prepared | None:
        """Return a grant of this request that others have signed, where it is what is wanted."""
        for shown in reversed(self._prepared.values()):
            begun = shown.prepared
            if (
                shown.signed
                and now_ms - shown.at_ms < PREPARED_FOR_MS
                and _same_question(begun.question, wanted.question)
                and (answer == Answer() or _same_terms(begun, wanted))
            ):
                return begun
        return None

    def _sign(self, shown: Shown, caller: Caller, yes: Yes | None) -> bytes:
        """Return the grant as it was shown, with one more signature."""
        prepared = shown.prepared
        if yes is None:
            if not caller.has_keys:
                raise Misuse("A phone asked for the key of the folder.", reason="not_by_phone")
            return sign_grant(prepared, [self._desk.signer("approver")], shown.signed)
        # The envelope is made of what was shown, whatever the page says meanwhile.
        raw = shown.signed or seal(prepared.payload, [])
        envelope = read_envelope(raw, max_bytes=MAX_GRANT_BYTES)
        return add_yes(envelope, yes, self.passkeys_for(prepared.question, caller))

    def passkeys_for(self, question: Question, caller: Caller) -> dict[str, RoleKey]:
        """Return the passkeys that may answer at the caller's place."""
        request = question.request
        return self.passkeys.approvers(
            question.policy, caller, request.person, break_glass=request.break_glass
        )

    def own_key_may(self, question: Question, caller: Caller) -> bool:
        """Say whether the approver's key of this folder may answer."""
        try:
            check_may_approve(question, self._desk.signer("approver").public.key_id)
        except Refused:
            return False
        return caller.has_keys

    def said_yes(self, grant: str) -> list[str]:
        """Return who has signed a grant that was shown."""
        with self._acting:
            shown = self._prepared.get(grant)
        if shown is None or not shown.signed:
            return []
        keys = shown.prepared.question.policy.keys
        signed = read_envelope(shown.signed, max_bytes=MAX_GRANT_BYTES).signatures
        return [keys[each.key_id].person for each in signed if each.key_id in keys]

    def _check_somebody_may(self, question: Question, caller: Caller) -> None:
        """Raise `Refused` when neither this folder's key nor a passkey here may answer."""
        if self.passkeys_for(question, caller):
            return
        if not caller.has_keys:
            raise Refused(
                "The policy names no passkey that may say yes to this at this address. Make one "
                "on the page This phone.",
                reason="no_passkey_here",
            )
        check_may_approve(question, self._desk.signer("approver").public.key_id)

    def changes(self, id_: str) -> ChangesView:
        """Return what changed during a session, checked here. Raises as `read_case` does."""
        api = self._api()
        return show_what_changed(read_changes(api, self._judge().read_case(api.papers(id_))))

    def screen(self, id_: str) -> Screen:
        """Return the screen of a request's session, opened once. Raises as `read_case` does."""
        with self._acting:
            if id_ not in self._screens:
                api = self._api()
                case = self._judge().read_case(api.papers(id_))
                self._screens[id_] = open_screen(self._desk, case, self._reach, self._clock)
                while len(self._screens) > MAX_SCREENS:
                    self._screens.popitem(last=False)
            self._screens.move_to_end(id_)
            return self._screens[id_]

    def _view(self, api: AccessApi, judge: Judge, row: AccessRow, caller: Caller) -> AccessView:
        if row.id in self._settled and row.state == self._settled[row.id].state:
            return self._settled[row.id]
        try:
            papers = api.papers(row.id)
            case = judge.read_case(papers)
            question: Question | FleetwardError | None = None
            if papers.state in WAITING:
                question = self._ask(judge, papers.id, api, caller)
            view = show_case(case, papers, question)
        except FleetwardError as e:
            return show_doubted(row, e)
        if row.state not in (*WAITING, *LIVE) and (view.ended_at or row.state != "ended"):
            self._settled[row.id] = view
        return view

    def _ask(
        self, judge: Judge, id_: str, api: AccessApi, caller: Caller
    ) -> Question | FleetwardError:
        """Return what can be answered, or why nothing can by this folder."""
        try:
            question = read_question(judge, api.papers(id_), self._clock.wall_ms())
            self._check_somebody_may(question, caller)
        except FleetwardError as e:
            return e
        return question

    def _keep_draft(self, prepared: Prepared, raw: bytes, caller: Caller) -> Refused:
        documents = self._desk.documents()
        name = f"drafts/grant-{prepared.question.request.hash[:16]}.json"
        self._desk.folder.keep_draft(name, make_draft(documents, prepared.question, raw))
        if not caller.has_keys:
            return Refused(
                f"You signed; it takes {prepared.question.people} people. Somebody else says yes "
                "on his own phone now, or here with his own passkey.",
                reason="more_signatures_needed",
            )
        return Refused(
            f"You signed; it takes {prepared.question.people} people. Who else has a passkey can "
            "use it here now. The draft is in "
            f"{self._desk.folder.path / name}: let others run `fleetward owner cosign FILE --root "
            f"{documents.owner} --key KEY`, then run `fleetward owner approve "
            f"{prepared.question.request.hash[:16]} --draft FILE`.",
            reason="more_signatures_needed",
        )

    def _api(self) -> AccessApi:
        return AccessApi(self._reach())

    def _judge(self) -> Judge:
        documents = self._desk.documents()
        return Judge(documents.policies, documents.entries)


def _say_granted(prepared: Prepared) -> str:
    name = prepared.question.entry.name
    if prepared.question.request.break_glass:
        return f"BREAK-GLASS granted. It opens when somebody presses at {name}."
    return f"Granted. It opens when {name} has it."


def _same_question(one: Question, other: Question) -> bool:
    """Say whether two questions were made of the same papers, under the same policy."""
    hashes = ((q.request.hash, q.offer.hash, q.policy.hash) for q in (one, other))
    return next(hashes) == next(hashes)


def _same_terms(one: Prepared, other: Prepared) -> bool:
    """Say whether two grants of a request give the same; their times differ by when they were
    prepared."""
    a, b = one.terms, other.terms
    return (a.scopes, a.seconds, a.watched, a.idle_seconds) == (
        b.scopes, b.seconds, b.watched, b.idle_seconds,
    )  # fmt: skip


def _last_person(raw: bytes, prepared: Prepared) -> str:
    last = read_envelope(raw, max_bytes=MAX_GRANT_BYTES).signatures[-1].key_id
    holder = prepared.question.policy.keys.get(last)
    return holder.person if holder else ""
