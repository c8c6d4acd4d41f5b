"""What uplink may ask guard: a closed list of verbs, and how they travel.

A frame is four bytes of length (big endian), one line of JSON, and raw bytes. The line is one of
the requests below, or an `Answer`. Guard answers every request, in order; besides it sends
`Wake` frames, which only say that it is worth asking again. Uplink carries the server's bytes and
understands none of them: guard parses, verifies and decides.
"""

from __future__ import annotations

import struct
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from fleetward.trust.errors import (
    FleetwardError,
    Malformed,
    Misuse,
    Refused,
    Unreachable,
    Untrusted,
)

MAX_LINE_BYTES: Final = 8 * 1024
MAX_BODY_BYTES: Final = 1024 * 1024 + 64 * 1024
"""The broker's largest message, and a reply to an enrolment."""
MAX_FRAME_BYTES: Final = MAX_LINE_BYTES + MAX_BODY_BYTES
LENGTH: Final = struct.Struct(">I")


class _Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb"):
    """Common settings of the frames' first lines."""


class GetKit(_Word, frozen=True, tag="kit"):
    """What to connect with: addresses, the server's CA, the certificate. Answer body: `Kit`.

    `release` names the code of the agent that uplink is; guard wants its own.
    """

    release: str = ""


class Vouch(_Word, frozen=True, tag="vouch"):
    """Have a fresh transport key vouched for; body: its SubjectPublicKeyInfo.

    Answer body: the signed statement (of joining, or of renewal) in the request to post.
    """


class TakeServerCa(_Word, frozen=True, tag="server_ca"):
    """Body: the server's CA certificate in DER, as the server sent it."""


class TakeCertificate(_Word, frozen=True, tag="certificate"):
    """Body: the reply to joining or renewing."""


class Greet(_Word, frozen=True, tag="greet"):
    """Body: the reply with the nonce. Answer body: the signed greeting."""


class TakeGreeting(_Word, frozen=True, tag="greeted"):
    """Body: the reply to the greeting."""


class GetBatch(_Word, frozen=True, tag="batch"):
    """Answer body: the next batch, or nothing."""


class TakeReceipt(_Word, frozen=True, tag="receipt"):
    """Body: the reply to the batch."""


class GetProofRequest(_Word, frozen=True, tag="proof"):
    """Answer body: the question to the ledger, or nothing."""


class TakeProof(_Word, frozen=True, tag="proved"):
    """Body: the reply of the ledger."""


class GetChunk(_Word, frozen=True, tag="chunk"):
    """Answer body: the next piece of an inventory that the server wants, or nothing."""


class TakeChunkReply(_Word, frozen=True, tag="chunked"):
    """Body: the reply to the piece."""


class GetDocumentsRequest(_Word, frozen=True, tag="documents"):
    """Answer body: the question for owner documents."""


class TakeDocuments(_Word, frozen=True, tag="documented"):
    """Body: the reply to it."""


class TakePushed(_Word, frozen=True, tag="pushed"):
    """Body: whatever the server sent by itself."""


class GetBeat(_Word, frozen=True, tag="beat"):
    """Answer body: the heartbeat."""


class GetAccess(_Word, frozen=True, tag="access"):
    """Answer body: the next offer, denial or receipt for the server, or nothing."""


class TakeAccessReply(_Word, frozen=True, tag="accessed"):
    """Body: the reply to it."""


class GetRecording(_Word, frozen=True, tag="recording"):
    """Answer body: the next piece of a sealed recording, or nothing."""


class TakeRecordingReply(_Word, frozen=True, tag="recorded"):
    """Body: the reply to the piece."""


class GetUpdate(_Word, frozen=True, tag="update"):
    """Answer body: the next question about releases, or nothing."""


class TakeUpdateAnswer(_Word, frozen=True, tag="updated"):
    """Body: the reply to it."""


class TakeChannel(_Word, frozen=True, tag="channel"):
    """Answer body: the name of a session that was opened, or nothing. With it comes a descriptor:
    the socket between the bus and that session's process."""


class Note(_Word, frozen=True, tag="note"):
    """How the connection stands, for `status`. The words are shown, never acted upon."""

    event: Literal["connected", "disconnected", "refused"]
    words: str = ""


Request: TypeAlias = (
    GetKit
    | Vouch
    | TakeServerCa
    | TakeCertificate
    | Greet
    | TakeGreeting
    | GetBatch
    | TakeReceipt
    | GetProofRequest
    | TakeProof
    | GetChunk
    | TakeChunkReply
    | GetDocumentsRequest
    | TakeDocuments
    | TakePushed
    | GetBeat
    | GetAccess
    | TakeAccessReply
    | GetRecording
    | TakeRecordingReply
    | GetUpdate
    | TakeUpdateAnswer
    | TakeChannel
    | Note
)

