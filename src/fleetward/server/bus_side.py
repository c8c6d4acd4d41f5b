"""What the server says to machines of its own accord: documents and signed orders, both of which
it only carries, reductions, and being cut off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, Protocol

import msgspec

from fleetward.runtime.broker import Account, Broker
from fleetward.runtime.bus import Bus
from fleetward.server.callout import kick_device, kick_session
from fleetward.server.directory.decide import Documents as OwnerDocuments
from fleetward.server.identity.issuing import fleet_root
from fleetward.trust.canonical import to_base64url
from fleetward.trust.documents import Bundle
from fleetward.trust.errors import FleetwardError
from fleetward.wire.orders import Documents, Order, Reduce
from fleetward.wire.subjects import down, session_name

LEAVE_SECONDS: Final = 1.0
"""Between the end of a session and the cut: the machine's last words to whoever was inside pass."""
LOOKS_A_SECOND: Final = 100
"""Machines that are told to look for updates in a second: a fleet of 10,000 asks over 100 seconds,
and not at once."""
MOST_ASKING: Final = 24
"""Machines that wait for an answer before others are told what makes them ask as well. A fleet that
was told faster than it is answered would take silence for a lost connection, and connect anew."""
BREATH_SECONDS: Final = 0.02
LONGEST_BREATH_SECONDS: Final = 0.1
"""So long one machine is waited with at most: who keeps the server busy delays the others, 10,000
of them by a quarter of an hour, and does not keep anything from them."""

_log: Final = logging.getLogger(__name__)


class Bundles(Protocol):
    """Where bundles come from."""

    def bundle(self, device: str, policy_version: int = 0) -> Bundle: ...

    def issuing_chain(self) -> str: ...

    def announced_bundles(self) -> list[tuple[int, Bundle]]: ...


class KnownDevices(Protocol):
    """Which machines there are."""

    def active_ids(self) -> list[str]: ...

    def account_of(self, device: str) -> str: ...

    def policy_of(self, device: str) -> int: ...

    def is_connected(self, device: str) -> bool: ...


class Orders(Protocol):
    """Signed envelopes that machines have not answered."""

    def orders_for(self, device: str) -> list[bytes]: ...


