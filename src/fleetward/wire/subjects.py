"""The subjects of the bus: who may speak where.

A machine owns one branch, `fw.<device id>.`, and one inbox, `_INBOX.<device id>.`. It speaks on
`up`, it listens on `down`, and the broker knows nothing else about it. The words of a subject are
made and read here and nowhere else.

A session has two subjects below its machine's branch, `fw.<device id>.session.<session>.in` and
`.out`. The machine listens on `in` and speaks on `out`, of all of its sessions; whoever was granted
the session does the reverse, for that one alone, on a connection of its own.

History
- 2026-11-23: first version.
- 2026-11-26: `access` and `recording`; the subjects of sessions.
- 2026-11-27: `update`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fleetward.trust.errors import Malformed, Misuse

ROOT: Final = "fw"
INTAKE_SUBJECTS: Final = "fw.*.up.*"
INTAKE_QUEUE: Final = "intake"

_DEVICE_ID: Final = re.compile(r"[a-z2-7]{32}")
_SESSION: Final = re.compile(r"[0-9a-f]{32}")
_DOWN_WORD: Final = re.compile(r"[a-z][a-z_]{0,31}")


class Up(StrEnum):
    """What a machine may say. Everything but `beat` is answered."""

    NONCE = "nonce"
    HELLO = "hello"
    BATCH = "batch"
    PROOF = "proof"
    BLOB = "blob"
    DOCUMENTS = "documents"
    ACCESS = "access"
    RECORDING = "recording"
    UPDATE = "update"
    BEAT = "beat"


@dataclass(frozen=True, slots=True)
class Allowances:
    """The whole of what one connection may publish and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def check_device_id(device_id: str) -> str:
    """Return the id unchanged, or raise `Malformed` when it is not 32 characters of base32."""
    if _DEVICE_ID.fullmatch(device_id) is None:
        raise Malformed(
            "a device id is 32 characters of a-z and 2-7; "
            f"{device_id[:64]!r} came; look at what `device list` shows",
            reason="device_id_malformed",
        )
    return device_id


def up(device_id: str, word: Up) -> str:
    """The subject on which this machine says `word`. Raises `Malformed` for a bad id."""
    return f"{ROOT}.{check_device_id(device_id)}.up.{word.value}"


def down(device_id: str, word: str) -> str:
    """The subject on which this machine is told `word`. Raises `Malformed` or `Misuse`."""
    if _DOWN_WORD.fullmatch(word) is None:
        raise Misuse(
            f"a word sent down is lower-case letters and underscores; {word!r} came",
            reason="down_word_malformed",
        )
    return f"{ROOT}.{check_device_id(device_id)}.down.{word}"


def down_all(device_id: str) -> str:
    """The pattern that a machine subscribes to. Raises `Malformed` for a bad id."""
    return f"{ROOT}.{check_device_id(device_id)}.down.>"


def session_name(grant_hash: str) -> str:
    """The session's name in subjects and certificates: the first half of its grant's hash."""
    return check_session(grant_hash[:32])


def check_session(name: str) -> str:
    """Return the name unchanged, or raise `Malformed` when it is not 32 hexadecimal digits."""
    if _SESSION.fullmatch(name) is None:
        raise Malformed(
            f"a session is named by 32 digits of 0-9 and a-f; {name[:64]!r} came",
            reason="session_malformed",
        )
    return name


def session_in(device_id: str, session: str) -> str:
    """Where the requester of a session speaks. Raises `Malformed`."""
    return f"{ROOT}.{check_device_id(device_id)}.session.{check_session(session)}.in"


def session_out(device_id: str, session: str) -> str:
    """Where the machine speaks in a session. Raises `Malformed`."""
    return f"{ROOT}.{check_device_id(device_id)}.session.{check_session(session)}.out"


def session_allowances(device_id: str, session: str) -> Allowances:
    """All that the broker lets the requester of one session do. Raises `Malformed`."""
    return Allowances(
        publish=(session_in(device_id, session),), subscribe=(session_out(device_id, session),)
    )


def inbox_prefix(device_id: str) -> str:
    """Where answers to this machine go, without the last dot. Raises `Malformed`."""
    return f"_INBOX.{check_device_id(device_id)}"


def device_allowances(device_id: str) -> Allowances:
    """All that the broker lets this machine do. Raises `Malformed` for a bad id."""
    return Allowances(
        publish=(
            f"{ROOT}.{check_device_id(device_id)}.up.*",
            f"{ROOT}.{device_id}.session.*.out",
        ),
        subscribe=(
            down_all(device_id),
            f"{ROOT}.{device_id}.session.*.in",
            f"{inbox_prefix(device_id)}.>",
        ),
    )


def parse_up(subject: str) -> tuple[str, Up]:
    """Read who speaks and which word from a subject that arrived.

    The broker has checked that the connection owns the id; this does not check it again.
    Raises `Malformed` when the subject has another shape or the word is unknown.
    """
    parts = subject.split(".")
    if len(parts) != 4 or parts[0] != ROOT or parts[2] != "up":
        raise Malformed(
            f"expected fw.<device id>.up.<word>; {subject[:128]!r} came; drop it",
            reason="subject_malformed",
        )
    try:
        word = Up(parts[3])
    except ValueError as e:
        known = ", ".join(item.value for item in Up)
        raise Malformed(
            f"expected one of {known}; {parts[3][:32]!r} came; drop it",
            reason="subject_word_unknown",
        ) from e
    return check_device_id(parts[1]), word


def check_reply(device_id: str, reply: str) -> str:
    """Return the reply subject unchanged when it is this machine's own inbox.

    The broker checks the subject of a message, never its reply subject. A machine that names the
    inbox or the `down` branch of another would have the server speak there for it.
    Raises `Malformed` when the reply leads anywhere but into this machine's inbox.
    """
    prefix = inbox_prefix(device_id) + "."
    rest = reply.removeprefix(prefix)
    if rest == reply or not rest or any(mark in rest for mark in "*> \t\r\n"):
        raise Malformed(
            f"expected a reply below {prefix}; {reply[:128]!r} came; drop the message",
            reason="reply_foreign",
        )
    return reply
