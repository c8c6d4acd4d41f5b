"""A repository made to hurt: without end, huge, deep, in circles, with names that lead elsewhere.

Claim: judging it costs a machine a bounded amount of time and memory, and no name that somebody
else chose becomes a path outside of where it belongs.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest
from tests.adversary.release_repository import DAY_MS, NOW_MS, TOP, Machine, Repository
from tests.release_world import IMAGE, edit, make_world, refused, restate

from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.releases import limits
from fleetward.trust.releases.steps import Want
from fleetward.trust.releases.target import ArtifactCheck

MOST_SECONDS = 3.0
"""For one refusal, on a slow and busy machine."""


def test_a_file_that_never_ends() -> None:
    """A driver stops a byte after the most; that byte is refused, whatever it was."""
    repository, machine = make_world()
    repository.publish(*TOP)
    for role in ("root", "timestamp"):

        def endless(want: Want, role: str = role) -> bytes | None:
            return bytes(want.max_bytes + 1) if want.role == role else repository.answer(want)

        with pytest.raises(Malformed) as caught:
            machine.refresh(endless)
        assert caught.value.reason == f"{role}_too_large"


def test_a_file_longer_than_was_signed() -> None:
    """Where the length was signed, a byte more is one too many, and no more is asked for."""
    repository, machine = make_world()
    repository.publish_all("targets")
    stated = repository.snapshot.meta["targets.json"].length
    most: list[int] = []

    def lie(want: Want) -> bytes | None:
        data = repository.answer(want)
        if want.role != "targets" or data is None:
            return data
        most.append(want.max_bytes)
        return data + b" "

    with pytest.raises(Malformed) as caught:
        machine.refresh(lie)
    assert caught.value.reason == "targets_too_large"
    assert most == [stated]


def test_a_huge_length_that_is_truly_signed() -> None:
    repository, machine = make_world()
    repository.publish("targets")
    repository.snapshot.meta["targets.json"].length = limits.MAX_TARGETS_BYTES + 1
    repository.publish("snapshot", "timestamp")
    with pytest.raises(Refused) as caught:
        machine.refresh(repository.answer)
    assert caught.value.reason == "announced_too_large"


BOMBS: dict[str, Callable[[int], bytes]] = {
    "nothing": lambda most: b"",
    "zeros": bytes,
    "deep lists": lambda most: b"[" * most,
    "deep objects": lambda most: (b'{"a":' * most)[:most],
    "many lists": lambda most: b"[" + b"[]," * (most // 3 - 2) + b"[]]",
    "many integers": lambda most: b"[" + b"1," * (most // 2 - 2) + b"1]",
    "one integer": lambda most: b'{"signatures":[],"signed":' + b"9" * 5000 + b"}",
    "a float": lambda most: b'{"signatures":[],"signed":{"_type":"timestamp","version":1.0}}',
    "no number": lambda most: b'{"signatures":[],"signed":NaN}',
    "a key twice": lambda most: b'{"signatures":[],"signatures":[],"signed":{}}',
    "no object": lambda most: b"[]",
    "invalid UTF-8": lambda most: b'{"signatures":[],"signed":"\xff"}',
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_bytes_made_to_hurt(bomb: str, role: str) -> None:
    """The two files that nothing signed announces: whatever comes is judged in bounded time."""
    repository, machine = make_world()

    def lie(want: Want) -> bytes | None:
        return BOMBS[bomb](want.max_bytes) if want.role == role else repository.answer(want)

    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            machine.refresh(lie)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < MOST_SECONDS
    assert peak < 16 * 1024**2


def test_a_thousand_keys_and_signatures_are_not_checked() -> None:
    repository, machine = make_world()
    repository.publish("timestamp")
    data = repository.files["timestamp.json"]
    more = [{"keyid": f"{n:064x}", "sig": "00" * 64} for n in range(limits.MAX_ROLE_KEYS)]
    repository.files["timestamp.json"] = edit(data, lambda d: d["signatures"].extend(more[:60]))
    machine.refresh(repository.answer)  # a few that mean nothing hurt nobody
    repository.publish("timestamp")
    data = repository.files["timestamp.json"]
    repository.files["timestamp.json"] = edit(data, lambda d: d["signatures"].extend(more))
    refused(Malformed, "too_many_keys", lambda: machine.refresh(repository.answer), machine)


def test_delegations_in_a_circle_end() -> None:
    repository, machine = make_world()
    repository.delegate("targets", "a", "x/*", ends=False)
    repository.delegate("a", "b", "x/*", ends=False)
    repository.delegate("b", "a", "x/*", ends=False)
    repository.delegate("b", "b", "x/*", ends=False)
    repository.publish_all("a", "b", "targets")
    assert machine.find(repository.answer, "x/1") is None
    assert machine.asked[-2:] == ["1.a.json", "1.b.json"]


def test_deep_delegations_are_refused() -> None:
    repository, machine = make_world()
    above = "targets"
    names = [f"deep-{n}" for n in range(limits.MAX_DELEGATION_DEPTH + 1)]
    for name in names:
        repository.delegate(above, name, "x/*")
        above = name
    repository.add_target(above, "x/1", b"deep")
    repository.publish_all(*names, "targets")
    with pytest.raises(Refused) as caught:
        machine.find(repository.answer, "x/1")
    assert caught.value.reason == "delegation_too_deep"


def test_many_delegations_are_refused() -> None:
    repository, machine = make_world()
    names = [f"wide-{n}" for n in range(limits.MAX_DELEGATIONS + 1)]
    for name in names:
        repository.delegate("targets", name, "x/*", ends=False)
    repository.publish_all(*names, "targets")
    machine.asked.clear()
    with pytest.raises(Refused) as caught:
        machine.find(repository.answer, "x/1")
    assert caught.value.reason == "too_many_delegations"
    assert len(machine.asked) == 4 + limits.MAX_DELEGATIONS


def test_patterns_made_to_hurt() -> None:
    """Whoever may delegate has many patterns tried, or long ones."""
    repository, machine = make_world()
    many = [f"x*{n}*" for n in range(limits.MAX_PATTERNS_TRIED + 1)]
    slow = ["x" + "*a" * 200 + "*b"] * 50
    long = ["x" * (limits.MAX_PATTERN_CHARACTERS + 1)]
    cases = ((many, "too_many_patterns"), (slow, None), (long, "pattern_too_long"))
    for patterns, reason in cases:
        repository.delegate("pump", "below", *patterns, ends=False)
        repository.delegate("targets", "pump", "x*", ends=False)
        repository.publish_all("below", "pump", "targets")
        began = time.monotonic()
        if reason is None:
            assert machine.find(repository.answer, "x" + "a" * 120) is None
        else:
            with pytest.raises((Malformed, Refused)) as caught:
                machine.find(repository.answer, "x1")
            assert caught.value.reason == reason
        assert time.monotonic() - began < MOST_SECONDS


def test_two_delegators_with_one_role_name() -> None:
    """Both delegate to `release`, each with a key of its own; one of them signed.

    What is believed by way of the one is not believed by way of the other: not in the same set of
    metadata, and not from what was kept.
    """
    repository, machine = make_world()
    for side in ("a", "b"):
        repository.delegate("targets", side, f"{side}/*")
        repository.delegate(side, "release", f"{side}/*")
    repository.add_target("release", "a/1", b"true")
    repository.add_target("release", "b/1", b"evil")
    repository.signers["release"] = repository.signers["release"][:1]
    repository.publish_all("release", "a", "b", "targets")
    assert machine.find(repository.answer, "a/1")
    kept = machine.kept["release.json"]
    with pytest.raises(Untrusted) as caught:
        machine.find(repository.answer, "b/1")
    assert caught.value.reason == "delegated_threshold"
    assert machine.kept["release.json"] == kept


@pytest.mark.parametrize("name", ["root", "timestamp", "snapshot", "targets"])
def test_no_delegation_takes_the_name_of_a_top_level_role(name: str) -> None:
    """Else a product's key could replace the root that a machine kept."""
    repository, machine = make_world()
    version = repository.roles["pump"].signed.version + 1
    repository.roles["pump"].signed.version = version
    below = {"keyids": [], "name": "fine", "paths": ["*"], "terminating": True, "threshold": 1}
    repository.targets("pump").unrecognized_fields["delegations"] = {"keys": {}, "roles": [below]}
    repository.serve("pump", repository.sign("pump"))
    restate(repository, "pump")
    assert machine.find(repository.answer, IMAGE)
    repository.roles["pump"].signed.version += 1
    below["name"] = name
    repository.serve("pump", repository.sign("pump"))
    restate(repository, "pump")
    with pytest.raises(Malformed) as caught:
        machine.find(repository.answer, IMAGE)
    assert caught.value.reason == "delegated_malformed"