class BusSide:
    """Pushes over the bus. Called from any thread; works on the server's loop.

    What goes to a whole fleet goes at the pace at which machines are answered; orders do not wait.
    """

    def __init__(
        self,
        broker: Broker,
        buses: Mapping[Account, Bus],
        bundles: Bundles,
        devices: KnownDevices,
        loop: asyncio.AbstractEventLoop,
        orders: Orders,
    ) -> None:
        self._broker = broker
        self._buses = buses
        self._bundles = bundles
        self._devices = devices
        self._loop = loop
        self._orders = orders
        self._accounts: dict[str, str] = {}
        self._asking: Callable[[], int] = lambda: 0
        self._to_look: dict[str, None] = {}
        self._looking = False
        self._to_have: dict[str, None] = {}
        self._handing = False
        self._chain = bundles.issuing_chain()

    def watch_asking(self, asking: Callable[[], int]) -> None:
        """Learn from now on how many machines wait for an answer."""
        self._asking = asking

    def documents_changed(self, _: OwnerDocuments) -> None:
        """Believe a new issuing chain, and hand every machine its documents."""
        chain = self._bundles.issuing_chain()
        if chain != self._chain:
            self._chain = chain
            self._broker.replace_device_ca(fleet_root(chain))
        self._soon(self._push_documents())

    def device_changed(self, device: str) -> None:
        """Cut a machine's connection when it belongs into another account now."""
        account = self._devices.account_of(device)
        # A machine that never greeted may be connected all the same: it counts as let in.
        before = self._accounts.get(device, "devices")
        self._accounts[device] = account
        if before != account:
            self._soon(self._kick(device))

    def carry_order(self, device: str, *envelopes: bytes) -> None:
        """Bring signed envelopes to a machine; they come again after the machine's next hello."""
        self._soon(self._push_orders(device, envelopes))

    def look_for_updates(self, devices: Sequence[str]) -> None:
        """Tell machines to ask whether there is a release for them, a bounded number a second."""
        self._soon(self._add_looks(tuple(devices)))

    def greeted(self, device: str) -> None:
        """Bring a machine what it has not answered."""
        self._soon(self._push_waiting(device))
        self._soon(self._push_announced(device))

    def acknowledged(self, device: str) -> None:
        """Tell a machine that has come to the present policy what was announced after it."""
        self._soon(self._push_announced(device))

    def recovery_changed(self) -> None:
        """Tell every machine what recovery keys announced."""
        self._soon(self._push_announced_to_all())

    def session_ended(self, session: str) -> None:
        """Cut the connection of whoever was granted a session, a moment after its end."""
        self._soon(self._end_session(session_name(session)))

    async def push(self, device: str, word: str, payload: bytes) -> None:
        """Publish raw bytes to a machine, in both accounts; used by documents and by drills."""
        subject = down(device, word)
        for account in (Account.DEVICES, Account.QUARANTINE):
            await self._buses[account].publish(subject, payload)

    async def _push_documents(self) -> None:
        """Hand every machine the newest documents. A change on the way begins no second round: who
        comes later gets the newest anyhow, and who had his turn has one more."""
        self._to_have |= dict.fromkeys(await asyncio.to_thread(self._devices.active_ids))
        if self._handing:
            return
        self._handing = True
        try:
            while self._to_have:
                await self._push_bundle(next(iter(self._to_have)))
                await self._breathe()
        finally:
            self._handing = False

    async def _push_bundle(self, device: str) -> None:
        del self._to_have[device]
        try:
            bundle = await asyncio.to_thread(self._bundles.bundle, device)
            message = Documents(bundle=to_base64url(bundle.to_bytes()))
            await self.push(device, "documents", msgspec.json.encode(message))
        except FleetwardError as e:
            _log.warning("documents for %s were not pushed: %s", device, e.message)

    async def _breathe(self) -> None:
        """Wait while many machines wait for an answer."""
        until = self._loop.time() + LONGEST_BREATH_SECONDS
        while self._asking() > MOST_ASKING and self._loop.time() < until:
            await asyncio.sleep(BREATH_SECONDS)

    async def _push_announced_to_all(self) -> None:
        for device in await asyncio.to_thread(self._devices.active_ids):
            await self._push_announced(device)

    async def _push_announced(self, device: str) -> None:
        """Hand over what was announced, to a machine that has the policy before it."""
        bundles = await asyncio.to_thread(self._bundles.announced_bundles)
        if not bundles:
            return
        known = await asyncio.to_thread(self._devices.policy_of, device)
        for version, bundle in bundles:
            if known != version:
                continue
            message = Documents(bundle=to_base64url(bundle.to_bytes()))
            try:
                await self.push(device, "documents", msgspec.json.encode(message))
            except FleetwardError as e:
                _log.warning("a recovery was not told to %s: %s", device, e.message)

    async def _add_looks(self, devices: Sequence[str]) -> None:
        self._to_look |= dict.fromkeys(devices)
        if self._looking:
            return
        self._looking = True
        try:
            while self._to_look:
                await self._push_look(next(iter(self._to_look)))
                await asyncio.sleep(1 / LOOKS_A_SECOND)
                await self._breathe()
        finally:
            self._looking = False

    async def _push_look(self, device: str) -> None:
        del self._to_look[device]
        try:
            # One that is away is told again by whoever waits for it, and looks within the hour.
            if await asyncio.to_thread(self._devices.is_connected, device):
                message = msgspec.json.encode(Reduce(what="look_for_updates"))
                await self.push(device, "reduce", message)
        except FleetwardError as e:
            _log.warning("%s was not told to look for updates: %s", device, e.message)

    async def _push_waiting(self, device: str) -> None:
        orders = await asyncio.to_thread(self._orders.orders_for, device)
        await self._push_orders(device, orders)

    async def _push_orders(self, device: str, orders: Sequence[bytes]) -> None:
        for envelope in orders:
            message = msgspec.json.encode(Order(envelope=to_base64url(envelope)))
            try:
                await self.push(device, "order", message)
            except FleetwardError as e:
                _log.warning("an order for %s was not pushed: %s", device, e.message)

    async def _end_session(self, session: str) -> None:
        await asyncio.sleep(LEAVE_SECONDS)
        try:
            await kick_session(self._buses[Account.SYS], session)
        except FleetwardError as e:
            _log.warning("session %s could not be cut off: %s", session, e.message)

    async def _kick(self, device: str) -> None:
        try:
            await kick_device(self._buses[Account.SYS], device)
        except FleetwardError as e:
            _log.warning("%s could not be cut off: %s", device, e.message)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).add_done_callback(_say_failure)


def _say_failure(done: Future[Any]) -> None:
    if not done.cancelled() and done.exception() is not None:
        _log.error("a push to machines failed", exc_info=done.exception())
