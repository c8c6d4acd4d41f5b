"""How much a machine takes of a repository that may be hostile: each bound, its unit, its reason.

Whoever holds the server chooses every byte that arrives before a signature has been checked. So
each number here bounds what that costs a machine.
"""

from __future__ import annotations

from typing import Final

MAX_ROOT_BYTES: Final = 512 * 1024
"""Bytes of a root file. One with 20 RSA keys and 20 signatures has under 40 KiB."""
MAX_TIMESTAMP_BYTES: Final = 16 * 1024
"""Bytes of a timestamp file: one version, hashes and a few signatures; under 2 KiB in practice."""
MAX_SNAPSHOT_BYTES: Final = 1024 * 1024
"""Bytes of a snapshot file: some 5,000 products with a hash each."""
MAX_TARGETS_BYTES: Final = 2 * 1024 * 1024
"""Bytes of a targets file: some 4,000 products with keys, or 9,000 releases of one product."""
MAX_KEPT_BYTES: Final = MAX_TARGETS_BYTES
"""Bytes of any file that a machine kept itself: the largest that it ever keeps."""

MAX_JSON_CONTAINERS: Final = 40_000
"""Objects and lists in one file. A release needs three. Without it `[],[],` takes twenty times its
length in memory before anybody has signed it."""
MAX_JSON_ITEMS: Final = 120_000
"""Commas in one file, for the same reason. A release needs six."""

MAX_ROOT_ROTATIONS: Final = 256
"""Roots followed in one refresh. With one a month, a machine that was off for twenty years."""
MAX_DELEGATIONS: Final = 32
"""Roles that one search visits below `targets`. A search by product visits one or two."""
MAX_DELEGATION_DEPTH: Final = 8
"""Delegations from `targets` down to a role. Maker, product and team are three."""
MAX_PATTERNS_TRIED: Final = 2048
"""Path patterns with wildcards that one role may have tried for one path: each costs a tenth of a
millisecond. A pattern whose plain parts already differ costs nothing and does not count."""
MAX_PATTERN_CHARACTERS: Final = 512
"""Characters of one path pattern, as of a path."""

MAX_ROLE_KEYS: Final = 64
"""Keys that may sign for one role, and signatures on one file: each costs a verification."""
MAX_ROLE_NAME_BYTES: Final = 64
"""Bytes of a delegated role's name: escaped threefold, a file's name stays under 255."""
MAX_VERSION: Final = 2**53 - 1
"""The largest version, so that every language reads the same number."""

MAX_PATH_CHARACTERS: Final = 512
"""Characters of a target's path."""
MAX_PATH_PART_CHARACTERS: Final = 120
"""Characters between two slashes: with a hash of 128 before it, a file's name stays under 255."""
MAX_TARGET_BYTES: Final = 64 * 1024**3
"""Bytes of one target: the largest image that fits a small machine's disk, with room to spare."""
