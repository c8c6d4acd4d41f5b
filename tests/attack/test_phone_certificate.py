"""Attacks on the certificate for phones: the server's, one of nobody, one that is nearly right."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as raw
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as s
from cryptography.x509.oid import NameOID
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    clock,
    desk,
    made_once,
    one_server,
    owner,
    server,
)
from tests.unit.keyholder.phone_world import DAY_MS, NAME, Issued, issue, make_ca, now_ms
from tests.unit.keyholder.small_server import SmallServer

from fleetward.keyholder.console.certificate import PhoneFiles, PhoneTls, check_certificate
from fleetward.keyholder.console.shunned import Shunned, data_folders_near, find_shunned
from fleetward.keyholder.desk import Desk
from fleetward.runtime import x509
from fleetward.runtime.x509 import Authority, certificate_sha256
from fleetward.trust.errors import FleetwardError

NOBODY = Shunned(frozenset(), frozenset())


def judge(files: PhoneFiles, shunned: Shunned = NOBODY, trusted: Path | None = None) -> PhoneTls:
    return check_certificate(NAME, files, shunned, now_ms(), trusted)


def refused(files: PhoneFiles, shunned: Shunned = NOBODY, trusted: Path | None = None) -> str:
    with pytest.raises(FleetwardError) as caught:
        judge(files, shunned, trusted)
    return caught.value.reason


@pytest.fixture(scope="module")
def ca() -> Authority:
    return make_ca()


def _intermediate(ca: Authority, name: str) -> Authority:
    key = x509.new_key()
    now = datetime.now(UTC)
    made = (
        raw.CertificateBuilder()
        .subject_name(raw.Name([raw.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(raw.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(raw.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(raw.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            raw.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
        .sign(ca.key, hashes.SHA256())
    )
    return Authority(made, key)


def test_a_good_certificate_is_taken_by_a_ca_of_the_owner_or_of_the_system(
    ca: Authority, tmp_path: Path
) -> None:
    mine = issue(tmp_path / "mine", ca)
    taken = judge(mine.files)
    assert taken.phone_ca_sha256 == certificate_sha256(ca.certificate)
    assert taken.ends_ms < now_ms() + 30 * DAY_MS
    public = issue(tmp_path / "public", ca, named=False)
    assert judge(public.files, trusted=public.ca_file).phone_ca_sha256 == ""
    chain = issue(tmp_path / "chain", ca, between=[_intermediate(ca, "between")])
    judge(chain.files)


Change = Callable[[Path, Authority], PhoneFiles]


def _another_name(folder: Path, ca: Authority) -> PhoneFiles:
    return issue(folder, ca, ["other.ward3.example"]).files


def _a_name_below(folder: Path, ca: Authority) -> PhoneFiles:
    return issue(folder, ca, [f"x.{NAME}", "ward3.example"]).files


def _all_below(folder: Path, ca: Authority) -> PhoneFiles:
    return issue(folder, ca, ["*.ward3.example"]).files


def _shared(folder: Path, ca: Authority) -> PhoneFiles:
    return issue(folder, ca, [NAME, "fleet.ward3.example"]).files


def _expired(folder: Path, ca: Authority) -> PhoneFiles:
    return issue(folder, ca, begins_ms=now_ms() - DAY_MS - DAY_MS // 2, days=1).files


def _ends_today(folder: Path, ca: Authority) -> PhoneFiles:
    return issue(folder, ca, begins_ms=now_ms() - DAY_MS - 1000, days=2).files


def _not_yet(folder: Path, ca: Authority) -> PhoneFiles:
    return issue(folder, ca, begins_ms=now_ms() + 3600_000).files


def _another_key(folder: Path, ca: Authority) -> PhoneFiles:
    files = issue(folder, ca).files
    return replace(files, key=issue(folder / "other", ca).files.key)


def _of_nobody(folder: Path, ca: Authority) -> PhoneFiles:
    return issue(folder, make_ca(), named=False).files


def _of_another_ca(folder: Path, ca: Authority) -> PhoneFiles:
    files = issue(folder, make_ca()).files
    return replace(files, phone_ca=issue(folder / "other", ca).files.phone_ca)


def _of_itself(folder: Path, ca: Authority) -> PhoneFiles:
    files = issue(folder, ca).files
    return replace(files, phone_ca=files.certificate)


def _no_chain(folder: Path, ca: Authority) -> PhoneFiles:
    files = issue(folder, ca, between=[_intermediate(ca, "between")]).files
    leaf = x509.read_certificates(files.certificate.read_bytes())[0]
    files.certificate.write_bytes(x509.write_certificates([leaf]))
    return files


def _too_long(folder: Path, ca: Authority) -> PhoneFiles:
    old = x509.make_authority("old", not_before_ms=now_ms() - DAY_MS, days=2000, path_length=0)
    return issue(folder, old, days=1000).files


def _a_client(folder: Path, ca: Authority) -> PhoneFiles:
    files = issue(folder, ca).files
    key = x509.read_key(files.key.read_bytes())
    made = x509.issue_internal_certificate(ca, key.public_key(), NAME, not_before_ms=now_ms())
    files.certificate.write_bytes(x509.write_certificates([made]))
    return files


def _no_certificate(folder: Path, ca: Authority) -> PhoneFiles:
    files = issue(folder, ca).files
    files.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n")
    return files


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_another_name, "certificate_not_trusted"),
        (_a_name_below, "certificate_not_trusted"),
        (_all_below, "certificate_for_others"),
        (_shared, "certificate_for_others"),
        (_expired, "certificate_not_trusted"),
        (_ends_today, "certificate_out_of_date"),
        (_not_yet, "certificate_not_trusted"),
        (_another_key, "key_does_not_fit"),
        (_of_nobody, "certificate_not_trusted"),
        (_of_another_ca, "certificate_not_trusted"),
        (_of_itself, "bad_phone_ca"),
        (_no_chain, "certificate_not_trusted"),
        (_too_long, "certificate_not_for_phones"),
        (_a_client, "certificate_not_trusted"),
        (_no_certificate, "certificate_malformed"),
    ],
)
def test_what_no_phone_would_take_is_refused(
    make: Change, why: str, ca: Authority, tmp_path: Path
) -> None:
    assert refused(make(tmp_path / "tls", ca)) == why


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(
    ca: Authority, tmp_path: Path
) -> None:
    files = issue(tmp_path, ca).files
    key = x509.read_key(files.key.read_bytes())
    sealed = s.BestAvailableEncryption(b"pass")
    files.key.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, sealed))
    assert refused(files) == "bad_certificate_file"


# --- the server's and the fleet's own


@pytest.fixture
def around(desk: Desk, server: SmallServer, tmp_path: Path) -> Iterator[tuple[Desk, Path]]:
    """An owner's folder, and the data folder of its server on this computer."""
    data = tmp_path / "data"
    (data / "server" / "ca").mkdir(parents=True)
    (data / "server" / "tls").mkdir()
    yield desk, data


