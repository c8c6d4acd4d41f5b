"""Metadata of releases: what an honest repository gives a machine, and what a driver is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adversary.release_repository import NOW_MS, Machine, Repository
from tests.release_world import IMAGE, make_world
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    SuccinctRoles,
    Targets,
)

from fleetward.trust.errors import Malformed, Misuse, Refused, Unreachable
from fleetward.trust.releases import limits
from fleetward.trust.releases.checks import write_signed
from fleetward.trust.releases.delegations import list_delegates
from fleetward.trust.releases.names import name_file, quote_role, require_path
from fleetward.trust.releases.reading import read_metadata
from fleetward.trust.releases.refresh import Refresh
from fleetward.trust.releases.search import Search
from fleetward.trust.releases.steps import Want
from fleetward.trust.releases.target import ArtifactCheck
from fleetward.trust.releases.trusted import TrustedSet


def test_a_first_refresh_asks_for_each_file_once_and_in_order() -> None:
    repository, machine = make_world()
    assert machine.asked == [
        *("2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "1.pump.json")
    ]
    assert machine.versions() == (1, 2, 2, 2)
    assert machine.kept["pump.json"] == repository.files["1.pump.json"]


def test_a_second_refresh_asks_for_no_more_than_it_must() -> None:
    repository, machine = make_world()
    machine.asked.clear()
    assert machine.find(repository.answer, IMAGE)
    assert machine.asked == ["2.root.json", "timestamp.json"]


def test_only_what_changed_is_fetched() -> None:
    repository, machine = make_world()
    machine.asked.clear()
    repository.add_target("pump", "pump/1.1.img", b"two")
    repository.publish_all("pump")
    assert machine.find(repository.answer, "pump/1.1.img")
    assert machine.asked == ["2.root.json", "timestamp.json", "3.snapshot.json", "2.pump.json"]


def test_a_target_tells_what_was_signed() -> None:
    repository, machine = make_world()
    target = machine.find(repository.answer, IMAGE)
    assert target is not None
    assert (target.path, target.length_bytes, target.signed_by) == (IMAGE, 3, ("targets", "pump"))
    assert target.custom == b'{"counter":1}'
    assert [name for name, _ in target.hashes] == ["sha256", "sha512"]
    assert target.file_name == f"pump/{target.hashes[0][1]}.1.0.img"
    check = ArtifactCheck(target)
    for piece in (b"o", b"", b"ne"):
        check.update(piece)
    check.finish()


def test_a_path_that_nobody_signed_is_not_found() -> None:
    repository, machine = make_world()
    assert machine.find(repository.answer, "pump/9.img") is None
    assert machine.find(repository.answer, "valve/1.img") is None


def test_a_repository_without_consistent_snapshots() -> None:
    repository = Repository.make(consistent=False)
    repository.add_target("targets", "a.img", b"a")
    repository.publish_all("targets")
    machine = Machine.make(repository)
    target = machine.find(repository.answer, "a.img")
    assert target is not None and target.file_name == "a.img"
    assert machine.asked == ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"]


def test_roots_are_followed_and_kept_before_all_else() -> None:
    repository, machine = make_world()
    repository.rotate("root")
    repository.root.version += 1
    old = Machine.make(repository)
    assert old.root == machine.root
    both = [*repository.signers["root"], *make_world()[0].signers["root"]]
    repository.serve("root", repository.sign("root", both))
    repository.publish("root")
    machine.find(repository.answer, IMAGE)
    assert machine.version("root") == 3


def test_changes_come_root_first_and_forget_before_anything_new() -> None:
    repository, machine = make_world()
    repository.rotate("timestamp")
    repository.publish("root", "snapshot", "timestamp")
    refresh = Refresh(machine.root, NOW_MS)
    changes = []
    while (want := refresh.want) is not None:
        assert want.role == "targets" or not want.is_kept, "it is void"
        refresh.give(machine.kept.get(want.file_name) if want.is_kept else repository.answer(want))
        changes += [(change.role, change.data is None) for change in refresh.take_changes()]
    assert changes == [
        *(("root", False), ("snapshot", True), ("timestamp", True)),
        *(("timestamp", False), ("snapshot", False)),
    ]


def test_a_key_that_is_added_voids_nothing() -> None:
    repository, machine = make_world()
    repository.add_key("timestamp")
    repository.publish("root")
    machine.asked.clear()
    machine.find(repository.answer, IMAGE)
    assert machine.asked == ["2.root.json", "3.root.json", "timestamp.json"]


def test_an_equal_timestamp_changes_nothing_whatever_it_says() -> None:
    repository, machine = make_world()
    before = machine.kept["timestamp.json"]
    repository.timestamp.snapshot_meta.version = 77
    repository.files["timestamp.json"] = repository.sign("timestamp")
    assert machine.find(repository.answer, IMAGE)
    assert machine.kept["timestamp.json"] == before


def test_three_signatures_where_two_are_needed() -> None:
    repository, machine = make_world()
    repository.publish("root")
    assert len(Metadata.from_bytes(repository.files["2.root.json"]).signatures) == 3
    machine.refresh(repository.answer)
    assert machine.version("root") == 2


def test_the_first_delegation_that_names_a_path_decides() -> None:
    repository, machine = make_world()
    for name in ("a", "b", "c"):
        repository.delegate("targets", name, "x/*", ends=name == "c")
        repository.add_target(name, "x/1", name.encode())
    repository.delegate("a", "below", "x/2", ends=False)
    for name in ("b", "below"):
        repository.add_target(name, "x/2", name.encode())
    repository.delegate("targets", "late", "x/*")
    repository.add_target("late", "x/3", b"late")
    repository.publish_all("a", "b", "c", "below", "late", "targets")
    for path, chain in (("x/1", ("targets", "a")), ("x/2", ("targets", "a", "below"))):
        target = machine.find(repository.answer, path)
        assert target is not None and target.signed_by == chain
    assert machine.find(repository.answer, "x/3") is None, "c ends the search"
    assert "1.late.json" not in machine.asked


def test_an_ending_delegation_ends_what_stood_above_it_too() -> None:
    repository, machine = make_world()
    repository.delegate("targets", "a", "x/*", ends=False)
    repository.delegate("targets", "b", "x/*", ends=False)
    repository.delegate("a", "last", "x/*", ends=True)
    repository.add_target("b", "x/1", b"b")
    repository.publish_all("a", "b", "last", "targets")
    assert machine.find(repository.answer, "x/1") is None
    assert machine.asked[-2:] == ["1.a.json", "1.last.json"]


@pytest.mark.parametrize("length", [limits.MAX_TARGET_BYTES + 1, True])
def test_lengths_that_no_machine_takes(length: int) -> None:
    repository, machine = make_world()
    repository.targets("pump").targets[IMAGE].length = length
    repository.publish_all("pump")
    with pytest.raises(Refused) as caught:
        machine.find(repository.answer, IMAGE)
    assert caught.value.reason == "target_too_large"


def test_a_role_name_too_long_is_refused_before_anybody_asks_for_it() -> None:
    repository, machine = make_world()
    role = "x" * (limits.MAX_ROLE_NAME_BYTES + 1)
    repository.targets().delegations = Delegations(
        {}, {role: DelegatedRole(role, [], 1, True, ["x"])}
    )
    repository.snapshot.meta[f"{role}.json"] = MetaFile(1)
    repository.publish_all("targets")
    trusted = machine.refresh(repository.answer)
    with pytest.raises(Malformed) as caught:
        Search(trusted, "x")
    assert caught.value.reason == "bad_role_name"


@pytest.mark.parametrize("value", [None, {"ä": 1}, 2**60])
def test_what_the_maker_adds_is_kept_only_if_it_is_canonical(value: object) -> None:
    repository, machine = make_world()
    repository.add_target("targets", "a.img", b"a", extra=value)
    repository.publish_all("targets")
    with pytest.raises(Malformed) as caught:
        machine.find(repository.answer, "a.img")
    assert caught.value.reason == "bad_custom"


def test_hash_bins() -> None:
    """Succinct delegation (TAP 15): the hash of a path chooses one of many roles."""
    bins = SuccinctRoles([], 1, 4, "bin")
    targets = Targets(delegations=Delegations({}, None, bins))
    names, is_last = list_delegates(targets, "pump/1.img")
    assert names == [bins.get_role_for_target("pump/1.img")]
    assert is_last


PATTERNS = st.lists(
    st.lists(st.sampled_from(["a", "b", "*", "a*", "?", "[ab]", "[!a]", "a[", ""]), max_size=3).map(
        "/".join
    ),
    max_size=4,
)


@given(PATTERNS, st.lists(st.sampled_from(["a", "b", "ab", "*", ""]), max_size=3).map("/".join))
def test_sorting_patterns_out_changes_no_answer(patterns: list[str], path: str) -> None:
    role = DelegatedRole("x", [], 1, False, patterns)
    targets = Targets(delegations=Delegations({}, {"x": role}))
    assert list_delegates(targets, path) == (["x"] if role.is_delegated_path(path) else [], False)


@pytest.mark.parametrize(
    ("role", "name"),
    [("pump", "pump"), ("../x", "..%2Fx"), ("a%", "a%25"), ("ü", "%C3%BC"), ("a b", "a%20b")],
)
def test_role_names_in_file_names(role: str, name: str) -> None:
    assert quote_role(role) == name
    assert name_file(role, 7) == f"7.{name}.json"


@pytest.mark.parametrize("role", ["", "\ud800", "x" * (limits.MAX_ROLE_NAME_BYTES + 1)])
def test_role_names_that_are_none(role: str) -> None:
    with pytest.raises(Malformed) as caught:
        quote_role(role)
    assert caught.value.reason == "bad_role_name"


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_two_roles_share_a_file(one: str, other: str) -> None:
    def quote(role: str) -> str | None:
        try:
            return quote_role(role)
        except Malformed:
            return None

    if one != other and quote(one) is not None:
        assert quote(one) != quote(other)


@given(st.text(max_size=12) | st.text(alphabet="ab./-~ ", max_size=12))
def test_a_path_that_is_handed_out_stays_below_its_folder(path: str) -> None:
    try:
        parts = require_path(path).split("/")
    except Refused as e:
        assert e.reason == "bad_target_path"
        return
    assert not {"", ".", ".."} & set(parts)
    assert path.isascii() and path.isprintable() and not set(path) & set(" \\$;&|<>`'\"*?")


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_malformed_or_metadata(data: bytes) -> None:
    for lead in (b"", b'{"signatures":[],"signed":', b'{"signatures":'):
        with pytest.raises(Malformed):
            read_metadata(lead + data, Targets, "targets", 1000)


def test_a_file_is_not_larger_than_its_kind() -> None:
    data = make_world()[0].files["1.root.json"]
    with pytest.raises(Malformed) as caught:
        read_metadata(data, Root, "root", len(data) - 1)
    assert caught.value.reason == "root_too_large"
    with pytest.raises(Malformed) as caught:
        TrustedSet(data + b" " * limits.MAX_ROOT_BYTES, NOW_MS)
    assert caught.value.reason == "root_too_large"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().map("x{}".format), JSON, max_size=4))
def test_what_was_signed_is_written_as_the_library_writes_it(fields: dict[str, object]) -> None:
    targets = Targets(unrecognized_fields=fields)
    assert write_signed(Metadata(targets)) == Metadata(targets).signed_bytes


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_real_files_are_written_as_the_library_writes_them(role: str) -> None:
    metadata = make_world()[0].roles[role]
    metadata.signed.unrecognized_fields |= {"ü": "\u2028\x7f/<>", "ä": ['"', "\\", "\n", "\x00"]}
    assert write_signed(metadata) == metadata.signed_bytes
    assert write_signed(Metadata(Root())) == Metadata(Root()).signed_bytes


@pytest.mark.parametrize("version", [0, -1, True, "1", None, 2**53, [], {}])
def test_versions_that_are_none(version: object) -> None:
    repository, _ = make_world()
    repository.targets().version = version  # type: ignore[assignment]
    with pytest.raises(Malformed) as caught:
        read_metadata(repository.roles["targets"].to_bytes(), Targets, "targets", 10_000)
    assert caught.value.reason == "targets_malformed"


def test_a_driver_that_errs_is_told() -> None:
    repository, machine = make_world()
    refresh = Refresh(machine.root, NOW_MS)
    with pytest.raises(Misuse):
        _ = refresh.result
    refresh.give(None)
    refresh.give(None)
    with pytest.raises(Unreachable) as caught:
        refresh.give(None)
    assert caught.value.reason == "timestamp_absent"
    assert refresh.want is None
    for act in (lambda: refresh.give(b""), lambda: refresh.result):
        with pytest.raises(Misuse):
            act()
    with pytest.raises(Misuse):
        Search(TrustedSet(machine.root, NOW_MS), IMAGE)
    trusted = machine.refresh(repository.answer)
    for turn in (trusted.accept_root, trusted.accept_timestamp, trusted.accept_snapshot):
        with pytest.raises(Misuse):
            turn(b"")


def test_files_enter_in_their_order_only() -> None:
    repository, machine = make_world()
    fresh = TrustedSet(machine.root, NOW_MS)
    with pytest.raises(Misuse):
        fresh.accept_timestamp(repository.files["timestamp.json"])
    fresh.close_roots()
    with pytest.raises(Misuse):
        fresh.accept_snapshot(repository.files["2.snapshot.json"])
    with pytest.raises(Misuse):
        fresh.accept_targets(repository.files["2.targets.json"], "targets", "root")


def test_a_want_says_how_much_it_takes() -> None:
    repository, machine = make_world()
    repository.publish("timestamp")
    seen: dict[str, Want] = {}

    def answer(want: Want) -> bytes | None:
        seen[want.role] = want
        return repository.answer(want)

    Machine.make(repository).find(answer, IMAGE)
    assert seen["root"].max_bytes == limits.MAX_ROOT_BYTES and seen["root"].may_be_absent
    assert seen["timestamp"].max_bytes == limits.MAX_TIMESTAMP_BYTES
    assert seen["snapshot"].max_bytes == len(repository.files["2.snapshot.json"])
    assert not any(seen[role].may_be_absent for role in ("timestamp", "snapshot", "targets"))
    assert machine.root == repository.files["1.root.json"]
