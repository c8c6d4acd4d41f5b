"""An address as a QR code (ISO/IEC 18004), for a phone's camera: on a page and in a terminal."""

from __future__ import annotations

from typing import Final

_QUIET: Final = 4
"""Squares of the light rim that the standard asks for."""
_BLACK_ON_WHITE: Final = "\x1b[30;107m"
_PLAIN: Final = "\x1b[0m"
_HALVES: Final = {("0", "0"): " ", ("1", "0"): "▀", ("0", "1"): "▄", ("1", "1"): "█"}


def draw_squares(text: str) -> list[str]:
    """Return the rows of the code, `1` for a dark square, with its quiet rim."""
    # Loaded where phones are served alone: this process holds keys.
    import segno

    made = segno.make(text, error="m", micro=False)
    return ["".join(str(int(cell)) for cell in row) for row in made.matrix_iter(border=_QUIET)]


def draw_terminal(text: str) -> str:
    """Return the code for a terminal, two rows in a line, black on white whatever its colours."""
    rows = draw_squares(text)
    if len(rows) % 2:
        rows.append("0" * len(rows[0]))
    lines = (
        "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )
    return "\n".join(f"{_BLACK_ON_WHITE}{line}{_PLAIN}" for line in lines)
