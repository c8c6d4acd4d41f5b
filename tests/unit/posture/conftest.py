"""Both databases."""

from tests.postgres import cluster, database

__all__ = ["cluster", "database"]
