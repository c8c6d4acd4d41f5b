"""Vectors of receipts, and of the comparisons that they name."""

from __future__ import annotations

from typing import Any

from tests.trust_world import NOW_MS, alter, resign
from tests.vectors.making import Vectors, public, seeded_key

from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.envelope import seal
from fleetward.trust.grants.report import Receipt, make_receipt_payload
from fleetward.trust.keys import ES256, Signer
from fleetward.wire.comparison import (
    Comparison,
    Difference,
    Finding,
    Left,
    digest_comparison,
    encode_comparison,
)

OWNER = "0f" * 32
SESSION = "ab" * 32


def receipt_vectors() -> Vectors:
    v = Vectors("receipts", "What a machine says of a session that has ended, and what changed.")
    machine, thief = seeded_key(ES256, "machine"), seeded_key(ES256, "thief")
    document = make_document(machine)
    digest = digest_comparison(document)
    plain = make_receipt(machine)
    compared = make_receipt(machine, changes=digest, findings=1)
    silent = make_receipt(machine, not_compared="no_after")

    def given(raw: bytes) -> dict[str, Any]:
        return {"owner": OWNER, "device": public(machine.public), "receipt": b64(raw)}

    check = "receipt"
    v.good("of a build that does not compare", check, **given(plain))
    v.good("with a comparison", check, **given(compared))
    v.good("that says why there is none", check, **given(silent))
    for name, raw, change in (
        ("findings without a comparison", plain, {"findings": 1}),
        ("a comparison without findings", plain, {"changes": digest}),
        ("both", compared, {"not_compared": "failed"}),
        ("a reason that is none", silent, {"not_compared": "lazy"}),
        ("a digest that is none", compared, {"changes": "AB" * 32}),
        ("findings below zero", compared, {"findings": -1}),
    ):
        v.bad(name, check, "Malformed/bad_field", **given(resign(raw, change, [machine])))
    strange = resign(plain, {"changed": digest}, [machine])
    v.bad("a field of nobody", check, "Malformed/unknown_field", **given(strange))
    altered = alter(compared, {"findings": 0})
    v.bad("findings that somebody altered", check, "Untrusted/bad_signature", **given(altered))
    stolen = resign(compared, {"findings": 0}, [thief])
    v.bad("signed by somebody else", check, "Untrusted/wrong_signer", **given(stolen))
    _documents(v, machine, document)
    return v


def make_receipt(machine: Signer, **changes: Any) -> bytes:
    """Return the receipt of one session."""
    values: dict[str, Any] = {
        "device": machine.public.key_id, "owner": OWNER, "session": SESSION,
        "opened_at_ms": NOW_MS, "ended_at_ms": NOW_MS + 60_000, "ended_by": "closed",
        "ended_who": "tom", "bytes_in": 10, "bytes_out": 2000, "records": 3,
        "recording_head": "cd" * 32, "hash": "", "raw": b"",
    }  # fmt: skip
    return seal(make_receipt_payload(Receipt(**(values | changes))), [machine])


def make_document(machine: Signer) -> bytes:
    """Return what changed in that session."""
    return encode_comparison(
        Comparison(
            type="fleetward.comparison.v1",
            device=machine.public.key_id,
            session=SESSION,
            before_at=NOW_MS - 5000,
            opened_at=NOW_MS,
            ended_at=NOW_MS + 60_000,
            after_at=NOW_MS + 60_100,
            findings=(
                Finding("new_user", "warning", "A new user eve", "uid 1001", ("T1136.001",)),
            ),
            changes=(
                Difference("user", "added", "eve", "", "uid 1001"),
                Difference("file", "changed", "/etc/passwd", "10 bytes", "20 bytes"),
            ),
            left=(Left("file", 7),),
            unseen=("/root: not readable without root.",),
        )
    )


def _documents(v: Vectors, machine: Signer, document: bytes) -> None:
    def given(raw: bytes, named: bytes = b"") -> dict[str, Any]:
        return {"document": b64(raw), "digest": digest_comparison(named or raw), "session": SESSION}

    check = "comparison"
    v.good("a comparison", check, **given(document))
    bare = Comparison("fleetward.comparison.v1", machine.public.key_id, SESSION, 1, 2, 3, 4)
    v.good("a comparison that found nothing", check, **given(encode_comparison(bare)))
    cases = (
        ("a finding taken out", document.replace(b"new_user", b"old_user"), document,
         "Untrusted/comparison_other_digest"),
        ("of another session", document.replace(SESSION.encode(), b"ef" * 32), b"",
         "Untrusted/comparison_other_session"),
        ("with spaces", document.replace(b'{"after_at"', b'{ "after_at"'), b"",
         "Malformed/comparison_not_canonical"),
        ("with a field of nobody", document.replace(b'{"after_at"', b'{"aa":1,"after_at"'), b"",
         "Malformed/comparison_malformed"),
        ("of another type", document.replace(b"comparison.v1", b"comparison.v2"), b"",
         "Malformed/comparison_malformed"),
        ("with a line that would do something", document.replace(b"A new user", b"A\\u001bnew"),
         b"", "Malformed/comparison_malformed"),
    )  # fmt: skip
    for name, raw, named, refused in cases:
        assert raw != document, name
        v.bad(f"a comparison {name}", check, refused, **given(raw, named))
