"""The public Uptane vectors as their own server hands them out, over plain HTTP on loopback.

One vector is a row of steps; each holds what the two repositories serve then, and what has to come
of it. All are read before any is judged, since a signature can name a key that only another
vector shows.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

TIMEOUT_SECONDS: Final = 60
MOST_STEPS: Final = 10
MOST_ROOTS: Final = 10
TOP_FILES: Final = {
    "director": ("targets",), "image_repo": ("timestamp", "snapshot", "targets"),
}  # fmt: skip

Document = dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """What one repository's side of a step has to end in: error names, empty where it is good."""

    update: str
    targets: dict[str, str]


@dataclass(frozen=True)
class Step:
    """What is served at one moment, by repository and name of the file without `.json`."""

    served: dict[str, dict[str, Document]]
    expected: dict[str, Expected]

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Return repository and error of all that must fail; nothing for a good step."""
        found = []
        for repository, expected in self.expected.items():
            names = [expected.update, *expected.targets.values()]
            found += [(repository, name) for name in names if name]
        return found


@dataclass(frozen=True)
class Vector:
    """One vector: its name and its steps."""

    name: str
    steps: tuple[Step, ...]


class VectorServer:
    """The program of the vectors, listening on loopback."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost"):
            raise SystemExit("Expected the address of the vectors' server on loopback, by http.")
        self._line = http.client.HTTPConnection(
            parts.hostname, parts.port or 80, timeout=TIMEOUT_SECONDS
        )

    def read_all(self) -> list[Vector]:
        """Read every vector that there is."""
        names = self._get("/")
        assert isinstance(names, list)
        return [self._read_vector(name) for name in names]

    def _read_vector(self, name: str) -> Vector:
        self._ask("POST", f"/{name}/reset")
        steps: list[Step] = []
        while (said := self._ask("POST", f"/{name}/step")) is not None:
            assert len(steps) < MOST_STEPS, name
            served = {each: self._read_repository(name, each) for each in TOP_FILES}
            steps.append(Step(served, {each: _read_expected(said[each]) for each in TOP_FILES}))
        return Vector(name, tuple(steps))

    def _read_repository(self, name: str, repository: str) -> dict[str, Document]:
        found: dict[str, Document] = {}
        above = f"/{name}/{repository}"
        for number in range(1, MOST_ROOTS):
            root = self._get(f"{above}/{number}.root.json")
            if root is not None:
                found[f"{number}.root"] = root
        for role in TOP_FILES[repository]:
            found[role] = self._get(f"{above}/{role}.json")
        for delegated in list_delegations(found["targets"]):
            document = self._get(f"{above}/delegations/{delegated}.json")
            if document is not None:
                found[delegated] = document
        return found

    def _get(self, path: str) -> Any:
        return self._ask("GET", path)

    def _ask(self, method: str, path: str) -> Any:
        """Return what the server answers, or None where it has nothing."""
        self._line.request(method, path)
        answer = self._line.getresponse()
        data = answer.read()
        return json.loads(data) if answer.status == 200 else None


def list_delegations(targets: Document) -> list[str]:
    """Return the names of the roles that a targets file delegates to."""
    return [role["name"] for role in targets["signed"].get("delegations", {}).get("roles", [])]


def _read_expected(said: Document) -> Expected:
    targets = {name: each.get("err", "") for name, each in said["targets"].items()}
    return Expected(said["update"].get("err", ""), targets)
