"""Schemathesis over the API as its own document describes it: well-formed requests and bad ones.

The event stream is left out (it never ends), and signing out (it would end the run's session).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.system.test_api_server import run_api

SECONDS = 20
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
CONFIG = """
[generation]
allow-x00 = false

# What it generates may be larger than a route takes: to be told so (413) is to be refused.
[checks.negative_data_rejection]
expected-statuses = [
  "400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429",
]
"""


def run_schemathesis(
    url: str, secret: str, directory: Path, seconds: int
) -> subprocess.CompletedProcess[str]:
    """Run it against a server and return what it said. The credential is an admin's."""
    (directory / "schemathesis.toml").write_text(CONFIG)
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/openapi.json"),
            *("--header", f"Authorization: Bearer {secret}"),
            *("--phases", "coverage,fuzzing", "--max-time", str(seconds)),
            *("--checks", ",".join(CHECKS), "--continue-on-failure"),
            *("--exclude-operation-id", "stream_events", "--exclude-operation-id", "end_session"),
            *("--warnings", "off", "--no-color"),
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=seconds * 3,
        check=False,
    )


def test_what_is_not_public_answers_nobody(tmp_path: Path) -> None:
    with run_api(tmp_path) as api:
        paths = httpx.get(f"{api.url}/api/openapi.json").json()["paths"]
        closed = {
            f"{method} {path}": httpx.request(method, f"{api.url}{path}").status_code
            for path, operations in paths.items()
            for method, operation in operations.items()
            if operation.get("security") != []
        }
        assert len(closed) > 10
        assert set(closed.values()) == {401}, closed
        assert api.recorder.count == 0


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 3 + 30)
def test_the_api_keeps_to_its_document(tmp_path: Path) -> None:
    with run_api(tmp_path) as api:
        secret = api.sign_in()
        told = run_schemathesis(api.url, secret, tmp_path, SECONDS)
        assert told.returncode == 0, told.stdout[-12_000:] + told.stderr[-2_000:]
        # Made-up requests may have ended this very session; the server must answer all the same.
        fresh = {"authorization": f"Bearer {api.sign_in()}"}
        assert httpx.get(f"{api.url}/api/v1/session", headers=fresh).status_code == 200
        assert api.recorder.count > 10
