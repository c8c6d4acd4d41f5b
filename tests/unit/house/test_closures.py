"""What a program can import is a checked-in list; `make closures` writes it again."""

from __future__ import annotations

import sys

import grimp
import pytest
from tools import closures

CRYPTOGRAPHY = frozenset({"cryptography", "_cffi_backend", "_openssl"})
"""One package under the names of its compiled parts."""

AGENT_PACKAGES = CRYPTOGRAPHY | {"msgspec", "nats", "pyhpke", "typing_extensions"}
"""All that may be loaded on a machine; msgspec takes typing_extensions along where it is."""

TUF = frozenset({"securesystemslib", "tuf"})
TUF_FINDS = frozenset({"asn1crypto", "pkcs11"})
"""What securesystemslib takes along where it is installed: with the extra `hsm`, on no machine."""

GUARD_NEVER = frozenset({"asyncio", "http", "ssl", "urllib.request", "nats"})
"""What the process that holds the identity key must not load: it has no network."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return closures.build_graph()


def read_foreign(module: str) -> set[str]:
    """Name the third-party packages that a module loads."""
    loaded = closures.see_loaded(module) - closures.see_loaded(None)
    # Python's own names for how it was built differ from machine to machine.
    tops = {name.split(".")[0] for name in loaded if not name.startswith("_sysconfigdata_")}
    return tops - sys.stdlib_module_names - {closures.PACKAGE}


@pytest.mark.parametrize("name", closures.PROGRAMS)
def test_closure_is_the_checked_in_one(name: str, graph: grimp.ImportGraph) -> None:
    module = closures.PROGRAMS[name]
    path = closures.FOLDER / f"{name}.txt"
    if not closures.has_program(module):
        assert not path.exists(), f"{path.name} describes {module}, which is gone"
        pytest.skip(f"{module} is not there yet")
    assert path.is_file(), "run `make closures`, read the new list, and commit it"
    found = closures.build_closure(graph, module)
    assert found == path.read_text(encoding="utf-8"), "run `make closures`, read the difference"


def test_every_list_belongs_to_a_program() -> None:
    lists = {path.stem for path in closures.FOLDER.iterdir()}
    assert lists
    assert lists <= set(closures.PROGRAMS)


def test_trust_needs_nothing_but_cryptography(graph: grimp.ImportGraph) -> None:
    modules = sorted({"fleetward.trust"} | graph.find_descendants("fleetward.trust"))
    assert len(modules) > 5
    reached = {one for module in modules for one in closures.read_reachable(graph, module)}
    assert not [
        one
        for one in reached
        if not f"{one}.".startswith(("fleetward.trust.",)) and one != "fleetward"
    ]
    releases = {one for one in modules if one.startswith("fleetward.trust.releases")}
    assert releases
    foreign = read_foreign(", ".join(one for one in modules if one not in releases))
    assert foreign <= CRYPTOGRAPHY
    assert "cryptography" in foreign
    assert read_foreign(", ".join(sorted(releases))) - TUF_FINDS <= CRYPTOGRAPHY | TUF


def test_the_installer_loads_little() -> None:
    module = closures.PROGRAMS["installer"]
    # backports.zstd: it applies deltas, and no other program of the agent does (decision 0042).
    assert read_foreign(module) <= {"msgspec", "typing_extensions", "backports"}
    assert not closures.see_loaded(module) & GUARD_NEVER


def test_the_cache_of_a_site_loads_little() -> None:
    assert read_foreign(closures.PROGRAMS["cache"]) <= CRYPTOGRAPHY | {
        "h11", "msgspec", "typing_extensions",
    }  # fmt: skip


def test_judging_releases_loads_nothing_that_fetches() -> None:
    loaded = closures.see_loaded(
        "fleetward.trust.releases.search, fleetward.trust.releases.refresh"
    )
    assert "tuf.api.metadata" in loaded
    assert not [one for one in loaded if one.startswith(("tuf.ngclient", "urllib3", "requests"))]
    assert not loaded & GUARD_NEVER


@pytest.mark.parametrize("name", ["agent", "uplink", "collector", "session", "closer"])
def test_agent_loads_few_packages(name: str) -> None:
    module = closures.PROGRAMS[name]
    if not closures.has_program(module):
        pytest.skip(f"{module} is not there yet")
    assert read_foreign(module) <= AGENT_PACKAGES


def test_guard_alone_loads_what_judges_releases() -> None:
    foreign = read_foreign(closures.PROGRAMS["guard"])
    assert foreign - TUF_FINDS <= AGENT_PACKAGES | TUF


def test_the_server_reaches_nothing_that_judges_who_may_enter() -> None:
    listed = (closures.FOLDER / "server.txt").read_text(encoding="utf-8").splitlines()
    assert "fleetward.trust.access" in listed
    judging = ("fleetward.trust.grants", "fleetward.trust.closing", "fleetward.trust.releases")
    assert not [name for name in listed if name.startswith(judging)]
    loaded = closures.see_loaded("fleetward.server.main, fleetward.server.handlers")
    assert not [name for name in loaded if name.startswith(judging)]


def test_guard_loads_nothing_that_speaks_to_a_network() -> None:
    module = closures.PROGRAMS["guard"]
    if not closures.has_program(module):
        pytest.skip(f"{module} is not there yet")
    assert not closures.see_loaded(module) & GUARD_NEVER
