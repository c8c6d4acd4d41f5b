"""Write the vectors: `python -m tests.vectors.generate`.

A test compares what this writes with what is checked in, so that no format changes unseen.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.trust_world import alter, reader_of, resign, strange_signature
from tests.vectors.making import Vectors, public, seeded_key
from tests.vectors.of_break_glass import break_glass_vectors
from tests.vectors.of_closings import closing_vectors
from tests.vectors.of_delegations import delegation_vectors
from tests.vectors.of_keys import handover_vectors
from tests.vectors.of_owners import (
    head_vectors,
    invitation_vectors,
    make_world,
    policy_vectors,
    roster_vectors,
    view_vectors,
)
from tests.vectors.of_receipts import receipt_vectors
from tests.vectors.of_releases import release_vectors
from tests.vectors.of_runbooks import runbook_vectors
from tests.vectors.of_sessions import session_vectors
from tests.vectors.of_standing import standing_vectors

from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.envelope import seal, signed_bytes
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.merkle import hash_leaf, prove_consistency, prove_inclusion, root_of
from fleetward.trust.note import Checkpoint, cosign, origin_of, sign_checkpoint
from fleetward.trust.wordlist import WORDS

FOLDER: Final = Path(__file__).parent
NONCE: Final = bytes(range(32))


def canonical_vectors() -> Vectors:
    v = Vectors("canonical", "Canonical JSON: what is accepted, and what each value's bytes are.")
    values: list[tuple[str, Json]] = [
        ("empty object", {}),
        ("sorted keys", {"b": 1, "a": {"z": "", "A": 2, " ": True}}),
        ("largest integers", [2**53 - 1, -(2**53 - 1), 0]),
        ("escapes", "\b\t\n\f\r\"\\/\x00\x1f\x7f"),
        ("unicode is raw", "\u00e4\u2028\ufeff\U0001f512"),
    ]  # fmt: skip
    for name, value in values:
        v.good(f"encode: {name}", "canonical.encode", value=value)
        v.good(f"decode: {name}", "canonical.decode", data=b64(canonical.encode(value)))
    v.good("sixteen levels", "canonical.decode", data=b64(b"[" * 16 + b"1" + b"]" * 16))
    for name, data, reason in [
        ("null", b"null", "bad_type"),
        ("float", b"[1.0]", "float"),
        ("exponent", b"1e2", "float"),
        ("not a number", b"NaN", "float"),
        ("minus zero", b"-0", "not_canonical"),
        ("leading zero", b"01", "not_json"),
        ("integer of 54 bits", b"9007199254740992", "integer_range"),
        ("huge integer", b"9" * 5000, "integer_range"),
        ("unsorted keys", b'{"b":1,"a":2}', "not_canonical"),
        ("duplicate key", b'{"a":1,"a":1}', "not_canonical"),
        ("duplicate key under an escape", b'{"a":1,"\\u0061":1}', "not_canonical"),
        ("key outside ASCII", '{"\u00e4":1}'.encode(), "bad_key"),
        ("key with a control character", b'{"\\n":1}', "bad_key"),
        ("key too long", b'{"' + b"k" * 129 + b'":1}', "bad_key"),
        ("white space", b'{"a": 1}', "not_canonical"),
        ("line break behind", b"{}\n", "not_canonical"),
        ("byte order mark", b"\xef\xbb\xbf{}", "not_json"),
        ("two values", b"{}{}", "not_json"),
        ("nothing", b"", "not_json"),
        ("needless escape", b'"\\u0041"', "not_canonical"),
        ("escaped slash", b'"\\/"', "not_canonical"),
        ("upper-case escape", b'"\\u001F"', "not_canonical"),
        ("escaped pair", b'"\\ud83d\\udd12"', "not_canonical"),
        ("lone surrogate", b'"\\ud800"', "surrogate"),
        ("surrogate in UTF-8", b'"\xed\xa0\x80"', "not_utf8"),
        ("overlong UTF-8", b'"\xc0\xaf"', "not_utf8"),
        ("broken UTF-8", b'"\xff"', "not_utf8"),
        ("raw control character", b'"\n"', "not_json"),
        ("trailing comma", b"[1,]", "not_json"),
        ("seventeen levels", b"[" * 17 + b"1" + b"]" * 17, "too_deep"),
        ("ten thousand levels", b"[" * 10_000 + b"]" * 10_000, "too_deep"),
    ]:
        v.bad(name, "canonical.decode", f"Malformed/{reason}", data=b64(data))
    return v


def key_vectors() -> Vectors:
    v = Vectors("keys", "Public keys, their ids, and signatures by them.")
    order = {"small order 1": 1, "small order 4": 0, "long spelling": 2**255 - 18}
    prefix = bytes.fromhex("302a300506032b6570032100")
    for suite, other in ((ED25519, ES256), (ES256, ED25519)):
        signer = seeded_key(suite, "key")
        spki, message = signer.public.spki, b"a message"
        v.good(f"{suite}: id", "key.read", **public(signer.public))
        wrong = {"suite": other, "public": b64(spki)}
        v.bad(f"{suite}: of another suite", "key.read", "Malformed/bad_key", **wrong)
        longer = {"suite": suite, "public": b64(spki + b"\x00")}
        v.bad(f"{suite}: bytes behind", "key.read", "Malformed/bad_key", **longer)
        signature = signer.sign(message)
        given = {**public(signer.public), "message": b64(message)}
        v.good(f"{suite}: signature", "key.verify", signature=b64(signature), **given)
        for name, bad in [
            ("flipped", bytes([signature[0] ^ 1]) + signature[1:]),
            ("short", signature[:-1]),
            ("empty", b""),
            ("zero", bytes(64)),
        ]:
            v.bad(f"{suite}: signature {name}", "key.verify", "Untrusted/bad_signature",
                  signature=b64(bad), **given)  # fmt: skip
    for name, y in order.items():
        raw = {"suite": ED25519, "public": b64(prefix + y.to_bytes(32, "little"))}
        v.bad(f"ed25519: {name}", "key.read", "Malformed/bad_key", **raw)
    usual = seeded_key(ES256, "key").public.spki
    off = usual[:-1] + bytes([usual[-1] ^ 1])
    v.bad("es256: point off the curve", "key.read", "Malformed/bad_key",
          suite=ES256, public=b64(off))  # fmt: skip
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    compressed += bytes([2 + (usual[-1] & 1)]) + usual[27:59]
    v.bad("es256: compressed point", "key.read", "Malformed/bad_key",
          suite=ES256, public=b64(compressed))  # fmt: skip
    p384 = public_spki_of_p384()
    v.bad("another curve", "key.read", "Malformed/bad_key", suite=ES256, public=b64(p384))
    v.bad("unknown suite", "key.read", "Malformed/unknown_suite",
          suite="rs256", public=b64(usual))  # fmt: skip
    return v


def public_spki_of_p384() -> bytes:
    """Return a key on another curve."""

    return (
        ec.derive_private_key(7, ec.SECP384R1())
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def envelope_vectors() -> Vectors:
    v = Vectors("envelopes", "Signed envelopes: thresholds of people, and single signers.")
    kind = "fleetward.test.v1"
    payload: JsonObject = {"type": kind, "value": 1}
    ada, ada2, ben, eve = (
        seeded_key(suite, label)
        for suite, label in ((ED25519, "ada"), (ES256, "ada"), (ES256, "ben"), (ED25519, "eve"))
    )
    keys = [
        {**public(k.public), "person": p} for k, p in ((ada, "ada"), (ada2, "ada"), (ben, "ben"))
    ]

    def ask(envelope: bytes, threshold: int = 2) -> dict[str, Any]:
        return {"envelope": b64(envelope), "type": kind, "threshold": threshold, "keys": keys}

    def raw(*signatures: Json, of: JsonObject = payload) -> bytes:
        return canonical.encode({"payload": of, "signatures": list(signatures)})

    right = strange_signature(ada, signed_bytes(payload))
    bens = strange_signature(ben, signed_bytes(payload))
    check = "envelope.threshold"
    v.good("two people", check, **ask(seal(payload, [ada, ben])))
    v.good("two people and a stranger", check, **ask(seal(payload, [eve, ben, ada2])))
    v.good("a stranger's wrong signature", check,
           **ask(raw(strange_signature(eve, b"x"), right, bens)))  # fmt: skip
    few, bad = "Untrusted/too_few_signatures", "Untrusted/bad_signature"
    v.bad("two keys of one person", check, few, **ask(seal(payload, [ada, ada2])))
    v.bad("nobody", check, few, **ask(seal(payload, [])))
    v.bad("strangers", check, few, **ask(seal(payload, [eve])))
    v.bad("one wrong among enough", check, bad,
          **ask(raw(right, strange_signature(ben, b"x")), 1))  # fmt: skip
    v.bad("another payload", check, bad, **ask(raw(right, bens, of={**payload, "value": 2})))
    other: JsonObject = {**payload, "type": "fleetward.other.v1"}
    v.bad("another type", check, "Malformed/wrong_type", **ask(seal(other, [ada, ben])))
    moved = strange_signature(ada, signed_bytes(other))
    v.bad("a signature moved from another type", check, bad, **ask(raw(moved, bens), 1))
    lying = {**right, "suite": ES256}
    v.bad("another suite", check, "Untrusted/bad_suite", **ask(raw(lying, bens), 1))
    v.bad("a key twice", check, "Malformed/duplicate_signature", **ask(raw(right, dict(right))))
    shapes: list[tuple[str, JsonObject, str]] = [
        ("no signatures", {"payload": payload}, "missing_field"),
        ("a further field", {"payload": payload, "signatures": [], "x": 1}, "unknown_field"),
        ("no type", {"payload": {"value": 1}, "signatures": []}, "bad_type_string"),
        ("a strange type", {"payload": {"type": "x.v1"}, "signatures": []}, "bad_type_string"),
        ("a field in a signature", {"payload": payload, "signatures": [{**right, "x": 1}]},
         "unknown_field"),
        ("a short signature", {"payload": payload, "signatures": [{**right, "signature": "AAAA"}]},
         "bad_signature_length"),
        ("33 signatures", {"payload": payload, "signatures": [right] * 33}, "bad_field"),
    ]  # fmt: skip
    for name, value, reason in shapes:
        v.bad(name, check, f"Malformed/{reason}", **ask(canonical.encode(value)))
    single = {"type": kind, **public(ben.public)}
    v.good("single", "envelope.single", envelope=b64(seal(payload, [ben])), **single)
    wrong = "Untrusted/wrong_signer"
    v.bad("single: two signed", "envelope.single", wrong,
          envelope=b64(seal(payload, [ben, ada])), **single)  # fmt: skip
    v.bad("single: another signed", "envelope.single", wrong,
          envelope=b64(seal(payload, [ada])), **single)  # fmt: skip
    return v


def merkle_vectors() -> Vectors:
    v = Vectors("merkle", "Roots, inclusion and consistency (RFC 6962, RFC 9162).")
    leaves = [b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"]
    leaves += [b"leaf %d" % n for n in range(8, 13)]
    hashed = [hash_leaf(leaf) for leaf in leaves]
    read = reader_of(hashed)
    roots = [root_of(hashed[:n]).hex() for n in range(len(leaves) + 1)]
    for n in range(len(leaves) + 1):
        v.good(f"root of {n}", "merkle.root", leaves=[b64(leaf) for leaf in leaves[:n]])
    for size in (1, 2, 3, 7, 8, 13):
        for index in sorted({0, size // 2, size - 1}):
            path = [b64(h) for h in prove_inclusion(index, size, read)]
            ask = {"index": index, "size": size, "path": path, "root": roots[size]}
            leaf, name = b64(leaves[index]), f"{index} of {size}"
            v.good(f"inclusion {name}", "merkle.inclusion", leaf=leaf, **ask)
            bad = "Untrusted/bad_inclusion_proof"
            v.bad(f"another leaf {name}", "merkle.inclusion", bad, leaf=b64(b"x"), **ask)
            longer = {**ask, "path": [*path, roots_b64(roots[1])]}
            v.bad(f"too long {name}", "merkle.inclusion", bad, leaf=leaf, **longer)
            if path:
                shorter = {**ask, "path": path[:-1]}
                v.bad(f"too short {name}", "merkle.inclusion", bad, leaf=leaf, **shorter)
    outside = {"index": 13, "size": 13, "path": [], "root": roots[13], "leaf": ""}
    v.bad("no such leaf", "merkle.inclusion", "Malformed/bad_index", **outside)
    for old in range(1, 14):
        proof = [b64(h) for h in prove_consistency(old, 13, read)]
        ask = {"new_size": 13, "new_root": roots[13], "proof": proof, "old_size": old}
        v.good(f"consistency {old} to 13", "merkle.consistency", old_root=roots[old], **ask)
        # Where the old tree is a subtree of the new one, its root is not among the hashes: then
        # they show only that they do not lead from it to the new root.
        reason = "bad_consistency_proof" if old in (1, 2, 4, 8) else "forked"
        v.bad(f"rewritten {old} to 13", "merkle.consistency", f"Untrusted/{reason}",
              old_root=roots[old - 1], **ask)  # fmt: skip
        if proof:
            garbled = {**ask, "proof": [proof[-1], *proof[1:]] if proof[1:] else [b64(bytes(32))]}
            v.bad(f"garbled {old} to 13", "merkle.consistency", "Untrusted/bad_consistency_proof",
                  old_root=roots[old], **garbled)  # fmt: skip
    for name, old, new, proof, reason in [
        ("from nothing", 0, 5, [roots[1]], "bad_consistency_proof"),
        ("backwards", 5, 4, [], "rolled_back"),
        ("without proof", 4, 5, [], "bad_consistency_proof"),
    ]:
        v.bad(f"consistency {name}", "merkle.consistency", f"Untrusted/{reason}",
              old_size=old, old_root=roots[old], new_size=new, new_root=roots[new],
              proof=[roots_b64(p) for p in proof])  # fmt: skip
    v.good("consistency from nothing, without proof", "merkle.consistency",
           old_size=0, old_root=roots[0], new_size=5, new_root=roots[5], proof=[])  # fmt: skip
    return v


def roots_b64(root: str) -> str:
    """Return a hex root as base64url."""
    return b64(bytes.fromhex(root))


def note_vectors() -> Vectors:
    v = Vectors("notes", "Checkpoints and cosignatures (C2SP).")
    log, witness = seeded_key(ED25519, "log"), seeded_key(ED25519, "witness")
    origin = origin_of("ab" * 32, 1)
    checkpoint = Checkpoint(origin=origin, size=42, root=hashlib.sha256(b"root").digest())
    note = sign_checkpoint(checkpoint, log).decode()
    twice = cosign(note.encode(), "witness.example/1", witness, 1_795_000_000).decode()
    ask = {"origin": origin, **public(log.public)}
    seen = {"name": "witness.example/1", **public(witness.public)}
    v.good("checkpoint", "note.checkpoint", note=note, **ask)
    v.good("with a cosignature", "note.checkpoint", note=twice, **ask)
    v.good("cosignature", "note.cosignature", note=twice, **seen)
    v.bad("not cosigned", "note.cosignature", "Untrusted/not_cosigned", note=note, **seen)
    v.bad("another witness", "note.cosignature", "Untrusted/not_cosigned",
          note=twice, **{**seen, "name": "other"})  # fmt: skip
    v.bad("another text cosigned", "note.cosignature", "Untrusted/bad_signature",
          note=twice.replace("\n42\n", "\n43\n"), **seen)  # fmt: skip
    bad = "Malformed/bad_note"
    for name, text, refused in [
        ("another size", note.replace("\n42\n", "\n43\n"), "Untrusted/bad_signature"),
        ("size with a zero", note.replace("\n42\n", "\n042\n"), bad),
        ("size with a sign", note.replace("\n42\n", "\n+42\n"), bad),
        ("a line more", note.replace("\n\n", "\nextension\n\n"), bad),
        ("no signature", note.split("\n\n")[0] + "\n\n", bad),
        ("no line break at the end", note[:-1], bad),
        ("two line breaks at the end", note + "\n", bad),
        ("carriage returns", note.replace("\n", "\r\n"), bad),
        ("a hyphen for the dash", note.replace("\u2014", "-"), bad),
        ("signed by another", sign_checkpoint(checkpoint, witness).decode(),
         "Untrusted/unsigned_note"),
        ("another origin", sign_checkpoint(replace(checkpoint, origin="x"), log).decode(),
         "Untrusted/wrong_origin"),
    ]:  # fmt: skip
        v.bad(name, "note.checkpoint", refused, note=text, **ask)
    return v


def journal_vectors() -> Vectors:
    v = Vectors("journals", "A machine's statements, its chain and its batches.")
    world = make_world()
    machine = world.machine()
    key = {**public(machine.key), "owner": world.owner}
    v.good("start", "journal.start", owner=world.owner, device=machine.device)
    for number in range(3):
        machine.write("posture.changed", {"text": f"number {number} \u00e4", "ports": [23]})
    first = machine.cut()
    machine.checkpoint = SeenCheckpoint(generation=1, size=3, root="ab" * 32)
    machine.write("agent.stopped")
    second = machine.cut()
    v.good("first batch", "journal.batch", batch=b64(first), **key)
    v.good("second batch", "journal.batch", batch=b64(second), **key)
    lines = first.split(b"\n")
    other = world.machine("other")
    head: JsonObject = {"first": 1, "previous": "00" * 32}
    for name, data, refused in [
        ("swapped", [lines[0], lines[2], lines[1], lines[3]], "Untrusted/bad_chain"),
        ("altered", [*lines[:3], lines[3].replace(b"23", b"24")], "Untrusted/bad_chain"),
        ("cut short", lines[:3], "Malformed/bad_batch_range"),
        ("a line more", [*lines, b""], "Malformed/bad_batch_range"),
        ("header alone", lines[:1], "Malformed/bad_batch_range"),
        ("altered header", [alter(lines[0], {"boot": "x"}), *lines[1:]],
         "Untrusted/bad_signature"),
        ("another machine's signature", [resign(lines[0], {}, [other.identity]), *lines[1:]],
         "Untrusted/wrong_signer"),
        ("another device", [resign(lines[0], {"device": other.device}, [machine.identity])],
         "Untrusted/bad_device"),
        ("another start", [resign(lines[0], head, [machine.identity]), *lines[1:]],
         "Untrusted/bad_chain"),
        ("half a checkpoint", [resign(lines[0], {"checkpoint": {
            "generation": 0, "root": "00" * 32, "size": 0}}, [machine.identity]), *lines[1:]],
         "Malformed/bad_field"),
    ]:  # fmt: skip
        v.bad(f"batch {name}", "journal.batch", refused, batch=b64(b"\n".join(data)), **key)
    v.bad("batch for another owner", "journal.batch", "Untrusted/another_owner",
          batch=b64(first), **{**key, "owner": "00" * 32})  # fmt: skip
    mine = public(machine.key)
    join, renewal, hello = machine.join("cd" * 32), machine.renewal(), machine.hello(NONCE)
    v.good("join", "statement.join", statement=b64(join))
    v.good("renewal", "statement.renewal", statement=b64(renewal), **mine)
    v.good("hello", "statement.hello", statement=b64(hello), nonce=b64(NONCE), **mine)
    v.bad("join of another key", "statement.join", "Untrusted/wrong_signer",
          statement=b64(resign(join, {}, [other.identity])))  # fmt: skip
    v.bad("renewal altered", "statement.renewal", "Untrusted/bad_signature",
          statement=b64(alter(renewal, {"lineage": 9})), **mine)  # fmt: skip
    v.bad("hello of another nonce", "statement.hello", "Untrusted/wrong_nonce",
          statement=b64(hello), nonce=b64(bytes(32)), **mine)  # fmt: skip
    return v


def word_vectors() -> Vectors:
    listed = hashlib.sha256("\n".join(WORDS).encode()).hexdigest()
    v = Vectors("words", f"Six words; SHA-256 of the list joined by line breaks: {listed}.")
    for digest in ("00" * 32, "ff" * 32, hashlib.sha256(b"words").hexdigest()):
        v.good(f"digest {digest[:8]}", "words.digest", digest=digest)
    for owner, device in (("00" * 32, "a" * 32), ("ab" * 32, "a2" * 16), ("ab" * 32, "b2" * 16)):
        v.good(f"device {owner[:4]} {device[:4]}", "words.device", owner=owner, device=device)
    return v


ALL: Final = (
    canonical_vectors, key_vectors, envelope_vectors, policy_vectors, roster_vectors,
    head_vectors, invitation_vectors, merkle_vectors, note_vectors, journal_vectors,
    word_vectors, view_vectors, session_vectors, delegation_vectors, handover_vectors,
    runbook_vectors, break_glass_vectors, standing_vectors, receipt_vectors, closing_vectors,
    release_vectors,
)  # fmt: skip


def write_all() -> dict[str, str]:
    """Return every file's text by its name."""
    files = {f"{v.name}.json": v.text() for v in (make() for make in ALL)}
    return {**files, "wordlist.json": json.dumps(list(WORDS)) + "\n"}


if __name__ == "__main__":
    for file_name, file_text in write_all().items():
        (FOLDER / file_name).write_text(file_text, encoding="utf-8")
