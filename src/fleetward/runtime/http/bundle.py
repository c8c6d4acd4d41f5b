"""Serving a static bundle: the files that Vite built, and nothing else on the disk.

The bundle is read once, at the start. A request only ever looks a name up in that mapping, so no
path can leave it. `index.html` answers every page address, each time with a fresh style nonce in
the place of `NONCE_PLACE`.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from litestar import Response
from litestar.exceptions import NotFoundException

from fleetward.runtime.http.headers import content_policy, make_nonce

NONCE_PLACE: Final = b"__STYLE_NONCE__"
INDEX: Final = "index.html"
IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""Files under assets/ have the hash of their content in their name."""

_MISSING: Final = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Fleetward</title></head>
<body><h1>The pages are not built yet</h1>
<p>This program runs, and its API answers at <code>/api/v1</code>. Its pages are made by
<code>make setup</code>; start it again after that.</p></body></html>
"""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the bundle."""

    content: bytes
    media_type: str
    cache: str


class Bundle:
    """The files of one directory, in memory."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._assets: Final = dict(assets)
        self._folders: Final = {"", "assets", *(name.rpartition("/")[0] for name in assets)}

    @classmethod
    def load(cls, directory: Path) -> Bundle:
        """Read the regular files below a directory; it may be missing, links are not followed."""
        files = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
        return cls({path.relative_to(directory).as_posix(): _read(path) for path in files})

    def answer(self, path: str) -> Response[bytes]:
        """Return the file with this name, or the page. Raises NotFoundException for other files.

        A name with a dot is a file's where the bundle has files, and elsewhere a part of a page's
        address, as the version in `/updates/releases/kiosk/1.2`.
        """
        name = path.strip("/")
        asset = self._assets.get(name)
        if asset is not None and name != INDEX:
            return Response(
                asset.content, media_type=asset.media_type, headers={"Cache-Control": asset.cache}
            )
        folder, _, last = name.rpartition("/")
        if ".." in name.split("/") or ("." in last and folder in self._folders and name != INDEX):
            raise NotFoundException
        return self._page()

    def _page(self) -> Response[bytes]:
        index = self._assets.get(INDEX)
        nonce = make_nonce()
        content = _MISSING if index is None else index.content
        return Response(
            content.replace(NONCE_PLACE, nonce.encode("ascii")),
            media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": content_policy(nonce)},
            status_code=503 if index is None else 200,
        )


def _read(path: Path) -> Asset:
    guessed, _ = mimetypes.guess_type(path.name)
    media_type = guessed or "application/octet-stream"
    if media_type.startswith("text/") or media_type in ("application/javascript", "image/svg+xml"):
        media_type += "; charset=utf-8"
    cache = IMMUTABLE if path.parent.name == "assets" else "no-cache"
    return Asset(path.read_bytes(), media_type, cache)
