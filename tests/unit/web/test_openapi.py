"""The document says what the application does."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

Client = TestClient[Litestar]


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    client.headers.pop("authorization")
    answer = client.get("/api/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_errors_are_documented_as_problem_details(document: dict[str, Any]) -> None:
    operation = document["paths"]["/api/v1/devices/{device_id}/quarantine"]["post"]
    assert set(operation["responses"]) == {
        *("201", "400", "401", "403", "404", "409", "413", "415", "422", "429", "500", "503")
    }
    for status, response in operation["responses"].items():
        if status != "201":
            assert response["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }
    problem = document["components"]["schemas"]["Problem"]
    assert set(problem["required"]) == {"type", "title", "status", "detail", "reason"}


def test_unknown_fields_are_documented_as_refused(document: dict[str, Any]) -> None:
    wish = document["components"]["schemas"]["Wish"]
    assert wish["additionalProperties"] is False
    assert wish["properties"]["count"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 9,
        "default": 0,
    }


def test_parameters_have_their_bounds_and_names(document: dict[str, Any]) -> None:
    operation = document["paths"]["/api/v1/devices"]["get"]
    parameters = {each["name"]: each for each in operation["parameters"]}
    assert parameters["per_page"]["schema"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 500,
        "default": 50,
    }
    assert parameters["state"]["schema"] == {"type": "string"}
    assert operation["summary"] == "List devices."
    row = document["components"]["schemas"]["Row"]
    assert "pattern" in row["properties"]["at"]


def test_the_document_is_openapi_3_1_with_a_bearer(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["security"] == [{"bearer": []}]
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert sorted(operation["operationId"] for operation in operations) == [
        "list_devices",
        "quarantine_device",
        "readmit_device",
        "show_today",
        "stream_events",
    ]
    assert "/api/openapi.json" not in document["paths"]
    stream = document["paths"]["/api/v1/stream"]["get"]
    assert list(stream["responses"]["200"]["content"]) == ["text/event-stream"]
