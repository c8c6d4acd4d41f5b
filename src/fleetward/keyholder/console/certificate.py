"""The certificate of the owner's console for phones, judged before the first phone sees it.

1. Its key fits, and no passphrase is on it.
2. A phone that is told to open the name takes it (TLS 1.3, tried in memory), by the system's CAs
   or by the one that the owner has put on his phones. It is for that name and for no other: a
   certificate for several names, or for all below one, lies on several computers.
3. Each certificate that phones are shown is in date, for a day more at least.
4. A phone's further rules: for servers, and for no more than 825 days.
5. Neither it nor what vouches for it is a key of the server, of the fleet, or of a data folder.

There is no way to serve phones without all five.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from fleetward.keyholder.console.shunned import Shunned
from fleetward.runtime.files import read_bounded
from fleetward.runtime.x509 import (
    MAX_PEM_BYTES,
    certificate_sha256,
    not_after_ms,
    not_before_ms,
    read_certificates,
)
from fleetward.trust.errors import Malformed, Refused

LEAST_MS: Final = 86_400_000
"""A certificate that ends within a day would end while somebody has to be stopped."""
MOST_DAYS: Final = 825
"""Longer ones are refused by iOS, also under a CA that its user has added."""
_ROUNDS: Final = 16


@dataclass(frozen=True, slots=True)
class PhoneFiles:
    """The files that the owner has named."""

    certificate: Path
    key: Path
    phone_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class PhoneTls:
    """A certificate that was judged good, ready to be served."""

    context: ssl.SSLContext
    ends_ms: int
    phone_ca_sha256: str = ""
    """Of the CA that phones have to be given; empty when they have it."""


def check_certificate(
    name: str, files: PhoneFiles, shunned: Shunned, now_ms: int, trusted: Path | None = None
) -> PhoneTls:
    """Return what serves phones under `name`. Raises `Refused` with the first rule that is broken.

    `trusted` is a file of CAs in the place of the system's own. Raises `Malformed` for files that
    hold no certificate, and as `read_bounded`.
    """
    chain = read_certificates(read_bounded(files.certificate, MAX_PEM_BYTES))
    authority = _read_authority(files.phone_ca) if files.phone_ca else None
    # 1. The key.
    serving = _load_pair(files)
    # 2. The name and the chain, as a phone sees them.
    looking = ssl.create_default_context(cafile=str(trusted) if trusted else None)
    if files.phone_ca:
        looking = ssl.create_default_context(cafile=str(files.phone_ca))
    looking.hostname_checks_common_name = False
    looking.minimum_version = ssl.TLSVersion.TLSv1_3
    _shake_hands(serving, looking, name, named=files.phone_ca is not None)
    _check_only_name(chain[0], name)
    # 3. Its time, and that of all that is shown with it.
    named = [authority] if authority else []
    shown = [*chain, *named]
    ends_ms = min(not_after_ms(each) for each in shown)
    if any(now_ms < not_before_ms(each) for each in shown) or ends_ms - now_ms < LEAST_MS:
        raise Refused(
            f"Expected {files.certificate} and its chain to be good now and for a day more; "
            f"{_name_of(min(shown, key=not_after_ms))} ends at "
            f"{min(each.not_valid_after_utc for each in shown).isoformat()}. Renew it, or take out "
            "what is not needed.",
            reason="certificate_out_of_date",
        )
    # 4. What phones ask for besides.
    _check_for_phones(chain[0])
    # 5. Whose keys they are.
    roots = [x509.load_der_x509_certificate(der) for der in looking.get_ca_certs(binary_form=True)]
    found = shunned.find([*_find_vouching(chain, [*roots, *named]), *chain])
    if found is not None:
        raise Refused(
            f"{_name_of(found)}, which is or vouches for {files.certificate}, has its key with "
            "your server or your fleet: whoever holds the server could then pose as your console. "
            "Take a certificate of another authority.",
            reason="certificate_of_server",
        )
    return PhoneTls(serving, ends_ms, certificate_sha256(authority) if authority else "")


def _read_authority(path: Path) -> x509.Certificate:
    found = read_certificates(read_bounded(path, MAX_PEM_BYTES))
    try:
        basic = found[0].extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        basic = x509.BasicConstraints(ca=False, path_length=None)
    if len(found) != 1 or not basic.ca:
        raise Malformed(
            f"Expected one certificate of a CA in {path}: the one that you put on your phones. A "
            "phone takes no certificate that vouches for itself alone.",
            reason="bad_phone_ca",
        )
    return found[0]


def _load_pair(files: PhoneFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        # A file with a passphrase gets a wrong one: the program asks nobody on a terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except ssl.SSLError as e:
        if e.reason == "KEY_VALUES_MISMATCH":
            raise Refused(
                f"The key in {files.key} is not that of {files.certificate}. Name the key that "
                "was made with it.",
                reason="key_does_not_fit",
            ) from e
        raise Malformed(
            f"Expected a certificate in {files.certificate} and its key, without a passphrase, in "
            f"{files.key}, both as PEM; {e.reason or 'other bytes'}.",
            reason="bad_certificate_file",
        ) from e
    except OSError as e:
        raise Malformed(
            f"Expected to read {files.key}; the system says: {e.strerror}.",
            reason="bad_certificate_file",
        ) from e
    return context


def _shake_hands(
    serving: ssl.SSLContext, looking: ssl.SSLContext, name: str, *, named: bool
) -> None:
    """Speak TLS with ourselves, in memory, as a phone that was told to open `name`."""
    up, down = (ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())
    client = looking.wrap_bio(down[0], up[0], server_hostname=name)
    server = serving.wrap_bio(up[0], down[0], server_side=True)
    try:
        for _ in range(_ROUNDS):
            if all([_step(client), _step(server)]):
                return
    except ssl.SSLCertVerificationError as e:
        cure = (
            "The CA that you named by --phone-ca does not vouch for it"
            if named
            else "Where it is of a CA of your own that you have put on your phones, name that by "
            "--phone-ca FILE"
        )
        raise Refused(
            f"No phone would take this certificate for {name}: {e.verify_message}. {cure}; put "
            "intermediate certificates behind it in the same file.",
            reason="certificate_not_trusted",
        ) from e
    except ssl.SSLError as e:
        raise Refused(
            f"No phone could speak TLS 1.3 by this certificate: {e.reason}.",
            reason="certificate_not_usable",
        ) from e
    raise Refused("The certificate was not taken in time.", reason="certificate_not_usable")


def _step(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _find_vouching(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """Return the leaf and all that vouches for it on any way up, those of the chain first."""
    found, left = [chain[0]], [*chain[1:], *roots]
    for below in found:
        above = [each for each in left if _vouches(each, below)]
        found += above
        left = [each for each in left if each not in above]
    return found


def _vouches(issuer: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_only_name(leaf: x509.Certificate, name: str) -> None:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    others = {each.lower() for each in names.get_values_for_type(x509.DNSName)} - {name}
    if others:
        raise Refused(
            f"The certificate is also for {', '.join(sorted(others))[:200]}: who holds it there "
            f"could pose as your console. Take one for {name} alone.",
            reason="certificate_for_others",
        )


def _check_for_phones(leaf: x509.Certificate) -> None:
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    length = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if ExtendedKeyUsageOID.SERVER_AUTH not in uses or length > timedelta(days=MOST_DAYS):
        raise Refused(
            f"Expected a certificate for servers (extended key usage) of {MOST_DAYS} days at "
            "most; phones refuse others.",
            reason="certificate_not_for_phones",
        )


def _name_of(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string()[:120])
