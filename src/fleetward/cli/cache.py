"""`fleetward cache`: keep parts of releases at a site, so that its line carries them once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from fleetward.cli.plain import PLAIN
from fleetward.gateway.updates.counts import Counts, read_counts
from fleetward.gateway.updates.main import is_running
from fleetward.gateway.updates.main import serve as serve_cache
from fleetward.gateway.updates.settings import (
    CacheSettings,
    Places,
    init_cache,
    name_origin,
    read_settings,
    read_size,
)
from fleetward.keyholder.speak import emit, refusals
from fleetward.runtime.blob_folder import BlobFolder
from fleetward.runtime.clock import SystemClock

cache_app: Final = typer.Typer(no_args_is_help=True, **PLAIN)

Data = Annotated[Path, typer.Option("--data", help="The cache's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
File = Path | None


@cache_app.callback()
def _cache_words() -> None:
    """Keep parts of releases at a site, so that its line carries them once."""


@cache_app.command("init")
def init(
    data: Data,
    listen: Annotated[str, typer.Option(help="Address and port of this computer: IP:PORT.")],
    upstream: Annotated[str, typer.Option(help="A web server with a published folder.")] = "",
    server: Annotated[str, typer.Option(help="Or your Fleetward server: https://HOST:PORT.")] = "",
    token_file: Annotated[File, typer.Option(help="File (0600) with a viewer's token.")] = None,
    ca: Annotated[File, typer.Option(help="PEM that whoever is asked is verified by.")] = None,
    host: Annotated[str, typer.Option(help="What machines call it, if not the address.")] = "",
    keep: Annotated[str, typer.Option(help="How much to keep at most.")] = "20GB",
    certificate: Annotated[
        File, typer.Option(help="A certificate of your own that machines' systems accept.")
    ] = None,
    key: Annotated[File, typer.Option(help="Its key, as PEM.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a cache: a key, a certificate and its settings, in a folder of its own.

    fleetward cache init --data ~/cache --listen 10.20.0.5:8443
    --upstream https://parts.example/releases

    fleetward cache init --data ~/cache --listen 10.20.0.5:8443
    --server https://fleet.example:8443 --token-file token --ca server-ca.pem --keep 50GB
    """
    with refusals():
        places = Places(data.absolute())
        settings = CacheSettings(
            listen=listen,
            host=host,
            upstream=upstream,
            server=server,
            token_file=_absolute(token_file),
            ca_file=_absolute(ca),
            certificate=_absolute(certificate),
            key=_absolute(key),
            keep_bytes=read_size(keep),
        )
        init_cache(places, settings, SystemClock().wall_ms())
        origin = name_origin(places, settings)
        lines = (
            f"Made in {data}. Start it: fleetward cache serve --data {data}",
            "Then have machines ask it, with whatever origins you name besides:",
            f"  fleetward owner policy set origins '{origin}'",
        )
        emit({"data": str(places.folder), "origin": origin}, as_json, "\n".join(lines))


@cache_app.command("serve")
def serve(data: Data) -> None:
    """Run a cache until it is stopped; systemd does this in earnest.

    fleetward cache serve --data ~/cache
    """
    with refusals():
        serve_cache(data.absolute())


@cache_app.command("status")
def status(data: Data, as_json: AsJson = False) -> None:
    """Show what a cache keeps, what it spared the line, and how its upstream does.

    fleetward cache status --data ~/cache
    """
    with refusals():
        places = Places(data.absolute())
        settings = read_settings(places)
        counts, running = read_counts(places.folder), is_running(places)
        origin = name_origin(places, settings)
        counts.keep_bytes = settings.keep_bytes
        counts.upstream = counts.upstream or settings.server or settings.upstream
        shown: dict[str, Any] = msgspec.to_builtins(counts)
        shown |= {"running": running, "origin": origin}
        emit(shown, as_json, "\n".join(_write_status(counts, origin, data, running=running)))


@cache_app.command("clear")
def clear(data: Data, as_json: AsJson = False) -> None:
    """Remove all that a cache keeps; it fetches anew what is asked for. It may run meanwhile.

    fleetward cache clear --data ~/cache
    """
    with refusals():
        places = Places(data.absolute())
        read_settings(places)
        folder = BlobFolder(places.blobs)
        files = folder.files()
        for file in files:
            folder.forget(file.sha256)
        size = sum(file.size_bytes for file in files)
        words = f"Removed {len(files)} files of {_size(size)}." if files else "It was empty."
        emit({"files": len(files), "bytes": size}, as_json, words)


def _write_status(counts: Counts, origin: str, data: Path, *, running: bool) -> list[str]:
    stopped = f"no. Start it: fleetward cache serve --data {data}"
    lines = [
        f"  running    {'yes' if running else stopped}",
        f"  origin     {origin}",
        f"  asks       {counts.upstream}",
        f"  keeps      {counts.blobs} parts, {_size(counts.blobs_bytes)} of at most "
        f"{_size(counts.keep_bytes)}",
        f"  served     {_size(counts.served_bytes)}, for {_size(counts.fetched_bytes)} fetched",
        f"  answers    {counts.hits} from here, {counts.misses} while fetching, "
        f"{counts.turned_away} put off, {counts.missing} not to be had",
    ]
    if counts.damaged:
        lines.append(f"  damaged    {counts.damaged} parts were thrown away and fetched anew")
    if counts.failure:
        moment = datetime.fromtimestamp(counts.failure_ms // 1000, UTC).isoformat()
        state = "answers again" if counts.upstream_ok else "does not answer now"
        lines.append(f"  upstream   {state}; last failure {moment}: {counts.failure}")
    if not counts.hits and not counts.misses:
        lines.append(
            "Nobody has asked it yet. Machines ask what the owner's policy names: fleetward owner "
            f"policy set origins '{origin}'"
        )
    return lines


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 1000)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _absolute(path: File) -> str:
    return str(path.absolute()) if path is not None else ""
