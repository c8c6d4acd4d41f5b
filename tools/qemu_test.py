"""`make qemu-test`: the reference image, started and updated in QEMU, by software alone.

    python -m tools.qemu_test            build what is missing, and play
    python -m tools.qemu_test --json     one JSON document on stdout; the rest on stderr
    python -m tools.qemu_test --keep     leave the disk and the console's log for a look

Ends with 0 when every step was good, and when the tools for it are not installed: then it says
which. The TPM is a simulated one (swtpm), and so the evidence is labelled.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tools.qemu.machine import Machine, find_missing_tools
from tools.qemu.people import People
from tools.qemu.play import Play, Step
from tools.reference_image.build import Builder, find_missing, make_environment
from tools.reference_image.recipe import ROOT

LABEL: Final = "simulated TPM (swtpm)"
GOAL_SECONDS: Final = 300
FOLDER: Final = ROOT / "build/reference-image"


def main(argv: list[str] | None = None) -> int:
    """Build, play, and say how it went; return the exit status."""
    arguments = _parse(argv)
    missing = sorted({*find_missing(), *find_missing_tools()})
    if missing:
        words = f"skipped: apt-get install --no-install-recommends {' '.join(missing)}"
        print(json.dumps({"skipped": words}) if arguments.json else words)
        return 0
    builder = Builder(FOLDER, _say)
    builder.prepare()
    images = {
        "1.0": builder.make_slot("1.0"),
        "1.1": builder.make_slot("1.1"),
        # A kernel whose first program lacks the driver of the disk: it stops.
        "1.2": builder.make_slot("1.2", initrd=False),
    }
    folder = Path(tempfile.mkdtemp(prefix="fleetward-qemu-"))
    play: Play | None = None
    try:
        play, prepared = _prepare(builder, images, folder)
        began, used = time.monotonic(), _measure_processor()
        good = play.run()
        seconds = time.monotonic() - began
        play.machine.cut_power()
        took = Took(builder.seconds, prepared, seconds, _measure_processor() - used)
        _report(play, took, as_json=arguments.json)
        return 0 if good else 1
    finally:
        if play is not None:
            play.machine.cut_power()
        if arguments.keep:
            _say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _prepare(builder: Builder, images: dict[str, Path], folder: Path) -> tuple[Play, float]:
    """Return the play, and how long its people took to get ready."""
    began = time.monotonic()
    people = People(folder)
    people.gather()
    bundles = {}
    for version in ("1.0", "1.1", "1.2"):
        people.release(version, images[version], health=f"http:8080/{version}.txt=200")
        bundles[version] = people.bundle(version, version)
    # The first stick has the metadata of its day; this one has the old release, and new metadata.
    bundles["1.0 again"] = people.bundle("1.0", "again")
    disk = folder / "disk.img"
    builder.make_disk(disk, images["1.0"], people.machine, make_environment(good="root-a"))
    prepared = time.monotonic() - began
    _say(f"an owner, a maker, three releases and a disk in {prepared:.1f} s")
    machine = Machine(disk, folder / "machine-room", time.monotonic())
    return Play(builder, people, machine, bundles, _tell), prepared


def _tell(step: Step) -> None:
    mark = "ok    " if step.good else "FAILED"
    _say(f"{mark} {step.seconds:6.1f} s  {step.name}: {step.words}")


@dataclass(frozen=True)
class Took:
    """How many seconds each part took. What the processor worked does not depend on how busy the
    computer was with other things."""

    building: float
    people: float
    play: float
    processor: float


def _measure_processor() -> float:
    """Return how many seconds the programs worked that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _report(play: Play, took: Took, *, as_json: bool) -> None:
    good = all(step.good for step in play.steps)
    said = {
        "good": good,
        "tpm": LABEL,
        "goal_seconds": GOAL_SECONDS,
        "seconds": {name: round(each, 1) for name, each in asdict(took).items()},
        "load": round(os.getloadavg()[0], 1),
        "steps": [asdict(step) for step in play.steps],
    }
    _say(
        f"{'good' if good else 'FAILED'}: {took.play:.0f} s of play (goal: {GOAL_SECONDS}), for "
        f"which the processor worked {took.processor:.0f} s; besides {took.people:.0f} s of people "
        f"and {took.building:.0f} s of building; load {said['load']}; {LABEL}"
    )
    if as_json:
        print(json.dumps(said))


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Start and update the reference image in QEMU.")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.add_argument("--keep", action="store_true", help="leave the disk and the logs")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
