"""The play of updates in a demo, as one command: a good release, a broken one; and then the thief.

Real server, real broker, the real agent and the real program on this very machine.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.system.test_demo import BIN, RunningDemo, running_demo

PLAY_SECONDS = 200
pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]
RULES = {
    "unsigned-release": "not_released",
    "another-product": "director_differs",
    "older-release": "older_counter",
    "unapproved-release": "not_approved",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with running_demo(tmp_path_factory.mktemp("release") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def played(demo: RunningDemo) -> dict[str, Any]:
    """Run the play once. The drill before it has nothing to offer, and says so."""
    before = steal(demo)
    assert before.pop("releases") == "skipped"
    assert set(before.values()) == {"refused"}
    assert "<title>The machine's own page</title>" in ask(demo, "/")
    shown: dict[str, Any] = run(demo, "demo", "release")
    return shown


def run(demo: RunningDemo, *words: str) -> Any:
    done = subprocess.run(
        [BIN / "fleetward", *words, "--data", demo.data, "--json"],
        capture_output=True, text=True, timeout=PLAY_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def steal(demo: RunningDemo, what: str = "outcome") -> dict[str, str]:
    """Run the drill; return the outcomes, or the rules, by attack."""
    drill = run(demo, "drill", "stolen-server", "--device", demo.this)
    assert drill["state"] == "passed", drill
    return {step["id"]: step[what] for step in drill["steps"]}


def ask(demo: RunningDemo, path: str) -> str:
    url = f"http://127.0.0.1:{demo.ready['page_port']}{path}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_the_good_one_runs_everywhere_and_the_broken_one_nowhere(
    demo: RunningDemo, played: dict[str, Any]
) -> None:
    good, broken = played["good"], played["broken"]
    assert (good["version"], good["serves"]) == ("1.1", "1.1")
    assert good["rollout"]["committed"] == good["rollout"]["machines"] == 3
    assert (broken["rollout"]["state"], broken["rollout"]["exposure"]) == ("held", 1)
    assert broken["serves"] == "1.1"
    assert "connection refused" in broken["reason"]
    assert "<h1>Ward display 1.1</h1>" in ask(demo, "/")
    current = demo.data / "devices/this-machine/software/ward-display/app/current"
    assert 'VERSION = "1.1"' in (current / "app.py").read_text()


def test_the_server_has_it_in_the_machines_own_words(
    demo: RunningDemo, played: dict[str, Any]
) -> None:
    shown = demo.get(f"/updates/devices/{demo.this}?per_page=50")
    said = [(r["version"], r["outcome"]) for r in reversed(shown["items"])]
    assert [(v, o) for v, o in said if v in ("1.1", "1.2")] == [
        ("1.1", "accepted"), ("1.1", "installed"), ("1.1", "committed"),
        ("1.2", "accepted"), ("1.2", "installed"), ("1.2", "rolled_back"),
    ]  # fmt: skip
    (product,) = shown["products"]
    assert (product["version"], product["target"], product["outcome"]) == (
        "1.1", "1.2", "rolled_back",
    )  # fmt: skip
    assert product["words"] == played["broken"]["reason"]


def test_the_thief_of_the_server_gets_no_software_in(
    demo: RunningDemo, played: dict[str, Any]
) -> None:
    rules = steal(demo, "reason")
    assert {name: rules[name] for name in RULES} == RULES
    assert ask(demo, "/healthz").strip() == played["good"]["serves"]


def test_another_play_goes_on_with_the_next_version(
    demo: RunningDemo, played: dict[str, Any]
) -> None:
    again = run(demo, "demo", "release", "--only", "good")
    assert again["good"]["version"] == "1.3"
    assert again["good"]["serves"] == "1.3"
    cancelled = demo.get(f"/updates/rollouts/{played['broken']['rollout']['id']}")
    assert cancelled["rollout"]["state"] == "cancelled"
