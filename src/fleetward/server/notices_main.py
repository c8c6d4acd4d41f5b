"""Reads `notices.toml`, and sends everybody in it a trial message when asked to.

    python -m fleetward.server.notices_main --data DIR [--send]

Prints one JSON document; no address is in it. Exit 1 when the file is wrong or somebody could not
be told.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from fleetward.server.access.notice_plan import Plan
from fleetward.server.access.notice_send import Sender, can_send, send_by_apprise
from fleetward.server.access.notifying import load_plan
from fleetward.server.settings import Places
from fleetward.trust.errors import FleetwardError

TITLE = "A trial"
BODY = (
    "This is a trial of Fleetward's notices. You will be told here when somebody asks to enter a "
    "machine. A notice allows nothing; nothing opens without your key."
)


def main(argv: list[str] | None = None) -> int:
    """Read, perhaps send, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--send", action="store_true")
    arguments = parser.parse_args(argv)
    try:
        plan = load_plan(Places(arguments.data).notices)
    except FleetwardError as e:
        sys.stderr.write(f"{e.message} [{e.reason}]\n")
        return 1
    shown = describe(plan, send_by_apprise if arguments.send else None)
    sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
    return 0 if all(r["good"] for step in shown["steps"] for r in step["to"]) else 1


def describe(plan: Plan, send: Sender | None) -> dict[str, Any]:
    """Return the plan without its addresses, and for each recipient whether he can be told."""
    return {
        "link": plan.link,
        "sent": send is not None,
        "steps": [
            {
                "after_seconds": step.after_seconds,
                "to": [
                    {
                        "name": r.name,
                        "channel": r.channel,
                        "good": send(r, TITLE, BODY) if send else can_send(r),
                    }
                    for r in step.to
                ],
            }
            for step in plan.steps
        ],
    }


if __name__ == "__main__":
    raise SystemExit(main())
