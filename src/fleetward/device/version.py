"""What this agent calls itself."""

from __future__ import annotations

from typing import Final

from fleetward.wire.versions import WIRE_VERSION

AGENT_VERSION: Final = f"0.1.0/{WIRE_VERSION}"
"""The release, and the newest words on the wire that it knows."""