@pytest.mark.parametrize("role", ["../root", "a/b", "%2e%2e", "\0", "C:\\x", "..", "root.json"])
def test_role_names_lead_nowhere(role: str) -> None:
    repository, machine = make_world()
    repository.delegate("targets", role, "x")
    repository.add_target(role, "x", b"x")
    repository.publish_all(role, "targets")
    assert machine.find(repository.answer, "x")
    assert all(set(name) <= PLAIN for name in (*machine.kept, *machine.asked))
    assert not {"root.json", "../root.json"} & set(machine.kept)


PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~%")


@pytest.mark.parametrize(
    "path",
    [
        *("../x", "a/../x", "/etc/passwd", "a//b", "a/", "", ".", "./a", ".ssh/keys", "-rf"),
        *(
            "a b",
            "a;b",
            "$(x)",
            "a|b",
            "`x`",
            "a\nb",
            "a\\b",
            "a\0b",
            "~root",
            "ä",
            "a?b",
            "x" * 600,
        ),
        *("a%2fb", "a&b", "a'b", 'a"b', "a:b", "*"),
    ],
)
def test_paths_that_no_machine_may_use(path: str) -> None:
    """A maker's key that was stolen signs a path that leads out of the folder."""
    repository, machine = make_world()
    repository.add_target("targets", path, b"evil")
    repository.publish_all("targets")
    with pytest.raises(Refused) as caught:
        machine.find(repository.answer, path)
    assert caught.value.reason == "bad_target_path"


