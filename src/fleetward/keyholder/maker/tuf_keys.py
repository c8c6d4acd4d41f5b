"""Our public keys in the spelling of TUF (specification 4.2), and signatures made by our signers.

python-tuf is used for the form of metadata alone. Keys are ours (`trust.keys.Signer`): a sealed
file, or a token. So no key is ever handed to a library that could keep it.

| ours      | keytype, scheme                 | public                | signature            |
|-----------|---------------------------------|-----------------------|----------------------|
| `ed25519` | `ed25519`, `ed25519`            | 32 bytes in hex       | 64 bytes in hex      |
| `es256`   | `ecdsa`, `ecdsa-sha2-nistp256`  | PEM                   | DER in hex           |
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tuf.api.metadata import Key, Metadata

from fleetward.keyholder.auditor import write_public_pem
from fleetward.trust.errors import Malformed
from fleetward.trust.keys import ED25519, PublicKey, Signer, public_key_of
from fleetward.trust.releases.checks import identify_key, write_signed

ED25519_RAW_BYTES: Final = 32


def write_tuf_key(public: PublicKey) -> Key:
    """Return a public key as metadata names it. Its id is the SHA-256 of what it says."""
    if public.suite == ED25519:
        kind, scheme, text = "ed25519", "ed25519", public.spki[-ED25519_RAW_BYTES:].hex()
    else:
        kind, scheme = "ecdsa", "ecdsa-sha2-nistp256"
        text = write_public_pem(public).decode("ascii")
    said: dict[str, Any] = {"keytype": kind, "keyval": {"public": text}, "scheme": scheme}
    # OLPC canonical JSON escapes quotes and backslashes alone; a PEM has line ends and neither.
    plain = json.dumps(said, sort_keys=True, separators=(",", ":")).replace("\\n", "\n")
    return Key.from_dict(hashlib.sha256(plain.encode("ascii")).hexdigest(), said)


def read_tuf_key(key: Key) -> PublicKey:
    """Return a key of metadata as ours. Raises `Malformed` for another kind."""
    try:
        if key.keytype == "ed25519":
            raw = bytes.fromhex(key.keyval["public"])
            return public_key_of(ed25519.Ed25519PublicKey.from_public_bytes(raw))
        loaded = serialization.load_pem_public_key(key.keyval["public"].encode("ascii"))
    except (ValueError, TypeError) as e:
        raise Malformed("A key of the metadata cannot be read.", reason="bad_key") from e
    if not isinstance(loaded, ec.EllipticCurvePublicKey):
        raise Malformed("Expected an Ed25519 or P-256 key.", reason="bad_key")
    return public_key_of(loaded)


def is_same_key(key: Key, public: PublicKey) -> bool:
    """Say whether two spellings are one key. Raises `Malformed` for what cannot be read."""
    try:
        return identify_key(key) == identify_key(write_tuf_key(public))
    except Exception as e:  # the boundary to the library, which raises many kinds
        raise Malformed("A key of the metadata cannot be read.", reason="bad_key") from e


def add_signature(metadata: Metadata[Any], signer: Signer, key: Key) -> None:
    """Sign what is meant, as `key`, beside the signatures that are there. Raises as the signer."""
    made = signer.sign(write_signed(metadata))
    if signer.public.suite != ED25519:
        r, s = int.from_bytes(made[:32], "big"), int.from_bytes(made[32:], "big")
        made = encode_dss_signature(r, s)
    said = Metadata.from_dict(
        {
            "signatures": [{"keyid": key.keyid, "sig": made.hex()}],
            "signed": metadata.signed.to_dict(),
        }
    )
    metadata.signatures[key.keyid] = said.signatures[key.keyid]
