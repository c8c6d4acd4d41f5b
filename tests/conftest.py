"""Generated tests search the same histories in every run of `make test`, so that its result means
the commit and not the day. `make search` draws new ones."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", print_blob=True, deadline=None)
settings.load_profile("same")
