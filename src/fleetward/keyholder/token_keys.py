"""Signing with a key that never leaves a token (PKCS#11 v2.40 and later).

A key is P-256, signed with as CKM_ECDSA over a SHA-256 digest, or Ed25519, as CKM_EDDSA: the two
suites of `trust.keys`, so that nobody who verifies knows or cares where a key is. The private half
is looked for by the URI, the public half by the same CKA_ID, and every signature is verified
against it before it is handed on: a token that errs or lies is found out here.

The library of the token's maker runs in this process with all its rights (`token_module` says what
is checked before). This module is loaded only where a URI was named; the binding's types do not
leave it. A PIN is kept only for a key that wants it at every signature (CKA_ALWAYS_AUTHENTICATE).
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag
from pkcs11 import exceptions as faults

from fleetward.keyholder.token_module import check_module
from fleetward.keyholder.token_uri import TokenUri
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.keys import PublicKey, public_key_of

AskPin = Callable[[str], bytes]
"""Given what the token is called and says of its PIN, returns the PIN."""

P256_PARAMS: Final = bytes.fromhex("06082a8648ce3d030107")
"""prime256v1 as an object identifier in DER (RFC 5480 section 2.1.1.1)."""
_ED25519_PARAMS: Final = frozenset(
    {bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"}
)  # RFC 8410 section 3, and the name by which PKCS#11 v3.0 section 2.3.5 knows the curve
_OCTETS: Final = 4  # an OCTET STRING in DER
_ID_BYTES: Final = 16
_CHECK: Final = b"fleetward: does this key sign? "
_NO_TRIES: Final = "; it does not say how many tries are left"
_GONE: Final = (
    faults.DeviceRemoved,
    faults.TokenNotPresent,
    faults.TokenNotRecognised,
    faults.SessionHandleInvalid,
    faults.SessionClosed,
    faults.SlotIDInvalid,
    faults.ObjectHandleInvalid,
    faults.KeyHandleInvalid,
    faults.DeviceError,
    faults.UserNotLoggedIn,
)


class TokenSigner:
    """A `trust.keys.Signer` over a key on a token. Made by `open_token_key` or `make_token_key`."""

    def __init__(self, uri: TokenUri, session: Any, private: Any, pin: str | None) -> None:
        self.uri: Final = uri
        self._private = private
        self._lock = threading.Lock()  # the library was not told that it has to lock
        self._public = _read_public(uri, session, private)
        self.warnings: Final = _find_weaknesses(uri, private)
        always = _read(private, Attribute.ALWAYS_AUTHENTICATE)
        self._pin = pin if always else None
        self._end = weakref.finalize(self, _close, session)

    @property
    def public(self) -> PublicKey:
        """The public half, as the token gave it."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of a verified signature.

        Raises `Unreachable` when the token went away, `Refused` for one that signs wrongly.
        """
        with self._lock, _translated(self.uri):
            if self._private.key_type == KeyType.EC:
                digest = hashlib.sha256(message).digest()
                made = self._private.sign(digest, mechanism=Mechanism.ECDSA, pin=self._pin)
            else:
                made = self._private.sign(message, mechanism=Mechanism.EDDSA, pin=self._pin)
        signature = bytes(made)
        try:
            self._public.verify(signature, message)
        except Untrusted as e:
            raise Refused(
                f"Nothing was signed: {self.uri.words} returned a signature that its own public "
                "key does not verify. Two keys may share one CKA_ID, or the token is broken.",
                reason="token_signed_wrongly",
            ) from e
        return signature

    def close(self) -> None:
        """Log out and end the session; no key of this token is open in this program then.

        It happens by itself when the signer is gone or the program ends: some cards would stay
        unlocked for the next program.
        """
        self._end()


def open_token_key(uri: TokenUri, ask_pin: AskPin) -> TokenSigner:
    """Return the key that `uri` names.

    Raises `Refused` when there is no such library, token or key, or more than one, and for a wrong
    PIN, which is tried once; `Malformed` for a key of another kind; `Unreachable` for a token that
    went away.
    """
    with _translated(uri):
        session, pin = _log_in(uri, ask_pin, write=False)
        try:
            found = _find_private(uri, session)
            if not found:
                raise _no_key(uri, session)
            return TokenSigner(uri, session, found[0], pin)
        except BaseException:
            _close(session)
            raise


def make_token_key(uri: TokenUri, ask_pin: AskPin) -> TokenSigner:
    """Make a P-256 key on the token, which no one can read out, and return it.

    It signs once before it is returned. Raises `Refused` when there is one of that name, and as
    `open_token_key`.
    """
    if not uri.object:
        raise Malformed("Expected object=, a name for the new key.", reason="bad_token_uri")
    with _translated(uri):
        session, pin = _log_in(uri, ask_pin, write=True)
        try:
            if _find_private(uri, session):
                raise Refused(
                    f"Expected a new name: {uri.words} is there already. Choose another object=, "
                    "or use that key.",
                    reason="token_key_exists",
                )
            curve = session.create_domain_parameters(
                KeyType.EC, {Attribute.EC_PARAMS: P256_PARAMS}, local=True
            )
            _, private = curve.generate_keypair(
                id=uri.id or secrets.token_bytes(_ID_BYTES),
                label=uri.object,
                store=True,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                public_template={Attribute.PRIVATE: False},
                private_template={
                    Attribute.PRIVATE: True,
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                },
            )
            signer = TokenSigner(uri, session, private, pin)
        except BaseException:
            _close(session)
            raise
    signer.sign(_CHECK + secrets.token_bytes(_ID_BYTES))
    return signer


def _log_in(uri: TokenUri, ask_pin: AskPin, *, write: bool) -> tuple[Any, str | None]:
    token = _find_token(uri, _load(uri))
    if token.flags & TokenFlag.USER_PIN_LOCKED:
        raise _locked(uri)
    if token.flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH:
        return token.open(rw=write, user_pin=pkcs11.PROTECTED_AUTH), None
    pin = _decode(ask_pin(f"{token.label!r}{_tell_tries(token.flags)}"))
    try:
        return token.open(rw=write, user_pin=pin), pin
    except faults.UserAlreadyLoggedIn:  # by another key of this token, in this program
        return token.open(rw=write), pin
    except (faults.PinIncorrect, faults.PinInvalid, faults.PinLenRange) as e:
        tries = _tell_tries(token.slot.get_token().flags) or _NO_TRIES
        raise Refused(
            f"The token {uri.token or uri.serial!r} says that the PIN is wrong{tries}. It was "
            "tried once.",
            reason="wrong_pin",
        ) from e


def _load(uri: TokenUri) -> Any:
    module = check_module(uri.module)
    try:
        return pkcs11.lib(str(module))
    except faults.PKCS11Error as e:
        raise Refused(
            f"Expected a PKCS#11 library at {module}; it cannot be loaded, or does not start.",
            reason="no_module",
        ) from e


def _decode(pin: bytes) -> str:
    try:
        text = pin.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text:  # not chained: the error of the codec holds the bytes
        raise Malformed("Expected a PIN in UTF-8. None was tried.", reason="bad_pin")
    return text


def _tell_tries(flags: Any) -> str:
    """Say what the token says of the tries that are left; the standard knows three words for it."""
    if flags & TokenFlag.USER_PIN_LOCKED:
        return "; it is locked now"
    if flags & TokenFlag.USER_PIN_FINAL_TRY:
        return "; ONE try is left, and a wrong PIN locks the token"
    if flags & TokenFlag.USER_PIN_COUNT_LOW:
        return "; a wrong PIN came since the last right one"
    return ""


def _find_token(uri: TokenUri, library: Any) -> Any:
    seen, found = [], []
    for slot in library.get_slots(token_present=True):
        with contextlib.suppress(faults.TokenNotPresent, faults.TokenNotRecognised):
            token = slot.get_token()
            seen.append(token.label)
            if _is_meant(uri, token):
                found.append(token)
    if len(found) == 1:
        return found[0]
    if found:
        serials = ", ".join(sorted(_serial(token) for token in found))
        raise Refused(
            f"Expected one token {uri.token!r}, {len(found)} are here. Name one by serial=: "
            f"{serials}.",
            reason="two_tokens",
        )
    others = ", ".join(sorted(repr(label) for label in seen if label)) or "none"
    raise Refused(
        f"Expected the token {uri.token or uri.serial!r}; it is not here. Tokens that {uri.module} "
        f"sees: {others}. Put it in, or name it by token= or serial=.",
        reason="no_such_token",
    )


def _is_meant(uri: TokenUri, token: Any) -> bool:
    told = (
        (uri.token, token.label),
        (uri.serial, _serial(token)),
        (uri.model, token.model),
        (uri.manufacturer, token.manufacturer_id),
    )
    return all(not wanted or wanted == found.strip() for wanted, found in told)


def _serial(token: Any) -> str:
    return str(token.serial.decode("ascii", "replace").strip())


def _find_private(uri: TokenUri, session: Any) -> list[Any]:
    """Return the one key that is meant, or none. Raises `Refused` when several fit."""
    template: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if uri.object:
        template[Attribute.LABEL] = uri.object
    if uri.id:
        template[Attribute.ID] = uri.id
    found = list(session.get_objects(template))
    if len(found) > 1:
        ids = ", ".join(
            f"id=%{bytes(_read(key, Attribute.ID) or bytes(1)).hex('%').upper()}" for key in found
        )
        raise Refused(
            f"Expected one key, {len(found)} are named so: {uri.words}. Name one by its id: {ids}.",
            reason="two_token_keys",
        )
    return found


def _no_key(uri: TokenUri, session: Any) -> Refused:
    keys = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
    labels = sorted(repr(_read(key, Attribute.LABEL) or "") for key in keys)
    return Refused(
        f"Expected {uri.words}; it is not there. Keys on it: {', '.join(labels) or 'none'}. Make "
        "one by `fleetward owner policy make-key --token URI`.",
        reason="no_such_token_key",
    )


def _read_public(uri: TokenUri, session: Any, private: Any) -> PublicKey:
    template: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PUBLIC_KEY}
    id_ = _read(private, Attribute.ID)
    if id_:
        template[Attribute.ID] = id_
    else:
        template[Attribute.LABEL] = uri.object
    halves = [*session.get_objects(template), private]  # some tokens tell it of the private half
    params, point = (
        next((bytes(v) for half in halves if (v := _read(half, name))), b"")
        for name in (Attribute.EC_PARAMS, Attribute.EC_POINT)
    )
    return _build_public(uri, params, point)


def _build_public(uri: TokenUri, params: bytes, point: bytes) -> PublicKey:
    try:
        if params == P256_PARAMS:
            point = _unwrap(point, 65)
            return public_key_of(
                ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            )
        if params in _ED25519_PARAMS:
            return public_key_of(ed25519.Ed25519PublicKey.from_public_bytes(_unwrap(point, 32)))
    except ValueError as e:
        raise _wrong_kind(uri) from e
    raise _wrong_kind(uri)


def _unwrap(point: bytes, size_bytes: int) -> bytes:
    """Take a point out of its OCTET STRING (v2.40 section 2.3.3); some tokens give it bare."""
    if len(point) == size_bytes + 2 and point[:2] == bytes((_OCTETS, size_bytes)):
        return point[2:]
    return point


def _wrong_kind(uri: TokenUri) -> Malformed:
    return Malformed(
        f"Expected a P-256 or Ed25519 key with its public half on the token: {uri.words} is of "
        "another kind, or its public half is not there. Make another.",
        reason="wrong_token_key",
    )


def _find_weaknesses(uri: TokenUri, private: Any) -> tuple[str, ...]:
    """Say what is known against the key having been in this token alone, all its life."""
    open_ = _read(private, Attribute.EXTRACTABLE) is True
    if open_ or _read(private, Attribute.SENSITIVE) is False:
        return (f"WARNING: {uri.words} can be read out of the token.",)
    told = [
        _read(private, name)
        for name in (Attribute.LOCAL, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)
    ]
    if any(each is False for each in told):
        return (
            f"WARNING: {uri.words} was not made on this token, or could be read out of it before: "
            "there may be copies.",
        )
    if any(each is None for each in told):
        return (f"The token does not say whether {uri.words} was always in it alone.",)
    return ()


def _read(key: Any, name: Attribute) -> Any:
    """Return an attribute, or None when the token does not tell."""
    try:
        return key[name]
    except (faults.PKCS11Error, ValueError, NotImplementedError):
        return None


def _close(session: Any) -> None:
    with contextlib.suppress(faults.PKCS11Error):
        session.close()


def _locked(uri: TokenUri) -> Refused:
    return Refused(
        f"The token {uri.token or uri.serial!r} has locked its PIN. Unlock it with its maker's "
        "tools.",
        reason="pin_locked",
    )


@contextlib.contextmanager
def _translated(uri: TokenUri) -> Iterator[None]:
    """Turn what the library says into errors of ours, which hold no word of it but its name."""
    try:
        yield
    except faults.PKCS11Error as e:
        raise _say_fault(uri, e) from e


def _say_fault(uri: TokenUri, fault: faults.PKCS11Error) -> FleetwardError:
    name = type(fault).__name__
    if isinstance(fault, faults.PinLocked):
        return _locked(uri)
    if isinstance(fault, _GONE):
        return Unreachable(
            f"Nothing was signed: {uri.words} went away ({name}). Put the token back and start "
            "again.",
            reason="token_gone",
        )
    return Refused(
        f"The token refused ({name}): {uri.words}. Where a token lets nobody make keys so, make "
        "one with its maker's tools and name it by a URI.",
        reason="token_refused",
    )
