"""Asking: a technician's wish, checked by the owner's rules, signed, and handed to the server.

What the machine would refuse is told here, before anybody is bothered with it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from fleetward.keyholder.access.judging import Case, require_active
from fleetward.keyholder.access.learning import Learned
from fleetward.keyholder.access.requester_folder import RequesterFolder, keep_request
from fleetward.keyholder.access.runbooks import judge_papers, require_runbooks
from fleetward.keyholder.access.server_rows import AccessApi, AccessPapers, PaperRunbook
from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.runtime.channel import make_session_key
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Refused, Unreachable, Untrusted
from fleetward.trust.grants.request import (
    NONCE_BYTES,
    Request,
    Wish,
    check_time,
    make_request_payload,
    verify_request,
)
from fleetward.trust.keys import Signer

NOTICE: Final = "notice"
LOOK_SECONDS: Final = 0.5
TELL_SECONDS: Final = 5.0


def make_request(
    learned: Learned, wish: Wish, signer: Signer, now_ms: int
) -> tuple[Request, bytes]:
    """Return a signed request and its session key. Raises `Refused` for what the rules forbid."""
    entry = learned.judge.entries[wish.device]
    require_active(entry)
    policy = learned.judge.policy
    if signer.public.key_id in policy.access.requesters:
        wish = replace(wish, delegation=b"")
    elif not wish.delegation:
        raise Refused(
            f"{learned.name} does not let this key ask ({signer.public.key_id}). The owner names "
            "it by the line that `fleetward requester show` prints; or somebody who may delegate "
            "to you does so by `fleetward requester delegate`, and you `accept` it.",
            reason="unknown_requester",
        )
    private, public = make_session_key()
    keys = (public, secrets.token_bytes(NONCE_BYTES))
    payload = make_request_payload(policy, wish, signer.public.key_id, keys, now_ms)
    request = verify_request(seal(payload, [signer]), policy, wish.device)
    check_time(request, now_ms, wish.seconds)
    return request, private


def ask(
    folder: RequesterFolder,
    api: AccessApi,
    learned: Learned,
    wish: Wish,
    key: tuple[Signer, int],
    runbooks: Sequence[bytes] = (),
) -> Request:
    """Make, keep and hand over a request, signed by `key` at a time in Unix milliseconds.

    The session key is on the disk before anybody is asked. `runbooks` are the documents that its
    scopes name.
    """
    signer, now_ms = key
    wish = replace(wish, delegation=folder.delegation())
    request, private = make_request(learned, wish, signer, now_ms)
    papers = [PaperRunbook(envelope=to_base64url(each)) for each in runbooks]
    require_runbooks(judge_papers(papers, learned.judge.policy, wish.scopes), wish.scopes)
    keep_request(folder, (request.hash, request.raw), private, request.device, now_ms)
    try:
        api.ask(request.raw, runbooks)
    except Refused:
        folder.forget(request.hash)
        raise
    return request


def read_own_case(folder: RequesterFolder, learned: Learned, papers: AccessPapers) -> Case:
    """Return what became of a request made here. Raises `Untrusted` when it is shown as another.

    The request that counts is the one in the folder, whatever the server shows.
    """
    kept = folder.kept(papers.id)
    case = learned.judge.read_case(papers)
    if case.request.raw != kept.envelope:
        raise Untrusted(
            "The server shows another request than was made here.", reason="another_request"
        )
    return case


class Wait:
    """Waits for the owner's yes to one request, telling what is waited for and since when."""

    def __init__(self, folder: RequesterFolder, api: AccessApi, hash_: str) -> None:
        self._folder = folder
        self._api = api
        self._hash = hash_
        self._learned: Learned | None = None
        self._papers: AccessPapers | None = None
        self._said: set[str] = set()

    def look(self) -> tuple[Case, bool]:
        """Return what became of the request, and whether the owner said yes.

        Raises `Refused` when he or the machine said no; the session key is forgotten then.
        """
        papers = self._papers = self._api.papers(self._hash)
        try:
            case = read_own_case(self._folder, self._learn(again=False), papers)
        except Untrusted:  # the owner may have signed a policy since
            case = read_own_case(self._folder, self._learn(again=True), papers)
        check_not_over(self._folder, case, papers.state)
        return case, case.grant is not None

    def until_granted(
        self, tell: Callable[[str], None], still: Callable[[float], None] = time.sleep
    ) -> Case:
        """Return once the owner has said yes. A server that is away is waited out."""
        began = told = time.monotonic()
        while True:
            try:
                case, granted = self.look()
                if granted:
                    return case
                waits_for = _say_waiting(case)
                for words in self._list_news():
                    tell(words)
            except Unreachable as e:
                waits_for = f"the server ({e.reason})"
            now = time.monotonic()
            if now - told >= TELL_SECONDS:
                told = now
                tell(f"Waiting for {waits_for}, for {int(now - began)} s.")
            still(LOOK_SECONDS)

    def _list_news(self) -> list[str]:
        """Return what the server says since the last time of who was told, and who is next."""
        papers = self._papers
        if papers is None:
            return []
        news = [one_line(s.words) for s in papers.steps if s.kind == NOTICE]
        if papers.next_notice is not None:
            names = ", ".join(one_line(name) for name in papers.next_notice.names)
            news.append(f"If nobody answers: {names} at {say_local(papers.next_notice.at)}.")
        fresh = [words for words in news if words not in self._said]
        self._said.update(fresh)
        return fresh

    def until_pressed(
        self, tell: Callable[[str], None], still: Callable[[float], None] = time.sleep
    ) -> Case:
        """Return once the machine says that a BREAK-GLASS session is open.

        Raises as `look` does: the machine says no when nobody pressed in time.
        """
        told = 0.0
        while True:
            try:
                papers = self._api.papers(self._hash)
                case = read_own_case(self._folder, self._learn(again=False), papers)
                check_not_over(self._folder, case, papers.state)
                if papers.state == "open":
                    return case
                words = case.grant.words if case.grant else ""
                waits_for = (
                    f"BREAK-GLASS: somebody has to press at the machine {case.entry.name}, where "
                    f"these six words are shown: {words}"
                )
            except Unreachable as e:
                waits_for = f"Waiting for the server ({e.reason})."
            now = time.monotonic()
            if now - told >= 2 * TELL_SECONDS or told == 0.0:
                told = now
                tell(waits_for)
            still(LOOK_SECONDS)

    def _learn(self, *, again: bool) -> Learned:
        if self._learned is None or again:
            self._learned = self._folder.learn(self._api.client)
        return self._learned


def check_not_over(folder: RequesterFolder, case: Case, state: str) -> None:
    """Raise `Refused` when nothing will come of a request any more, and forget its key."""
    if case.receipt is not None:
        folder.forget(case.request.hash)
        raise Refused(
            f"The session has ended ({case.receipt.ended_by}). Ask again.", reason="session_ended"
        )
    if case.denial is not None and state == "denied":
        folder.forget(case.request.hash)
        raise Refused(
            f"{case.entry.name} refused: {case.denial.words}", reason=case.denial.rule[:64]
        )
    if state == "stopped":
        folder.forget(case.request.hash)
        raise Refused("The owner said no, or it was taken back.", reason="stopped")


def say_local(at: str) -> str:
    """Return an instant of the server as a time of this computer's zone, or as it came."""
    try:
        return datetime.fromisoformat(at).astimezone().strftime("%H:%M on %d %B (%Z)")
    except ValueError:
        return one_line(at)


def _say_waiting(case: Case) -> str:
    if case.offer is None:
        return f"{case.entry.name} to answer"
    if case.request.break_glass:
        return f"the yes of two who stand in for the owner ({case.entry.name} is ready)"
    return f"the owner's yes ({case.entry.name} is ready)"
