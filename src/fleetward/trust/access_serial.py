"""The scope `serial`: one serial port of the machine, at one speed, as bytes.

    {"kind": "serial", "path": "/dev/ttyUSB0", "baud": 115200}

The rule names whole paths; there is no pattern. What stands at the path is looked at when the port
is opened, on the machine: here are only names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields

BAUDS: Final = (
    300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000,
    576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000,
)  # fmt: skip
"""The speeds that termios has a name for on Linux; a port at another speed shows only noise."""
DEFAULT_BAUD: Final = 115200
_PATH: Final = re.compile(r"/dev(/[A-Za-z0-9._:+@-]{1,64}){1,4}")
"""Names as udev gives them, at most four deep; none of them needs a letter outside ASCII."""


@dataclass(frozen=True, slots=True)
class SerialScope:
    """One serial port at one speed, with eight bits, no parity and one stop bit."""

    path: str
    baud: int
    kind: str = "serial"

    def to_json(self) -> JsonObject:
        """Return the scope as it stands in signed documents."""
        return {"baud": self.baud, "kind": self.kind, "path": self.path}

    def words(self) -> str:
        """Say it to a person."""
        return f"the serial port {self.path} at {self.baud} baud"


def read_serial(value: Json) -> SerialScope:
    """Return the scope that a JSON object says. Raises `Malformed`."""
    fields = Fields(value, "the scope", {"baud", "kind", "path"})
    baud = fields.integer("baud")
    if baud not in BAUDS:
        raise Malformed(
            f"Expected a speed of serial ports, as {DEFAULT_BAUD} or 9600; got {baud}.",
            reason="bad_scope",
        )
    return SerialScope(check_path(fields.text("path")), baud)


def check_path(text: str) -> str:
    """Return the path of a device. Raises `Malformed`."""
    parts = text.split("/")
    if not _PATH.fullmatch(text) or "." in parts or ".." in parts:
        raise Malformed(
            "Expected the path of a device, as /dev/ttyUSB0, without '.' or '..'.",
            reason="bad_scope",
        )
    return text
