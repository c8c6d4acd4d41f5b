"""Which differences somebody should look at. Pure: differences in, findings out.

Each rule has a name that stays, a severity, and the technique of ATT&CK where that is plain. What
is said is what was found, not who did it, and not that it is bad: a technician may have been asked
for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.device.posture.compare.differ import MAX_SHOWN, Delta
from fleetward.device.posture.tools import APPROVED
from fleetward.wire.comparison import Finding, Severity


@dataclass(frozen=True, slots=True)
class Rule:
    """What a finding of this rule is called, how grave it is, and what it may serve."""

    name: str
    severity: Severity
    attack: tuple[str, ...] = ()


NEW_ROOT: Final = Rule("root_user", "warning", ("T1136.001", "T1078.003"))
NEW_USER: Final = Rule("new_user", "warning", ("T1136.001",))
USER_RAISED: Final = Rule("user_changed", "warning", ("T1098",))
NEW_MEMBER: Final = Rule("group_changed", "warning", ("T1098.007",))
PASSWORD: Final = Rule("password_changed", "warning", ("T1098",))
NEW_KEY: Final = Rule("new_key", "warning", ("T1098.004",))
SUDO: Final = Rule("new_sudo_rule", "warning", ("T1548.003",))
CRON: Final = Rule("new_cron_entry", "warning", ("T1053.003",))
AT: Final = Rule("new_at_job", "warning", ("T1053.002",))
TIMER: Final = Rule("new_timer", "warning", ("T1053.006",))
SERVICE: Final = Rule("new_service", "warning", ("T1543.002",))
ENABLED: Final = Rule("service_enabled", "warning", ("T1543.002",))
BOOT: Final = Rule("boot_changed", "warning", ("T1037.004",))
PRELOAD: Final = Rule("preload_changed", "warning", ("T1574.006",))
SHELL: Final = Rule("shell_start_changed", "warning", ("T1546.004",))
PAM: Final = Rule("pam_changed", "warning", ("T1556.003",))
SSHD: Final = Rule("sshd_changed", "warning", ("T1098.004", "T1021.004"))
RAISED: Final = Rule("new_setuid_file", "warning", ("T1548.001",))
SOCKET: Final = Rule("new_listening_socket", "warning", ("T1571",))
MODULE: Final = Rule("new_kernel_module", "warning", ("T1547.006",))
TOOL: Final = Rule("remote_tool", "warning", ("T1219", "T0886"))
APPROVED_TOOL: Final = Rule("approved_remote_tool", "info", ("T1219",))
APPROVALS: Final = Rule("approvals_changed", "warning", ())
TIMES: Final = Rule("time_set_back", "warning", ("T1070.006",))
RULES: Final = (
    NEW_ROOT, NEW_USER, USER_RAISED, NEW_MEMBER, PASSWORD, NEW_KEY, SUDO, CRON, AT, TIMER, SERVICE,
    ENABLED, BOOT, PRELOAD, SHELL, PAM, SSHD, RAISED, SOCKET, MODULE, TOOL, APPROVED_TOOL,
    APPROVALS, TIMES,
)  # fmt: skip
PASSING_PORTS: Final = 32768
"""From here on the kernel gives ports to whoever asks for any (ip_local_port_range)."""
_ORDER: Final = {"warning": 0, "notice": 1, "info": 2}
_PLACE: Final = {rule.name: place for place, rule in enumerate(RULES)}

Found = Iterator[tuple[Rule, str, str]]


def judge(deltas: Sequence[Delta]) -> list[Finding]:
    """Return the findings, the gravest first."""
    found: dict[tuple[str, str], Finding] = {}
    for delta in deltas:
        for rule, words, evidence in _JUDGES.get(delta.kind, _nothing)(delta):
            finding = Finding(
                rule=rule.name,
                severity=rule.severity,
                words=_shorten(words),
                evidence=_shorten(evidence),
                attack=rule.attack,
            )
            found.setdefault((finding.rule, finding.words), finding)
    return sorted(found.values(), key=lambda f: (_ORDER[f.severity], _PLACE[f.rule], f.words))


def _nothing(delta: Delta) -> Found:
    del delta
    yield from ()


def _user(delta: Delta) -> Found:
    if delta.change == "removed":
        return
    name, now = delta.name, delta.after
    evidence = delta.show().after
    if delta.change == "added":
        if now[0] == "0":
            yield NEW_ROOT, f"A new user {name} has all rights of root", evidence
        else:
            yield NEW_USER, f"A new user {name}", evidence
        return
    was = delta.before
    if now[0] == "0" and was[0] != "0":
        yield NEW_ROOT, f"The user {name} has all rights of root now", evidence
    if now[2] != was[2] or now[0] != was[0]:
        yield USER_RAISED, f"The user {name} has another id or shell", evidence
    if now[4:] != was[4:]:
        if now[4] == "empty":
            yield PASSWORD, f"The user {name} needs no password now", evidence
        elif now[4] == "set":
            yield PASSWORD, f"The user {name} has another password", evidence


def _group(delta: Delta) -> Found:
    was = set(delta.before[1].split(", ")) if len(delta.before) > 1 else set()
    now = set(delta.after[1].split(", ")) if len(delta.after) > 1 else set()
    new = ", ".join(sorted(now - was - {""}))
    if new and delta.change != "removed":
        yield NEW_MEMBER, f"New in the group {delta.name}: {new}", delta.show().after


def _key(delta: Delta) -> Found:
    if delta.change == "removed":
        return
    user, path, mark, options, comment = (*delta.after, "", "", "", "", "")[:5]
    verb = "A new key opens" if delta.change == "added" else "A key with other options opens"
    evidence = " ".join(part for part in (path, mark, options, comment) if part)
    yield NEW_KEY, f"{verb} the user {user}", evidence


def _unit(delta: Delta) -> Found:
    if delta.change == "removed":
        return
    name = delta.name.rsplit("/", 1)[-1]
    verb = "A new" if delta.change == "added" else "A changed"
    runs = f"{delta.name}: {delta.after[1]}" if delta.after[1:] and delta.after[1] else delta.name
    if name.endswith((".timer", ".path", ".socket")):
        yield TIMER, f"{verb} unit that starts others: {name}", runs
    elif name.endswith((".service", ".conf")):
        yield SERVICE, f"{verb} service: {name}", runs


def _start(delta: Delta) -> Found:
    if delta.change != "removed":
        name = delta.name.rsplit("/", 1)[-1]
        yield ENABLED, f"{name} is started by the machine itself now", delta.name


def _socket(delta: Delta) -> Found:
    if delta.change == "removed" or delta.after[:1] == ("loopback",):
        return
    if delta.change == "changed" and delta.before[:2] == delta.after[:2]:
        return
    if _is_passing(delta.name):
        return
    exposure, program = (*delta.after, "", "")[:2]
    reach = "from the local network" if exposure == "lan" else "from every network"
    who = program or "a program that is not visible"
    words = f"{who} answers on {delta.name.replace(' 0.0.0.0', '')}, reachable {reach}"
    yield SOCKET, words, delta.show().after


def _is_passing(name: str) -> bool:
    """Say whether it is a UDP socket as every program that asks for a name has for a moment."""
    port = name.rsplit(" ", 1)[-1]
    return name.startswith("udp ") and port.isdecimal() and int(port) >= PASSING_PORTS


def _tool(delta: Delta) -> Found:
    if delta.change == "removed":
        return
    name, how, by, reason = (*delta.after, "", "", "", "")[:4]
    was_by = delta.before[2] if len(delta.before) > 2 else ""
    # An approval counts from the look after the one in which it came: nobody approves his own.
    if by and was_by == by:
        yield APPROVED_TOOL, f"{name}, approved by {by}", f"{how} ({reason})"
    elif by:
        words = f"{name}, with an approval by {by} that came at the same time"
        yield TOOL, words, f"{how} ({reason})"
    else:
        yield TOOL, f"{name} is here and nobody approved it", how


def _file(delta: Delta) -> Found:
    if delta.name == APPROVED:
        yield APPROVALS, f"Which remote tools are approved has been {delta.change}", delta.name
    if delta.after and "its time set back" in delta.after[0]:
        words = f"{delta.name} has another content and an old time"
        yield TIMES, words, delta.name


def _named(rule: Rule, added: str, changed: str) -> Callable[[Delta], Found]:
    """Return a judge that says one of two sentences with the name of what it is about."""

    def judge_one(delta: Delta) -> Found:
        if delta.change == "added":
            yield rule, f"{added} {delta.name}", delta.name
        elif delta.change == "changed":
            yield rule, f"{changed} {delta.name}", delta.show().after or delta.name

    return judge_one


def _preload(delta: Delta) -> Found:
    verb = "no longer loads" if delta.change == "removed" else "loads"
    yield PRELOAD, f"Every program {verb} {delta.name} first", "/etc/ld.so.preload"


def _removed_too(rule: Rule, what: str) -> Callable[[Delta], Found]:
    def judge_one(delta: Delta) -> Found:
        yield rule, f"{what} was {delta.change}: {delta.name}", delta.name

    return judge_one


_JUDGES: Final[dict[str, Callable[[Delta], Found]]] = {
    "user": _user,
    "group": _group,
    "key": _key,
    "sudo": _named(SUDO, "A new rule of", "A changed rule of"),
    "cron": _named(CRON, "A new entry of cron:", "A changed script of cron:"),
    "at": _named(AT, "A new job that waits for its time:", "A changed job:"),
    "unit": _unit,
    "start": _start,
    "boot": _named(BOOT, "Runs or counts at boot now:", "Changed, and runs or counts at boot:"),
    "preload": _preload,
    "shell": _named(SHELL, "Runs at a login now:", "Changed, and runs at a login:"),
    "pam": _removed_too(PAM, "How people are let in"),
    "sshd": _removed_too(SSHD, "How the SSH server lets people in"),
    "raised": _named(
        RAISED,
        "Gives whoever starts it the rights of another now:",
        "Changed, and gives whoever starts it the rights of another:",
    ),
    "socket": _socket,
    "module": _named(MODULE, "The kernel has loaded", "The kernel has loaded another"),
    "tool": _tool,
    "file": _file,
}


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
