"""What an inventory shows and what needs a person. Pure: documents and times in, words out.

A property is Shown only when every piece of evidence that it needs was seen. What could not be
seen never counts for a machine, nor against it. There is no percentage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from fleetward.wire.posture import Inventory, Section, Service, Socket, can_log_in, is_visible

State = Literal["shown", "partly", "not_shown", "not_visible"]
Truth = bool | None
"""None: could not be seen."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the server knows of a machine beside its inventory. None means: not known."""

    inventory_at_ms: int
    reported_at_ms: int | None = None
    hardware_key: bool | None = None
    wall: bool | None = None
    certificate_until_ms: int | None = None
    lineage: int | None = None
    now_ms: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence, and since when it is known."""

    words: str
    as_of_ms: int
    holds: Truth


@dataclass(frozen=True, slots=True)
class Property:
    """One of the seven properties of highly secure devices."""

    id: str
    name: str
    state: State
    evidence: tuple[Evidence, ...]
    next: str


def judge_properties(inventory: Inventory | None, context: Context) -> list[Property]:
    """Judge the seven properties, in their order. Without an inventory most are not visible."""
    judged = [
        _judge_hardware_root(inventory, context),
        _judge_trusted_base(inventory, context),
        _judge_depth(inventory, context),
        _judge_compartments(inventory, context),
        _judge_certificates(inventory, context),
        _judge_renewal(inventory, context),
        _judge_failure_reports(inventory, context),
    ]
    unseen = _next_for_unseen(inventory)
    return [replace(each, next=unseen) if each.next is _UNSEEN else each for each in judged]


_UNSEEN: Final = "What was not seen."


def _next_for_unseen(inventory: Inventory | None) -> str:
    if inventory is None:
        return "Wait for its first inventory."
    if inventory.machine.root:
        return "Look at it on the machine: the agent runs as root there and finds no sign of it."
    return "Let the agent see it: run it as root on this machine."


def combine(truths: Sequence[Truth]) -> State:
    """Shown when all hold, Not shown when none does, Not visible when none was seen.

    A mixture, and any that was not seen beside one that holds, is Partly.
    """
    seen = [truth for truth in truths if truth is not None]
    if not seen:
        return "not_visible"
    if not any(seen):
        return "not_shown"
    return "shown" if all(truths) else "partly"


@dataclass(frozen=True, slots=True)
class _Step:
    """A piece of evidence and what to do where it is missing."""

    evidence: Evidence
    mend: str


def _make(number: int, name: str, steps: Sequence[_Step]) -> Property:
    state = combine([step.evidence.holds for step in steps])
    failing = [step.mend for step in steps if step.evidence.holds is False]
    hidden = [step.mend for step in steps if step.evidence.holds is None]
    after = ""
    if failing:
        after = failing[0]
    elif hidden:
        after = _UNSEEN
    shown = tuple(step.evidence for step in steps)
    return Property(f"P{number}", name, state, shown, after)


def _step(truth: Truth, words: tuple[str, str, str], at_ms: int, mend: str) -> _Step:
    """Pick the words for holds, does not hold, and not visible."""
    chosen = words[2] if truth is None else words[0] if truth else words[1]
    return _Step(Evidence(chosen, at_ms, truth), mend)


def _fact(inventory: Inventory | None, key: str) -> str | None:
    """Return the value of a fact, or None when it was not seen."""
    if inventory is None:
        return None
    for section in (inventory.kernel, inventory.disk, inventory.clock, inventory.firmware):
        for fact in section.items if section is not None else ():
            if fact.key == key:
                return fact.value
    return None


def _is(value: str | None, *good: str) -> Truth:
    return None if value is None else value in good


def _judge_hardware_root(inventory: Inventory | None, context: Context) -> Property:
    tpm = _fact(inventory, "hardware.tpm")
    at_ms = context.inventory_at_ms
    return _make(
        1,
        "Hardware root of trust",
        [
            _step(
                None if tpm is None else tpm != "absent",
                (f"It has a hardware key store: {tpm}.", "It has no hardware key store (TPM).",
                 "Whether it has a hardware key store is not visible."),
                at_ms,
                "Choose hardware with a TPM 2.0; until then a copy of the disk copies the "
                "identity.",
            ),
            _step(
                context.hardware_key,
                ("Its identity key is held by hardware.",
                 "Its identity key is a file: a copy of the disk would copy it.",
                 "How its identity key is kept is not known."),
                at_ms,
                "Keep the disk and its backups as you would keep the key itself.",
            ),
        ],
    )  # fmt: skip


def _exposed(inventory: Inventory | None) -> Sequence[Socket] | None:
    """Return sockets that others can reach; None when nothing can be said about them."""
    sockets = inventory.sockets if inventory is not None else None
    if sockets is None or not is_visible(sockets):
        return None
    rows = [row for row in sockets.items if row.exposure != "loopback"]
    return rows if rows or sockets.sight.level == "full" else None


_HIDDEN: Final = "a process that is not visible"


def _list_named(names: Sequence[str] | None) -> str:
    return ", ".join([name for name in names or () if name != _HIDDEN][:3]) or "these programs"


def _judge_trusted_base(inventory: Inventory | None, context: Context) -> Property:
    rows = _exposed(inventory)
    rooted = (
        None if rows is None else sorted({r.process or _HIDDEN for r in rows if r.user == "root"})
    )
    names = ", ".join(rooted[:3]) if rooted else ""
    at_ms = context.inventory_at_ms
    return _make(
        2,
        "Small trusted computing base",
        [
            _step(
                None if rooted is None else not rooted,
                ("No program that others can reach runs as root.",
                 f"Reachable from the network and running as root: {names}.",
                 "Which programs can be reached from the network is not visible."),
                at_ms,
                f"Give {_list_named(rooted)} another user than root, or close their ports.",
            ),
            _step(
                context.wall,
                ("The part of the agent that speaks to the network cannot reach its keys.",
                 "No wall stands between the agent's network part and its keys.",
                 "Whether the agent's parts are separated is not known."),
                at_ms,
                "Install the agent as root (`fleetward-agent install`), so that its parts are "
                "separated.",
            ),
        ],
    )  # fmt: skip


_MANDATORY: Final = ("apparmor", "selinux", "smack", "tomoyo")


def _judge_depth(inventory: Inventory | None, context: Context) -> Property:
    at_ms = context.inventory_at_ms
    modules = _fact(inventory, "kernel.lsm")
    guarded = None if modules is None else any(name in modules for name in _MANDATORY)
    rows = (
        ("Secure Boot", _is(_fact(inventory, "boot.secure_boot"), "on"),
         "Switch Secure Boot on in the firmware."),
        ("mandatory access control", guarded, "Switch AppArmor or SELinux on."),
        ("address layout randomization", _is(_fact(inventory, "kernel.aslr"), "2"),
         "Set kernel.randomize_va_space to 2."),
        ("disk encryption", _is(_fact(inventory, "disk.encrypted"), "on"),
         "Encrypt the root disk when the machine is next set up."),
        ("signed kernel modules, or none",
         _is(_fact(inventory, "kernel.module_signing"), "enforced", "no modules"),
         "Start the kernel with module.sig_enforce=1."),
        ("hardened network programs", _hardened(inventory),
         "Replace the programs that lack canary, NX, PIE or RELRO; the page of hardening "
         "names them."),
    )  # fmt: skip
    steps = [
        _step(
            truth,
            (f"Stands: {name}.", f"Missing: {name}.", f"Not visible: {name}."),
            at_ms,
            mend,
        )
        for name, truth, mend in rows
    ]
    return _make(3, "Defence in depth", steps)


def _hardened(inventory: Inventory | None) -> Truth:
    programs = inventory.programs if inventory is not None else None
    if programs is None or not is_visible(programs):
        return None
    facing = [row for row in programs.items if row.network not in ("", "loopback")]
    flags = [flag for row in facing for flag in (row.canary, row.nx, row.pie, row.relro)]
    if "no" in flags:
        return False
    if programs.sight.level != "full" or "unknown" in flags:
        return None
    return True


def judge_service(service: Service) -> Truth:
    """Say whether a service has its own user and one more layer around it."""
    layers = service.layers
    more = (
        layers.no_new_privileges,
        layers.seccomp,
        None if layers.namespaces is None else bool(layers.namespaces),
        layers.capabilities_dropped,
    )
    if layers.own_user is None:
        return None
    if not layers.own_user:
        return False
    return True if any(more) else None if None in more else False


def _judge_compartments(inventory: Inventory | None, context: Context) -> Property:
    services: Section[Service] | None = inventory.services if inventory is not None else None
    visible = services is not None and is_visible(services)
    running = [row for row in services.items if row.state == "running"] if services else []
    judged = [(row.unit, judge_service(row)) for row in running] if visible else []
    apart = sum(1 for _, truth in judged if truth)
    bare = [unit for unit, truth in judged if truth is False]
    at_ms = context.inventory_at_ms
    words = f"{apart} of {len(judged)} running services have their own user and one more layer."
    unseen = Evidence("How services are kept apart is not visible.", at_ms, None)
    evidence = [Evidence(words, at_ms, apart > 0)] if judged else [unseen]
    if bare:
        evidence.append(Evidence(f"Without: {', '.join(bare[:3])}.", at_ms, False))
    elif any(truth is None for _, truth in judged):
        evidence.append(Evidence("The layers of some services are not visible.", at_ms, None))
    after = _UNSEEN
    if bare:
        after = f"Run {bare[0]} as its own user, with NoNewPrivileges=yes."
    state = combine([row.holds for row in evidence])
    done = state == "shown"
    return Property("P4", "Dynamic compartments", state, tuple(evidence), "" if done else after)


def _judge_certificates(inventory: Inventory | None, context: Context) -> Property:
    until = context.certificate_until_ms
    users = inventory.users if inventory is not None else None
    visible = users is not None and is_visible(users)
    known = [user for user in users.items if can_log_in(user)] if users and visible else []
    by_password = [user.name for user in known if user.password in ("set", "empty")]
    hidden = any(user.password == "not_visible" for user in known)  # noqa: S105
    passwords: Truth = False if by_password else None if hidden or not visible else True
    names = ", ".join(by_password[:3])
    at_ms = context.inventory_at_ms
    return _make(
        5,
        "Certificate-based authentication",
        [
            _step(
                None if until is None else until > context.now_ms,
                ("It proves itself by a certificate that lives a day at most.",
                 "Its certificate has run out.", "Its certificate is not known."),
                context.reported_at_ms or at_ms,
                "Let the machine renew its certificate: check that it reaches the server.",
            ),
            _step(
                passwords,
                ("No account logs in by password.", f"Can log in by password: {names}.",
                 "Whether accounts log in by password is not visible."),
                at_ms,
                f"Lock the password of {names or 'these accounts'}; use keys or certificates.",
            ),
        ],
    )  # fmt: skip


def count_updates(number: int, what: str = "") -> str:
    """Say how many updates there are, with the verb."""
    return f"1 {what}update is" if number == 1 else f"{number:,} {what}updates are"


def _judge_renewal(inventory: Inventory | None, context: Context) -> Property:
    updates = inventory.updates if inventory is not None else None
    rows = updates.items if updates is not None and is_visible(updates) else None
    security = None if rows is None else sum(row.security for row in rows)
    fresh = updates is not None and updates.sight.level == "full"
    current: Truth = None if security is None else security == 0
    if current and not fresh:
        current = None
    at_ms = context.inventory_at_ms
    lineage = context.lineage
    waiting = count_updates(security or 0, "security ")
    return _make(
        6,
        "Renewable security",
        [
            _step(
                current,
                ("No security update is waiting.", f"{waiting} waiting.",
                 "Waiting updates are not visible."),
                at_ms,
                "Install the waiting security updates.",
            ),
            _step(
                _is(_fact(inventory, "updates.automatic"), "on"),
                ("Updates are installed automatically.", "Updates wait for a person.",
                 "Whether updates are automatic is not visible."),
                at_ms,
                "Switch automatic security updates on, or plan a window for them.",
            ),
            _step(
                None if lineage is None else True,
                ("Its key for the network is renewed by itself.", "",
                 "Renewals of its key are not known."),
                context.reported_at_ms or at_ms,
                "",
            ),
        ],
    )  # fmt: skip


def _judge_failure_reports(inventory: Inventory | None, context: Context) -> Property:
    dumps = _fact(inventory, "failure.core_pattern")
    watchdog = _fact(inventory, "failure.watchdog")
    store = _fact(inventory, "failure.pstore")
    at_ms = context.inventory_at_ms
    reported = context.reported_at_ms
    return _make(
        7,
        "Failure reporting",
        [
            _step(
                None if reported is None else True,
                ("It keeps a signed journal and sends it here.", "", "It has not reported yet."),
                reported or at_ms,
                "",
            ),
            _step(
                None if dumps is None else dumps.startswith("|"),
                ("Crashes of programs are gathered.", "Nobody gathers the crashes of programs.",
                 "Whether crashes are gathered is not visible."),
                at_ms,
                "Install a crash collector such as systemd-coredump.",
            ),
            _step(
                _is(store, "present", "records"),
                ("Crashes of the kernel outlive a restart.", "A crash of the kernel is forgotten.",
                 "Whether kernel crashes are kept is not visible."),
                at_ms,
                "Switch pstore on, so that the reason of a restart is kept.",
            ),
            _step(
                _is(watchdog, "present"),
                ("A watchdog restarts it when it hangs.", "No watchdog watches over it.",
                 "Whether a watchdog is there is not visible."),
                at_ms,
                "Switch a hardware watchdog on, so that a hang is noticed and ended.",
            ),
        ],
    )  # fmt: skip
