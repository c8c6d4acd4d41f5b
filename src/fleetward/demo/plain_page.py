"""The page that "this machine" has from its maker: what it shows before any release is installed.

It stands in for the page that a pump or a printer has. It is on 127.0.0.1 alone, so that nobody
reaches it over a network; the tour's technician reaches it in a session.
"""

from __future__ import annotations

import argparse
import html
import os
import platform
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

LOOPBACK: Final = "127.0.0.1"
TITLE: Final = "The machine's own page"


class _Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "demo"
    sys_version = ""

    def do_GET(self) -> None:
        """Show the page; everything else is not found."""
        self._send(200 if self.path == "/" else 404)

    def _send(self, status: int) -> None:
        body = write_page() if status == 200 else b"Not found\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: the session's recording says what was asked for."""


def write_page() -> bytes:
    """Return the page as it is now."""
    facts = {
        "Name": platform.node(),
        "System": f"{platform.system()} {platform.release()}",
        "Load": f"{os.getloadavg()[0]:.2f}",
        "Clock": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "Listens on": f"{LOOPBACK} alone",
    }
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><link rel=icon href=data:,>"
        f"<title>{TITLE}</title>"
        "<style>body{font:16px/1.5 sans-serif;margin:3rem}th{text-align:left;padding-right:2rem}"
        f"</style><h1>{TITLE}</h1><table>{rows}</table>"
    ).encode()


def main() -> None:
    """Serve until the end."""
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("--port", required=True, type=int)
    with ThreadingHTTPServer((LOOPBACK, parser.parse_args().port), _Page) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