def test_a_file_that_is_not_the_signed_one() -> None:
    repository, machine = make_world()
    target = machine.find(repository.answer, IMAGE)
    assert target is not None
    for served, reason in ((b"onf", "wrong_hash"), (b"on", "wrong_length"), (b"", "wrong_length")):
        check = ArtifactCheck(target)
        check.update(served)
        with pytest.raises(Untrusted) as caught:
            check.finish()
        assert caught.value.reason == reason
    check = ArtifactCheck(target)
    with pytest.raises(Untrusted) as caught:
        check.update(b"more than was signed")
    assert caught.value.reason == "wrong_length"


def test_hashes_that_prove_nothing() -> None:
    """A target known by a hash that can be forged, or that nobody knows, is not handed out."""
    for name in ("md5", "sha1", "none"):
        repository, machine = make_world()
        file = repository.targets("pump").targets[IMAGE]
        file.hashes[name] = "00"
        repository.publish_all("pump")
        with pytest.raises(Malformed) as caught:
            machine.find(repository.answer, IMAGE)
        assert caught.value.reason == "bad_hash"


def test_a_clock_in_1970_forgets_nothing() -> None:
    """Nothing looks expired, so a frozen state is believed, but never one older than was seen."""
    repository, machine = make_world()
    old = dict(repository.files)
    repository.add_target("pump", "pump/1.1.img", b"two")
    repository.publish_all("pump")
    assert machine.find(repository.answer, "pump/1.1.img")
    repository.files = old
    refused(Untrusted, "rollback_timestamp", lambda: machine.refresh(repository.answer, 0), machine)


