"""The dated history of what programs say to each other.

A change to anything in this package adds a line. An old machine must keep working with a new
server: fields are added with a default, never renamed, never given another meaning.

| version | date       | change                                                             |
|---------|------------|--------------------------------------------------------------------|
| 1       | 2026-11-23 | join, renewal, nonce, hello, batch, proof, blob, documents, reduce |
| 2       | 2026-11-26 | access, recording, the subjects of sessions                        |
| 3       | 2026-11-26 | access: notes about permissions given ahead (`standing`)           |
| 4       | 2026-11-27 | update; the reduction `look_for_updates`                           |
"""

from __future__ import annotations

from typing import Final

WIRE_VERSION: Final = 4
"""The newest version of the table above. A machine names it in its hello by its agent version."""
