"""Runbooks outside a machine: made from TOML, signed by their maker, asked for, and shown.

What an approver is shown are the steps with the arguments filled in, of the very document whose
hash the request names.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fleetward.keyholder.access.server_rows import PaperRunbook
from fleetward.runtime.files import read_bounded
from fleetward.trust.access import Scope
from fleetward.trust.access_runbook import Plan, RunbookScope
from fleetward.trust.canonical import Json, from_base64url
from fleetward.trust.envelope import RoleKey, add_signatures, read_envelope, seal
from fleetward.trust.errors import Malformed, Misuse, Refused, Untrusted
from fleetward.trust.keys import PublicKey, Signer
from fleetward.trust.policy import Policy
from fleetward.trust.runbook import (
    MAX_RUNBOOK_BYTES,
    RUNBOOK_TYPE,
    Runbook,
    fill_in,
    judge_runbook,
    plan_run,
    read_runbook,
    verify_runbook,
)

MAX_TOML_BYTES: Final = 64 * 1024
_FIELDS: Final = ("name", "version", "description", "run_as", "seconds", "steps", "arguments")


def draft_runbook(toml: bytes, signer: str) -> bytes:
    """Return an unsigned runbook of what a maker wrote. Raises `Malformed`.

    `signer` is the id of the key that shall sign it: it stands in what is signed.
    """
    try:
        said: dict[str, Any] = tomllib.loads(toml.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected a runbook in TOML: {e}.", reason="bad_toml") from e
    if unknown := sorted(set(said) - set(_FIELDS)):
        raise Malformed(
            f"Expected the fields {', '.join(_FIELDS)}; {unknown[0]!r} is not one.",
            reason="unknown_field",
        )
    tables = said.pop("arguments", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise Malformed(
            "Expected each argument as a table of its own, as [arguments.day].", reason="bad_toml"
        )
    arguments: list[Json] = [{**table, "name": name} for name, table in tables.items()]
    payload = {
        "description": "",
        **said,
        "arguments": arguments,
        "signer": signer,
        "type": RUNBOOK_TYPE,
    }
    try:
        return read_runbook(seal(payload, [])).raw
    except Misuse as e:
        raise Malformed(
            "Expected text, whole numbers and lists of them in a runbook; dates and fractions have "
            "no place there.",
            reason="bad_toml",
        ) from e


def sign_runbook(data: bytes, signer: Signer) -> Runbook:
    """Return a runbook with its maker's signature. Raises `Refused` for a key it does not name."""
    runbook = read_runbook(data)
    if runbook.signer != signer.public.key_id:
        raise Refused(
            f"The runbook names {runbook.signer} as its signer, and this key is "
            f"{signer.public.key_id}. Make it anew with this key.",
            reason="another_signer",
        )
    envelope = read_envelope(data, max_bytes=MAX_RUNBOOK_BYTES)
    return verify_runbook(add_signatures(envelope, [signer]), RoleKey(signer.public, ""))


def check_runbook(data: bytes, key: PublicKey | None) -> Runbook:
    """Return a runbook that is well formed, and signed by `key` where one is given."""
    return read_runbook(data) if key is None else verify_runbook(data, RoleKey(key, ""))


def load_runbook(path: Path) -> bytes:
    """Return the bytes of a runbook's file. Raises `Unreachable`, `Refused` or `Malformed`."""
    return read_bounded(path, MAX_RUNBOOK_BYTES)


def parse_arguments(given: Iterable[str]) -> dict[str, str]:
    """Return what a person typed as `name=value`. Raises `Malformed`."""
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or name in values:
            raise Malformed(
                f"Expected each argument once, as NAME=VALUE; got {text[:80]!r}.",
                reason="bad_argument",
            )
        values[name] = value
    return values


def make_runbook_scope(runbook: Runbook, given: Mapping[str, str]) -> RunbookScope:
    """Return the scope of a run. Raises `Refused` for an argument that does not fit."""
    fill_in(runbook, given)
    return RunbookScope(runbook.digest, runbook.run_as, tuple(sorted(given.items())))


def judge_papers(
    papers: Sequence[PaperRunbook], policy: Policy, scopes: Sequence[Scope]
) -> dict[str, Runbook]:
    """Return the runbooks of a request by their digests, as its machine would take them.

    Raises what the machine would raise. One that the server does not show is not there.
    """
    found: dict[str, Runbook] = {}
    for paper in papers:
        runbook = judge_runbook(from_base64url(paper.envelope), policy)
        meant = [s for s in scopes if isinstance(s, RunbookScope) and s.digest == runbook.digest]
        if not meant:
            raise Untrusted("A runbook is shown that nobody asked for.", reason="another_runbook")
        for scope in meant:
            plan_run(runbook, scope)
        found[runbook.digest] = runbook
    return found


def require_runbooks(runbooks: Mapping[str, Runbook], scopes: Sequence[Scope]) -> None:
    """Raise `Refused` when somebody would say yes to steps that he was not shown."""
    for scope in scopes:
        if isinstance(scope, RunbookScope) and scope.digest not in runbooks:
            raise Refused(
                f"The server does not show the runbook {scope.digest[:16]}, so nobody can say what "
                "it would do. Let it be asked again with `--runbook FILE`.",
                reason="runbook_unknown",
            )


def say_scope(scope: Scope, runbooks: Mapping[str, Runbook]) -> str:
    """Say a scope to a person, with the name of its runbook where that is known."""
    runbook = runbooks.get(scope.digest) if isinstance(scope, RunbookScope) else None
    if runbook is None:
        return scope.words()
    return f"{scope.words()}: {runbook.name} {runbook.version}"


def tell_run(scope: Scope, runbooks: Mapping[str, Runbook]) -> list[str]:
    """Return what the runbook of a scope does, line by line; nothing for other scopes."""
    runbook = runbooks.get(scope.digest) if isinstance(scope, RunbookScope) else None
    if runbook is None or not isinstance(scope, RunbookScope):
        return []
    return tell_plan(runbook, plan_run(runbook, scope))


def tell_plan(runbook: Runbook, plan: Plan) -> list[str]:
    """Return what a run does, line by line."""
    many = len(plan.steps)
    lines = [f"{runbook.name} {runbook.version}: {runbook.description}".rstrip(": ")]
    lines += [f"step {n} of {many}: {shlex.join(step)}" for n, step in enumerate(plan.steps, 1)]
    return [*lines, f"as {plan.run_as}, for {plan.seconds} s at most"]


def show_runbook(runbook: Runbook) -> dict[str, Any]:
    """Return a runbook as JSON."""
    payload = read_envelope(runbook.raw, max_bytes=MAX_RUNBOOK_BYTES).payload
    return {"digest": runbook.digest, **{n: v for n, v in payload.items() if n != "type"}}
