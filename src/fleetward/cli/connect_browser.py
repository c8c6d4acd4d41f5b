"""`fleetward connect … --browser`: the same request and session, with a page in the place of a
terminal. The page is served by this very computer, which holds the session's key."""

from __future__ import annotations

import threading
import time
import webbrowser
from dataclasses import dataclass

from fleetward.keyholder.access.asking import Wait
from fleetward.keyholder.access.connecting import open_session
from fleetward.keyholder.access.learning import Learned
from fleetward.keyholder.access.requester_folder import RequesterFolder
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.keyholder.access.session_run import Work, wait_receipt
from fleetward.keyholder.speak import emit, say
from fleetward.runtime.clock import SystemClock
from fleetward.trust.errors import Refused
from fleetward.trust.grants.request import verify_request
from fleetward.trust.keys import Signer


@dataclass(frozen=True, slots=True)
class Browsing:
    """What a command says of the page."""

    wanted: bool
    no_browser: bool
    port: int


def check_browsing(browsing: Browsing, work: Work) -> None:
    """Raise `Refused` for what has no place in a page."""
    if browsing.no_browser and not browsing.wanted:
        raise Refused("--no-browser belongs to --browser.", reason="no_browser_here")
    if browsing.wanted and (work.stdio or work.lists or work.gets or work.puts or work.follow):
        raise Refused(
            "--browser shows everything in a page: leave out --stdio, --list, --get, --put and "
            "--follow.",
            reason="no_browser_here",
        )


def browse(
    folder: RequesterFolder,
    near: tuple[AccessApi, Learned],
    hash_: str,
    signer: Signer,
    browsing: Browsing,
    as_json: bool,
) -> None:
    """Serve the page of a request made here until its session is over."""
    # Here, because the web framework is slow to load and no other command needs it.
    from fleetward.keyholder.technician.main import Ready, Serving, serve_visit
    from fleetward.keyholder.technician.views import Subject, tell_over
    from fleetward.keyholder.technician.visit import Doors

    api, learned = near
    kept = folder.kept(hash_)
    request = verify_request(kept.envelope, learned.judge.policy, kept.device)
    doors = Doors(
        wait=Wait(folder, api, hash_),
        opener=lambda case: open_session(api, case, signer, kept.private),
        find_receipt=lambda: wait_receipt(folder, api, learned, hash_, time.sleep),
    )

    def show(ready: Ready) -> None:
        if as_json:
            shown = {"url": ready.url, "open": ready.opened, "pid": ready.pid, "request": hash_}
            emit(shown, as_json, "")
        say(
            f"Your side of it is at:\n  {ready.opened}\nThe address holds the secret of this "
            "start: give it to nobody. Ctrl-C leaves the session."
        )
        if not browsing.no_browser:
            # Beside the program: some browsers return only when they have loaded the page.
            threading.Thread(target=_open, args=(ready.opened,), daemon=True).start()

    known = serve_visit(
        Subject.of(learned, request), doors, SystemClock(), Serving(browsing.port, show, say)
    )
    say(tell_over(known.case, known))
    if known.failed:
        raise SystemExit(1)


def _open(url: str) -> None:
    """Open a browser with windows; one inside this terminal would take it."""
    try:
        browser = webbrowser.get()
        graphic = isinstance(browser, webbrowser.BackgroundBrowser | webbrowser.UnixBrowser)
        opened = graphic and browser.open(url)
    except webbrowser.Error:
        opened = False
    if not opened:
        say("No browser could be opened here: open the address in one on this computer.")