def shunned_by(desk: Desk, *folders: Path) -> Shunned:
    return find_shunned(desk.folder, desk.documents().policy, folders)


def of_authority(folder: Path, authority: Authority) -> Issued:
    return issue(folder, authority)


def test_the_servers_own_ca_vouches_for_no_console(
    around: tuple[Desk, Path], server: SmallServer, tmp_path: Path
) -> None:
    desk, _ = around
    issued = of_authority(tmp_path / "tls", server.authority)
    assert refused(issued.files, shunned_by(desk)) == "certificate_of_server"
    # Under the trust of the whole system it is the same, and so is a certificate anew for its key.
    alone = replace(issued.files, phone_ca=None)
    assert refused(alone, shunned_by(desk), issued.ca_file) == "certificate_of_server"
    renamed = x509.make_authority(
        "Honest CA", not_before_ms=now_ms() - DAY_MS, days=90, path_length=1,
        key=server.authority.key,
    )  # fmt: skip
    again = of_authority(tmp_path / "again", renamed)
    assert refused(again.files, shunned_by(desk)) == "certificate_of_server"


def test_a_ca_that_the_servers_ca_has_signed_vouches_for_none_either(
    around: tuple[Desk, Path], server: SmallServer, tmp_path: Path
) -> None:
    desk, _ = around
    authority = x509.make_authority(
        "test server CA", not_before_ms=now_ms() - DAY_MS, days=200, path_length=2,
        key=server.authority.key,
    )  # fmt: skip
    between = _intermediate(authority, "between")
    through = issue(tmp_path / "through", authority, between=[between])
    assert refused(through.files, shunned_by(desk)) == "certificate_of_server"
    # Also where phones know the one between, and the server's stands nowhere in the files.
    (tmp_path / "between.pem").write_bytes(x509.write_certificates([between.certificate]))
    leaf = x509.read_certificates(through.files.certificate.read_bytes())[:1]
    through.files.certificate.write_bytes(x509.write_certificates(leaf))
    files = replace(through.files, phone_ca=tmp_path / "between.pem")
    assert refused(files, shunned_by(desk)) in ("certificate_of_server", "certificate_not_trusted")


def test_a_ca_whose_key_lies_in_a_data_folder_vouches_for_none(
    around: tuple[Desk, Path], tmp_path: Path
) -> None:
    desk, data = around
    ca = make_ca("looks like another")
    issued = of_authority(tmp_path / "tls", ca)
    judge(issued.files, shunned_by(desk, data))
    (data / "server/ca/some.key").write_bytes(x509.write_key(ca.key))
    assert refused(issued.files, shunned_by(desk, data)) == "certificate_of_server"


def test_a_key_that_lies_in_a_data_folder_is_found_by_its_own_place(
    around: tuple[Desk, Path], ca: Authority
) -> None:
    desk, data = around
    issued = issue(data / "server" / "tls", ca)
    folders = data_folders_near(None, [issued.files.certificate, issued.files.key])
    assert data.resolve() in folders
    assert refused(issued.files, shunned_by(desk, *folders)) == "certificate_of_server"


def test_the_fleets_ca_vouches_for_none(around: tuple[Desk, Path], tmp_path: Path) -> None:
    desk, _ = around
    fleet = x509.read_certificates(desk.folder.read("fleet-ca.pem"))[0]
    shunned = shunned_by(desk)
    assert shunned.find([fleet]) is fleet
    by_policy = Shunned(frozenset(), shunned.certificates)
    assert by_policy.find([fleet]) is fleet
