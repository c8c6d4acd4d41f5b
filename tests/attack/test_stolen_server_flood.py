"""The stolen broker pours: one message that never ends, at the speed of the network.

Whatever it does, the machine's memory is the machine's own. The process that holds the connection
is bounded, ends at its bound, and comes back; guard and its journal never notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
from pathlib import Path

from tests.adversary.agent_process import finish, start_agent
from tests.adversary.estate import open_estate
from tests.adversary.processes import family_of

FLOOD_SECONDS = 15.0
MOST_BYTES = 400 * 1024 * 1024
PIECE = bytes(1024 * 1024)


class Pouring:
    """A broker of the thief's, under the server's own TLS key."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_cert_chain(certificate, key)
        self.poured = self.visits = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greet as a broker does, then pour."""
        self.visits += 1
        info = {"server_id": "A", "version": "2.12.0", "proto": 1, "max_payload": 2**40,
                "headers": True, "tls_required": True, "tls_available": True}  # fmt: skip
        with contextlib.suppress(OSError, asyncio.CancelledError):
            writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
            await reader.readuntil(b"PING\r\n")
            writer.write(b"PONG\r\nMSG fw.a.down.order 1 999999999999\r\n")
            while not writer.is_closing():
                writer.write(PIECE)
                await writer.drain()
                await asyncio.sleep(0)  # or nobody else hears that the other end is gone
                self.poured += len(PIECE)

    async def open(self, port: int) -> asyncio.Server:
        """Listen where the broker was."""
        return await asyncio.start_server(self.serve, "127.0.0.1", port, ssl=self.context)


def resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096


def test_a_message_that_never_ends_takes_no_more_than_its_bound(tmp_path: Path) -> None:
    async def act() -> None:
        async with open_estate(tmp_path) as estate:
            data = tmp_path / "machine"
            invited = await asyncio.to_thread(estate.desk.invite, "Hall", 1, 600, preapproved=True)
            await finish(await start_agent("join", invited.join, "--data", str(data)))
            await estate.stop_server()
            tls = estate.program.tls
            pouring = Pouring(tls.server_certificate, tls.server_key)
            broker = await pouring.open(estate.settings.bus_port)
            agent = await start_agent("run", "--data", str(data))
            most = 0
            try:
                deadline = asyncio.get_running_loop().time() + FLOOD_SECONDS
                while asyncio.get_running_loop().time() < deadline:
                    most = max(most, sum(resident_bytes(pid) for pid in family_of(agent.pid)))
                    assert most < MOST_BYTES, "the machine's memory is poured full"
                    await asyncio.sleep(0.05)
                assert agent.returncode is None
                assert pouring.visits >= 1
                assert pouring.poured > 64 * len(PIECE), "it did pour"
            finally:
                agent.send_signal(signal.SIGTERM)
                await finish(agent)
                broker.close()
            await estate.start_server()

    asyncio.run(act())
