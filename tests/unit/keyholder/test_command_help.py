"""Every command says what it does and shows an example, and its misuse ends with 2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fleetward.cli.main import COMMANDS, app
from fleetward.device.cli import main as agent


def leaves(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    names = command.list_commands(None) if hasattr(command, "list_commands") else []
    if not names:
        yield path
    for name in names:
        yield from leaves(command.get_command(None, name), *path, name)


EVERY = sorted(leaves(typer.main.get_command(app)))


def test_all_commands_are_found() -> None:
    assert {path[0] for path in EVERY} == set(COMMANDS)
    assert len(EVERY) > 40


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_shows_an_example_in_plain_text(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    group, verb = path[0], path[-1]
    assert f" fleetward {group}" in words.replace("Usage: fleetward", "", 1) or (
        f" fleetward owner {verb}" in words  # `device confirm` and `retire` are the owner's
    )
    assert "│" not in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["device", "list"],
        ["device", "list", "--state", "happy"],
        ["device", "list", "--need", "love"],
        ["event", "list", "--since", "yesterday"],
        ["event", "list", "--limit", "0"],
        ["token", "create", "--role", "king", "--ttl", "600"],
        ["token", "create", "--role", "viewer", "--ttl", "1"],
        ["up", "--data", "x", "--port", "99999"],
        ["owner", "init", "--name", "x", "--person", "y"],
        ["owner", "witness", "sign", "--folder", "x"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_misuse_ends_with_two_and_says_what_was_expected(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


@pytest.mark.parametrize(
    "words", [["join"], ["run"], ["status"], ["journal", "verify"], ["install"], ["uninstall"]]
)
def test_the_agents_help_shows_an_example(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        agent([*words, "--help"])
    assert left.value.code == 0
    assert f"example: fleetward-agent {' '.join(words)}" in capsys.readouterr().out
