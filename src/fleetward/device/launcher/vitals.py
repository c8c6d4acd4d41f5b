"""What guard tells the launcher that watches it: that it is healthy, connected, and not stuck."""

from __future__ import annotations

import os
from typing import Final

BEAT: Final = b"."
HEALTHY: Final = b"h"
CONNECTED: Final = b"c"


class Vitals:
    """Guard's end of the pipe. Without one, nobody listens."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)
            os.set_blocking(descriptor, False)

    def tell(self, *, healthy: bool, connected: bool) -> None:
        """Say how it is; called whenever guard's loop turns."""
        if self._descriptor is None:
            return
        said = BEAT + (HEALTHY if healthy else b"") + (CONNECTED if connected else b"")
        try:
            os.write(self._descriptor, said)
        except BlockingIOError:
            return  # What lies there already says that it is not stuck.
        except OSError:
            self._descriptor = None