def test_a_clock_ten_years_ahead_changes_nothing() -> None:
    """All looks expired; nothing is believed, nothing forgotten, and the right time mends it."""
    repository, machine = make_world()
    ahead = NOW_MS + 3653 * DAY_MS
    refused(Refused, "root_expired", lambda: machine.find(repository.answer, IMAGE, ahead), machine)
    assert machine.find(repository.answer, IMAGE)


def test_a_server_that_withholds() -> None:
    """What is not there is said to be unreachable, and is asked for again the next time."""
    for missing in ("timestamp.json", "3.snapshot.json", "3.targets.json", "2.pump.json"):
        repository, machine = make_world()
        repository.publish_all("pump", "targets")
        held = repository.files.pop(missing)
        with pytest.raises(Unreachable):
            machine.find(repository.answer, IMAGE)
        repository.files[missing] = held
        assert machine.find(repository.answer, IMAGE)


def test_a_chain_of_roots_is_followed_so_far_and_no_further() -> None:
    """A machine that was off for twenty years catches up; nobody keeps it busy for ever."""
    repository = Repository.make(root_keys=1, threshold=1)
    machine = Machine.make(repository)
    for _ in range(limits.MAX_ROOT_ROTATIONS + 2):
        repository.publish("root")
    machine.refresh(repository.answer)
    assert machine.version("root") == limits.MAX_ROOT_ROTATIONS + 1
    machine.refresh(repository.answer)
    assert machine.version("root") == limits.MAX_ROOT_ROTATIONS + 3


def test_a_root_that_skips_a_version() -> None:
    repository, machine = make_world()
    repository.publish("root", "root")
    repository.files["2.root.json"] = repository.files["3.root.json"]
    refused(Untrusted, "root_wrong_version", lambda: machine.refresh(repository.answer), machine)


def test_one_kind_of_file_does_not_serve_as_another() -> None:
    """A snapshot that the timestamp's key signed as well is no timestamp."""
    repository, machine = make_world()
    repository.files["timestamp.json"] = repository.sign(
        "snapshot", repository.signers["timestamp"]
    )
    refused(Malformed, "timestamp_wrong_type", lambda: machine.refresh(repository.answer), machine)


@pytest.mark.parametrize("scheme", ["pgp+rsa-pkcsv1.5", "rsa-pkcs1v15-sha256"])
def test_keys_of_other_kinds_sign_for_nobody(scheme: str) -> None:
    """The library knows keys whose check is no plain signature; a file that names one is refused.

    The file is truly signed, and the key is no signer's.
    """
    repository, machine = make_world()
    targets = repository.targets()
    assert targets.delegations is not None
    public: Any = {"public": {"e": "1", "n": "1"}} if scheme.startswith("pgp") else "x"
    raw = {"keytype": "rsa", "scheme": scheme, "keyval": {"private": "", "public": public}}
    if scheme.startswith("pgp"):
        raw |= {"method": scheme, "hashes": ["pgp+SHA2"], "keyval": public | {"private": ""}}
    targets.delegations.keys["ab"] = Key.from_dict("ab", deepcopy(raw))
    repository.publish_all("targets")
    with pytest.raises(Malformed) as caught:
        machine.refresh(repository.answer)
    assert caught.value.reason == "targets_malformed"


def test_what_was_kept_is_judged_again() -> None:
    """Kept files that were cut, changed or swapped are fetched again, and nothing worse."""
    repository, machine = make_world()
    good = dict(machine.kept)
    for name in sorted(good):
        for bad in (
            b"",
            good[name][:-9],
            good[name].replace(b'"version"', b'"versioN"'),
            b"[" * 9**6,
        ):
            machine.kept = {**good, name: bad}
            assert machine.find(repository.answer, IMAGE)
            assert machine.kept == good, name
    machine.kept = dict.fromkeys(good, good["pump.json"])
    assert machine.find(repository.answer, IMAGE)
    assert machine.kept == good
