"""A client of the small application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.web.floor import HOST, MemoryRecorder, make_app


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


@pytest.fixture
def client(tmp_path: Path, recorder: MemoryRecorder) -> Iterator[TestClient[Litestar]]:
    with TestClient(
        make_app(tmp_path, recorder), base_url=f"http://{HOST}", raise_server_exceptions=False
    ) as opened:
        opened.headers["authorization"] = "Bearer admin"
        yield opened