Hint = Literal["", "again", "hello", "pause", "reconnect", "renew", "channel"]
"""What uplink does next: ask again, greet again, wait a little, connect again, renew, take the
channel of a session."""
Family = Literal["Malformed", "Untrusted", "Refused", "Unreachable", "Misuse"]
_FAMILIES: Final[dict[str, type[FleetwardError]]] = {
    kind.__name__: kind for kind in (Malformed, Untrusted, Refused, Unreachable, Misuse)
}


class Problem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error of guard, as it travels."""

    family: Family
    reason: str
    message: str

    def to_error(self) -> FleetwardError:
        """Return the error that it stands for."""
        return _FAMILIES[self.family](self.message, reason=self.reason)


class Answer(_Word, frozen=True, tag="answer"):
    """Guard's answer to one request."""

    hint: Hint = ""
    problem: Problem | None = None
    descriptor: bool = False
    """Whether a descriptor comes with the first byte of this frame."""


class Wake(_Word, frozen=True, tag="wake"):
    """Guard has something new: worth asking for batches, pieces and the kit."""


Downward: TypeAlias = Answer | Wake


class Kit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What uplink needs to reach the server, and whom else it may ask. Nothing in it is secret."""

    joined: bool
    device: str
    enrol: tuple[str, ...]
    bus: tuple[str, ...]
    server_ca_sha256: str
    server_ca_pem: str
    certificate_pem: str
    certificate_key: str
    """The key id of the transport key that the certificate is over."""
    renew: bool
    once: bool
    origins: tuple[str, ...] = ()
    """Where the owner's policy lets parts be fetched besides the server. Uplink asks nobody else
    for them, and reads these as anybody's text."""


class Reply(msgspec.Struct, frozen=True):
    """An answer with its body, in memory. Whoever gets it owns the descriptor."""

    body: bytes = b""
    hint: Hint = ""
    descriptor: int | None = None


class GuardPort(Protocol):
    """How uplink reaches guard: over a socket, or in the same process."""

    async def ask(self, request: Request, body: bytes = b"") -> Reply:
        """Return guard's answer. Raises the error that guard answered with, or `Unreachable`."""

    async def wait_wake(self) -> None:
        """Return when guard has something new."""


class Handler(Protocol):
    """What answers requests: `GuardCore`, or `Joining`."""

    def handle(self, request: Request, body: bytes) -> Reply:
        """Answer one request. Raises the families of `trust.errors`."""


_requests: Final[msgspec.json.Decoder[Request]] = msgspec.json.Decoder(Request)
_downward: Final[msgspec.json.Decoder[Downward]] = msgspec.json.Decoder(Downward)


def encode_frame(line: Request | Downward, body: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    text = msgspec.json.encode(line) + b"\n"
    return LENGTH.pack(len(text) + len(body)) + text + body


def frame_length(prefix: bytes) -> int:
    """Return the length of the frame behind its four bytes. Raises `Malformed` when too long."""
    (length,) = LENGTH.unpack(prefix)
    if not 0 < length <= MAX_FRAME_BYTES:
        raise Malformed(f"Expected a frame of at most {MAX_FRAME_BYTES} bytes.", reason="bad_frame")
    return int(length)


def split_frame(frame: bytes) -> tuple[bytes, bytes]:
    """Return the line and the body of a frame. Raises `Malformed`."""
    line, mark, body = frame.partition(b"\n")
    if not mark or len(line) > MAX_LINE_BYTES or len(body) > MAX_BODY_BYTES:
        raise Malformed("Expected a line and a body in a frame.", reason="bad_frame")
    return line, body


def decode_request(frame: bytes) -> tuple[Request, bytes]:
    """Return a request and its body. Raises `Malformed` for anything outside the closed list."""
    line, body = split_frame(frame)
    try:
        return _requests.decode(line), body
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected a verb of the list: {e}", reason="unknown_verb") from e


def decode_downward(frame: bytes) -> tuple[Downward, bytes]:
    """Return what guard sent. Raises `Malformed`."""
    line, body = split_frame(frame)
    try:
        return _downward.decode(line), body
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected an answer of guard: {e}", reason="unknown_verb") from e


def problem_of(error: FleetwardError) -> Problem:
    """Return an error as it travels."""
    name = type(error).__name__
    family: Family = "Misuse"
    for known in ("Malformed", "Untrusted", "Refused", "Unreachable"):
        if name == known:
            family = known
    return Problem(family, error.reason, error.message[:1000])
