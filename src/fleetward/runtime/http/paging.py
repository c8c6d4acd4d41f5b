"""Lists of the API: `{"items":[…],"total","page","per_page"}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Generic, TypeAlias, TypeVar

import msgspec
from litestar.params import QueryParameter

MAX_PER_PAGE: Final = 500
MAX_PAGE: Final = 1_000_000
DEFAULT_PER_PAGE: Final = 50

PageNumber: TypeAlias = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)]
PerPage: TypeAlias = Annotated[int, QueryParameter(ge=1, le=MAX_PER_PAGE)]

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list, and how many there are in all."""

    items: Sequence[T]
    total: int
    page: int
    per_page: int


def offset_of(page: int, per_page: int) -> int:
    """Return how many rows come before this page."""
    return (page - 1) * per_page


def slice_page(rows: Sequence[T], page: int, per_page: int) -> Page[T]:
    """Cut one page out of rows that are all in memory. Past the end a page is empty, no error."""
    start = offset_of(page, per_page)
    return Page(rows[start : start + per_page], len(rows), page, per_page)
