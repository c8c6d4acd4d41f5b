"""A repository made to hurt: without end, huge, deep, in circles, with names that lead elsewhere.

Claim: judging it costs a machine a bounded amount of time and memory, and no name that somebody
else chose becomes a path outside of where it belongs.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest
from tests.adversary.release_repository import TOP, Machine, Repository
from tests.release_world import IMAGE, edit, make_world, refused, restate

from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.releases import limits
from fleetward.trust.releases.steps import Want

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
    "a float outside": lambda most: b'{"signatures":[],"x":1.5,"signed":{"_type":"root"}}',
    "a float": lambda most: b'{"signatures":[],"signed":{"_type":"timestamp","version":1.0}}',
    "no number": lambda most: b'{"signatures":[],"signed":NaN}',
    "a key twice": lambda most: b'{"signatures":[],"signatures":[],"signed":{}}',
    "no object": lambda most: b"[]",
    "invalid UTF-8": lambda most: b'{"signatures":[],"signed":"\xff"}',
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("role", ["root", "timestamp", "targets"])
def test_bytes_made_to_hurt(bomb: str, role: str) -> None:
    """Whatever comes before a signature was checked is judged in bounded time and memory.

    Nothing signed announces root and timestamp; the rest only if the maker states hashes.
    """
    repository, machine = make_world()
    repository.with_hashes = False
    repository.publish_all("targets")

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
    assert peak < 20 * 1024**2


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
