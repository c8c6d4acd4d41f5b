"""What guard does for each verb of uplink. Every reply of the server is parsed here, in guard."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from fleetward.device.identity.certificate import (
    read_certificate_reply,
    verify_issued,
    verify_server_ca,
)
from fleetward.device.identity.join import keep_certificate
from fleetward.device.port import (
    GetAccess,
    GetBatch,
    GetBeat,
    GetChunk,
    GetDocumentsRequest,
    GetKit,
    GetProofRequest,
    GetRecording,
    GetUpdate,
    Greet,
    Hint,
    Kit,
    Note,
    Reply,
    Request,
    TakeAccessReply,
    TakeCertificate,
    TakeChannel,
    TakeChunkReply,
    TakeDocuments,
    TakeGreeting,
    TakeProof,
    TakePushed,
    TakeReceipt,
    TakeRecordingReply,
    TakeServerCa,
    TakeUpdateAnswer,
    Vouch,
)
from fleetward.device.verbs_access import AccessVerbs
from fleetward.device.verbs_updates import UpdateVerbs
from fleetward.device.version import AGENT_VERSION
from fleetward.runtime.x509 import SpiffeId
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed, Misuse, Refused, Untrusted
from fleetward.trust.keys import ES256, read_public_key
from fleetward.trust.statements import (
    NONCE_BYTES,
    Hello,
    make_hello_payload,
    make_renewal_payload,
)
from fleetward.wire.audit import Beat, BlobReply, ProofReply, Receipt
from fleetward.wire.identity import HelloReply, NonceReply, Refusal, RenewRequest
from fleetward.wire.orders import Documents, DocumentsRequest
from fleetward.wire.unsigned import decode_reply

if TYPE_CHECKING:
    from fleetward.device.guard_core import GuardCore

MAX_SERVER_WORDS: Final = 300
_T = TypeVar("_T")


class Verbs:
    """Answers uplink, one verb a method."""

    def __init__(self, core: GuardCore) -> None:
        self._core = core
        self._vouched = ""
        access = AccessVerbs(core, self._parse, self._note_refusal)
        updates = UpdateVerbs(core, self._parse, self._note_refusal)
        self._table: dict[type[Any], Callable[[bytes], Reply]] = {
            GetKit: self._get_kit,
            Vouch: self._vouch,
            TakeServerCa: self._take_server_ca,
            TakeCertificate: self._take_certificate,
            Greet: self._greet,
            TakeGreeting: self._take_greeting,
            GetBatch: self._get_batch,
            TakeReceipt: self._take_receipt,
            GetProofRequest: self._get_proof_request,
            TakeProof: self._take_proof,
            GetChunk: self._get_chunk,
            TakeChunkReply: self._take_chunk_reply,
            GetDocumentsRequest: self._get_documents_request,
            TakeDocuments: self._take_documents,
            TakePushed: self._take_pushed,
            GetBeat: self._get_beat,
            GetAccess: access.get_access,
            TakeAccessReply: access.take_access_reply,
            GetRecording: access.get_recording,
            TakeRecordingReply: access.take_recording_reply,
            GetUpdate: updates.get_update,
            TakeUpdateAnswer: updates.take_update_answer,
            TakeChannel: access.take_channel,
        }

    def handle(self, request: Request, body: bytes) -> Reply:
        """Answer one request. Raises the families of `trust.errors`."""
        if isinstance(request, Note):
            return self._note(request)
        return self._table[type(request)](body)

    # --- connecting

    def _get_kit(self, body: bytes) -> Reply:
        del body
        core = self._core
        kit = Kit(
            joined=True,
            device=core.joined.device,
            enrol=core.joined.enrol,
            bus=core.joined.bus,
            server_ca_sha256=core.view.policy.roots.server_ca,
            server_ca_pem=core.files.read_server_ca(),
            certificate_pem=core.files.read_certificate(),
            certificate_key=core.state.vouched,
            renew=core.renew_due,
            once=core.seat.once,
            origins=core.view.policy.roots.download_origins,
        )
        return Reply(msgspec.json.encode(kit))

    def _vouch(self, body: bytes) -> Reply:
        core = self._core
        transport = read_public_key(ES256, body)
        # The counter is on the disk before anybody can see a statement with it.
        core.state.lineage += 1
        core.save()
        self._vouched = transport.key_id
        statement = seal(
            make_renewal_payload(
                core.joined.device, core.joined.owner, transport, core.state.lineage
            ),
            [core.signer],
        )
        return Reply(msgspec.json.encode(RenewRequest(statement=to_base64url(statement))))

    def _take_server_ca(self, body: bytes) -> Reply:
        try:
            pem = verify_server_ca(body, self._core.view.policy.roots.server_ca)
        except (Malformed, Untrusted) as e:
            self._core.refusals.refuse("server_ca", e.reason, f"{e.message} The old one is kept.")
            raise
        self._core.files.write_server_ca(pem)
        return Reply()

    def _take_certificate(self, body: bytes) -> Reply:
        core = self._core
        if not self._vouched:
            raise Misuse("A certificate came before it was asked for.", reason="not_asked")
        try:
            reply = read_certificate_reply(body)
            # First the documents: after a handover they name the CA that the chain leads to.
            admitted, refused = self._admit_with(reply.bundle)
            issued = verify_issued(
                reply.certificate,
                self._vouched,
                SpiffeId(core.joined.owner, core.joined.device),
                core.view.policy.roots.fleet_ca,
            )
        except (Malformed, Untrusted) as e:
            core.refusals.refuse("certificate", e.reason, f"{e.message} The old one is kept.")
            raise
        core.diary.order(
            "transport.renewed",
            {
                "lineage": core.state.lineage,
                "not_after": issued.not_after_ms,
                "words": "A new certificate for the connection was taken.",
            },
        )
        core.files.write_certificate(issued.pem)
        core.state.vouched, self._vouched = issued.key_id, ""
        core.state.certificate = keep_certificate(issued, core.time)
        core.save()
        if refused is not None:
            raise refused
        return admitted

    def _admit_with(self, bundle: str) -> tuple[Reply, FleetwardError | None]:
        """Take the documents that came with a certificate; what refused them comes back."""
        try:
            return self._admit(Documents(bundle=bundle)), None
        except FleetwardError as e:
            return Reply(), e

    def _greet(self, body: bytes) -> Reply:
        core = self._core
        nonce = self._expect(body, NonceReply, "nonce")
        value = self._read_nonce(nonce.nonce)
        view = core.view
        hello = Hello(
            device=core.joined.device,
            owner=core.joined.owner,
            nonce=value,
            boot=core.seat.boot,
            agent=AGENT_VERSION,
            wall=core.seat.wall,
            sequence=core.journal.tip.sequence,
            journal_head=core.journal.tip.head.hex(),
            policy_version=view.policy.version,
            roster_version=view.roster.version if view.roster else 0,
            head_version=view.head.version if view.head else 0,
            lease_seconds_left=core.lease_seconds_left,
        )
        core.journal.sync()
        return Reply(seal(make_hello_payload(hello), [core.signer]))

    def _read_nonce(self, text: str) -> bytes:
        try:
            value = from_base64url(text)
            if len(value) != NONCE_BYTES:
                raise Malformed("Expected a nonce of 32 bytes.", reason="bad_nonce")
        except Malformed as e:
            self._core.refusals.refuse("nonce", e.reason, f"{e.message} It was not signed.")
            raise
        return value

    def _take_greeting(self, body: bytes) -> Reply:
        hello = self._expect(body, HelloReply, "greeting")
        self._core.server_says = _clean(hello.state)
        self._core.outbox.start_session(hello.stored)
        self._core.set_connection("connected")
        return Reply()

    def _note(self, note: Note) -> Reply:
        if note.event != "connected":
            self._core.set_connection(note.event, _clean(note.words))
        return Reply()

    # --- evidence

    def _get_batch(self, body: bytes) -> Reply:
        del body
        return Reply(self._core.outbox.next_batch())

    def _take_receipt(self, body: bytes) -> Reply:
        outbox = self._core.outbox
        answer = self._parse(body, "receipt")
        if isinstance(answer, Receipt):
            strange = self._core.blobs.want(outbox.take_receipt(answer))
            if strange:
                words = "The server asked for an inventory that is not of this machine."
                self._core.refusals.refuse("receipt", "unknown_inventory", words)
            self._core.server_says = self._core.server_reason = ""
            return Reply(hint="again")
        if isinstance(answer, Refusal):
            hint = outbox.take_refusal(answer)
            self._note_refusal(answer)
            return Reply(hint=_hint(hint))
        raise self._unexpected("receipt")

    def _get_proof_request(self, body: bytes) -> Reply:
        del body
        request = self._core.outbox.proof_request()
        return Reply(msgspec.json.encode(request) if request else b"")

    def _take_proof(self, body: bytes) -> Reply:
        answer = self._parse(body, "proof")
        if isinstance(answer, ProofReply):
            proven = self._core.outbox.take_proof(answer, self._core.view.policies)
            more = self._core.outbox.proof_request() is not None
            return Reply(hint="again" if proven and more else "")
        if isinstance(answer, Refusal):
            self._note_refusal(answer)
            return Reply(hint="pause")
        raise self._unexpected("proof")

    def _get_chunk(self, body: bytes) -> Reply:
        del body
        chunk = self._core.blobs.next_chunk()
        return Reply(msgspec.json.encode(chunk) if chunk else b"")

    def _take_chunk_reply(self, body: bytes) -> Reply:
        try:
            answer = self._parse(body, "inventory")
        except Malformed:
            self._core.blobs.take_refusal()
            raise
        if isinstance(answer, BlobReply):
            try:
                self._core.blobs.take_reply(answer)
            except Untrusted as e:
                self._core.blobs.take_refusal()
                self._core.refusals.refuse("inventory", e.reason, e.message)
                raise
            return Reply(hint="again")
        if isinstance(answer, Refusal):
            self._core.blobs.take_refusal()
            self._note_refusal(answer)
            return Reply(hint="pause")
        raise self._unexpected("inventory")

    def _get_beat(self, body: bytes) -> Reply:
        del body
        core = self._core
        beat = Beat(sequence=core.journal.tip.sequence, lease_seconds_left=core.lease_seconds_left)
        hint: Hint = "renew" if core.renew_due else ""
        return Reply(msgspec.json.encode(beat), hint)

    # --- what comes in

    def _get_documents_request(self, body: bytes) -> Reply:
        del body
        view = self._core.view
        request = DocumentsRequest(
            policy_version=view.policy.version,
            head_version=view.head.version if view.head else 0,
            roster_version=view.roster.version if view.roster else 0,
        )
        return Reply(msgspec.json.encode(request))

    def _take_documents(self, body: bytes) -> Reply:
        answer = self._parse(body, "documents")
        if isinstance(answer, Documents):
            return self._admit(answer)
        if isinstance(answer, Refusal):
            self._note_refusal(answer)
            return Reply(hint="pause")
        raise self._unexpected("documents")

    def _admit(self, documents: Documents) -> Reply:
        admitted = self._core.gate.admit_documents(documents)
        return Reply(hint="again" if admitted.effect == "documents" else "")

    def _take_pushed(self, body: bytes) -> Reply:
        effect = self._core.gate.admit(body).effect
        if effect == "report_now":
            self._core.looking.ask()
        if effect == "look_for_updates":
            self._core.updates.look_soon()
            return Reply(hint="again")
        if effect == "reconnect":
            return Reply(hint="reconnect")
        if effect == "channel":
            return Reply(hint="channel")
        return Reply(hint="again" if effect == "documents" else "")

    # --- parsing

    def _parse(self, body: bytes, what: str) -> object:
        try:
            return decode_reply(body)
        except Malformed as e:
            words = "An answer of the server that is none. It was dropped."
            self._core.refusals.refuse(what, e.reason, words)
            raise

    def _expect(self, body: bytes, kind: type[_T], what: str) -> _T:
        answer = self._parse(body, what)
        if isinstance(answer, kind):
            return answer
        if isinstance(answer, Refusal):
            self._note_refusal(answer)
            raise Refused(_clean(answer.message), reason="server_refused")
        raise self._unexpected(what)

    def _unexpected(self, what: str) -> FleetwardError:
        words = f"An answer of the server that does not fit the question ({what})."
        self._core.refusals.refuse(what, "unexpected_answer", words)
        return Malformed(words, reason="unexpected_answer")

    def _note_refusal(self, refusal: Refusal) -> None:
        """Keep what the server said for `status`: words to show, never an order."""
        self._core.server_says = _clean(refusal.message or refusal.reason)
        self._core.server_reason = _clean(refusal.reason)


def _hint(word: str) -> Hint:
    return "hello" if word == "hello" else "again" if word == "again" else "pause"


def _clean(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:MAX_SERVER_WORDS]
