"""The stolen server forges the owner's documents, by every way that a document can come.

The thief holds all that the server holds. What he makes is pushed over the broker, given as the
answer to the machine's own question, and put into the answer to a renewal. Each time the machine
must refuse, sign the refusal into its journal, and believe afterwards what it believed before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import pytest
from tests.adversary import forge
from tests.adversary.estate import Estate
from tests.adversary.machine import FieldMachine
from tests.adversary.stage import Stage, open_stage
from tests.adversary.thief import Thief

from fleetward.server.directory.decide import Documents as OwnerDocuments
from fleetward.server.drill.attacks import make_attacks
from fleetward.server.drill.session_attacks import Papers
from fleetward.trust.canonical import from_base64url
from fleetward.trust.documents import Bundle, read_bundle
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.policy import verify_next_policy
from fleetward.wire.orders import Documents
from fleetward.wire.subjects import Up

Forgery = Callable[[Thief, FieldMachine], Bundle]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("documents")) as opened:
        yield opened


def held(thief: Thief) -> OwnerDocuments:
    return thief.estate.program.house.directory.require()


def another_owner(thief: Thief, machine: FieldMachine) -> Bundle:
    attacks = make_attacks(
        held(thief), Papers(machine.device), thief.keys, thief.estate.clock.wall_ms()
    )
    (message,) = next(a for a in attacks if a.id == "another-owner").payloads
    return read_bundle(from_base64url(msgspec.json.decode(message, type=Documents).bundle))


def next_policy(thief: Thief, machine: FieldMachine) -> Bundle:
    forged = forge.forge_policy(held(thief), thief.keys, version=held(thief).policy.version + 1)
    return Bundle(root=held(thief).root.raw, policies=(forged,))


def same_policy(thief: Thief, machine: FieldMachine) -> Bundle:
    forged = forge.forge_policy(held(thief), thief.keys, version=held(thief).policy.version)
    return Bundle(root=held(thief).root.raw, policies=(forged,))


def far_policy(thief: Thief, machine: FieldMachine) -> Bundle:
    forged = forge.forge_policy(held(thief), thief.keys, version=2**53 - 1)
    return Bundle(root=held(thief).root.raw, policies=(forged,))


def one_key_more(thief: Thief, machine: FieldMachine) -> Bundle:
    return Bundle(
        root=held(thief).root.raw, policies=(forge.lower_thresholds(held(thief), thief.keys),)
    )


def hidden_machine(thief: Thief, machine: FieldMachine) -> Bundle:
    others = [e for e in held(thief).entries if e.device != machine.device]
    return forge.forge_roster(held(thief), thief.keys, others)


def invented_machine(thief: Thief, machine: FieldMachine) -> Bundle:
    entries = [*held(thief).entries, forge.invented()]
    return forge.forge_roster(held(thief), thief.keys, entries, machine.device)


def renamed_machine(thief: Thief, machine: FieldMachine) -> Bundle:
    entries = [forge.renamed(e) for e in held(thief).entries]
    return forge.forge_roster(held(thief), thief.keys, entries, machine.device)


def retired_machine(thief: Thief, machine: FieldMachine) -> Bundle:
    entries = [forge.retired(e) for e in held(thief).entries]
    return forge.forge_roster(held(thief), thief.keys, entries, machine.device)


def forged_lease(thief: Thief, machine: FieldMachine) -> Bundle:
    return forge.forge_lease(held(thief), thief.keys, seconds=held(thief).lease.seconds)


def stretched_lease(thief: Thief, machine: FieldMachine) -> Bundle:
    return forge.stretch_lease(held(thief))


def headless_roster(thief: Thief, machine: FieldMachine) -> Bundle:
    return replace(thief.honest_bundle(machine), head=b"", lease=b"")


FORGERIES: dict[str, tuple[Forgery, tuple[str, str]]] = {
    "another owner": (another_owner, ("documents", "another_owner")),
    "the next policy": (next_policy, ("policy", "too_few_signatures")),
    "another policy of the same version": (same_policy, ("policy", "too_few_signatures")),
    "a policy of the far future": (far_policy, ("policy", "too_few_signatures")),
    "a policy with one key more": (one_key_more, ("policy", "too_few_signatures")),
    "a roster without the machine": (hidden_machine, ("roster", "too_few_signatures")),
    "a roster with a machine more": (invented_machine, ("roster", "too_few_signatures")),
    "a roster that calls it a test rig": (renamed_machine, ("roster", "too_few_signatures")),
    "a roster that retires it": (retired_machine, ("roster", "too_few_signatures")),
    "a lease of the thief's": (forged_lease, ("lease", "too_few_signatures")),
    "the owner's lease, stretched": (stretched_lease, ("lease", "bad_signature")),
    "a roster without its head": (headless_roster, ("documents", "mixed_documents")),
}


async def ask_and_be_lied_to(thief: Thief, machine: FieldMachine, bundle: Bundle) -> None:
    """Have a machine connect anew, ask for documents, and get the bundle for an answer."""
    with thief.answering(Up.DOCUMENTS, machine, lambda question, honest: thief.wrap(bundle)):
        await machine.restart()
        await machine.until(machine.refusals, "the machine judges the answer")


WAYS = [
    *((name, "push") for name in FORGERIES),
    *(
        (name, "answer")
        for name in ("another owner", "the next policy", "a roster that retires it")
    ),
]


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_forged_documents_change_nothing(stage: Stage, name: str, way: str) -> None:
    forgery, refusal = FORGERIES[name]

    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()
            bundle = forgery(stage.thief, machine)
            if way == "push":
                await stage.thief.push(machine, "documents", stage.thief.wrap(bundle))
            else:
                await ask_and_be_lied_to(stage.thief, machine, bundle)
            await stage.expect_refusal(machine, before, refusal)
            await stage.expect_health(machine)

    stage.run(act)


@pytest.mark.parametrize("name", ["another owner", "the next policy", "a roster that retires it"])
def test_forged_documents_in_a_renewal_change_nothing(stage: Stage, name: str) -> None:
    forgery, refusal = FORGERIES[name]

    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()
            bundle = forgery(stage.thief, machine)
            answer = lambda key: (stage.thief.issue(key, machine.device), bundle)  # noqa: E731
            with stage.thief.renewing(machine, answer), pytest.raises(FleetwardError):
                await stage.thief.renew(machine)
            await machine.until(lambda: refusal in machine.refusals(), "it is refused")
            after = machine.belief()
            # The certificate is good and was taken; of the documents nothing was.
            assert after.view == before.view
            assert after.addresses == before.addresses

    stage.run(act)


async def sign_next_policy(estate: Estate) -> None:
    """The owner signs another policy, and hands it over with its head."""
    desk = estate.desk
    before = desk.documents().policy
    payload = {**read_envelope(before.raw).payload, "version": before.version + 1}
    policy = verify_next_policy(seal(payload, [desk.signer("root")]), before)
    await asyncio.to_thread(desk.adopt_policy, policy)
    await estate.publish()


def test_older_documents_of_the_owner_are_not_taken_again(stage: Stage) -> None:
    """Replay: every signature is the owner's own, and all of it is yesterday's."""

    async def act() -> None:
        async with stage.machine() as machine:
            old = stage.thief.honest_bundle(machine)
            stage.estate.machines.remove(await stage.estate.add_machine("neighbour", run=False))
            await sign_next_policy(stage.estate)
            version = held(stage.thief).policy.version
            await machine.until(
                lambda: machine.core.view.policy.version == version, "the machine follows"
            )
            await machine.settled()
            before = machine.belief()
            new = stage.thief.honest_bundle(machine)
            mixed = replace(new, roster=old.roster, entry=b"", entry_proof=())
            for bundle, reason in ((old, "old_head"), (mixed, "mixed_documents")):
                await stage.thief.push(machine, "documents", stage.thief.wrap(bundle))
                await stage.expect_refusal(machine, before, ("documents", reason))

    stage.run(act)


def test_a_lease_serves_once(stage: Stage) -> None:
    """Replay of leases: neither an older one nor the running one starts anew."""

    async def act() -> None:
        async with stage.machine() as machine:
            old = stage.thief.honest_bundle(machine).lease
            await stage.estate.renew_lease()
            await machine.until(
                lambda: machine.core.view.lease_serial == held(stage.thief).lease.serial,
                "the machine takes the new lease",
            )
            await machine.settled()
            before, started = machine.belief(), machine.core.state.lease_started_powered_ms
            running = stage.thief.honest_bundle(machine)
            replayed = replace(running, policies=(), lease=old)
            await stage.thief.push(machine, "documents", stage.thief.wrap(replayed))
            await stage.expect_refusal(machine, before, ("documents", "old_lease"))
            # The very lease that is running is no news: no refusal, and no second beginning.
            await stage.thief.push(machine, "documents", stage.thief.wrap(running))
            await stage.expect_health(machine)
            assert machine.core.state.lease_started_powered_ms == started
            assert machine.belief().view == before.view

    stage.run(act)
