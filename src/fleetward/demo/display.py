"""The software that the demo's maker releases: a web application of one file, for a ward's display.

It shows its version, and answers `/healthz` and `/healthz/VERSION` while it is well. The second is
what a release is tried by: the program of the release before must not answer in its place. A
broken one ends as soon as it is started, as a program does that misses a file. It is run by the
machine's own Python and needs nothing else: `app.py --port PORT`.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

PRODUCT: Final = "ward-display"
PART: Final = "app"
PROGRAM: Final = "app.py"
HEALTH_PATH: Final = "/healthz"
_GOOD: Final = Template('''\
"""A ward's display, version $version: one page, and a word on whether it is well."""

import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "$version"
PAGE = f"""<!doctype html><html lang=en><meta charset=utf-8><link rel=icon href=data:,>
<title>Ward display {VERSION}</title>
<style>body{{font:24px/1.5 sans-serif;margin:3rem}}</style>
<h1>Ward display {VERSION}</h1><p>Bed 1 free, bed 2 in use, bed 3 being cleaned.</p>
"""
WELL = (200, "text/plain", f"{VERSION}\\n")
ANSWERS = {"/": (200, "text/html", PAGE), "/healthz": WELL, f"/healthz/{VERSION}": WELL}


class Display(BaseHTTPRequestHandler):
    def do_GET(self):
        status, kind, text = ANSWERS.get(self.path, (404, "text/plain", "Not found\\n"))
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Display).serve_forever()
''')
_BROKEN: Final = Template('''\
"""A ward's display, version $version. It was never started before it was released."""

VERSION = "$version"
raise SystemExit(f"Ward display {VERSION}: the file beds.csv is missing.")
''')


def write_display(folder: Path, version: str, *, broken: bool = False) -> Path:
    """Write the folder that the maker releases, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (_BROKEN if broken else _GOOD).substitute(version=version)
    (folder / PROGRAM).write_text(text, "utf-8")
    return folder
