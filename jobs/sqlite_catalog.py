"""Keep what owners said about their photos in SQLite, in the file of the photos."""

from __future__ import annotations

import json
import sqlite3

from jobs.catalog import MOST_NAMES
from jobs.sqlite_file import SqliteFile


class SqliteCatalog:
    """Implementation of `jobs.catalog.Catalog` in the file of `jobs.sqlite_store.SqliteStore`.

    Args:
        file: the file of the photos.
    """

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def file_names(self, digest: str, owner: str = "") -> list[str]:
        """See `Catalog.file_names`."""
        with self._file.transaction() as db:
            return _names(db, digest, owner)


def add_name(db: sqlite3.Connection, digest: str, owner: str, file_name: str) -> None:
    """Make a name the newest one of a known photo, in the current transaction."""
    others = [name for name in _names(db, digest, owner) if name != file_name]
    db.execute(
        "INSERT INTO notes (owner, digest, names) VALUES (?, ?, ?) "
        "ON CONFLICT (digest, owner) DO UPDATE SET names = excluded.names",
        (owner, digest, json.dumps([file_name, *others][:MOST_NAMES])),
    )


def _names(db: sqlite3.Connection, digest: str, owner: str) -> list[str]:
    query = "SELECT names FROM notes WHERE digest = ? AND owner = ?"
    row = db.execute(query, (digest, owner)).fetchone()
    names: list[str] = [] if row is None else json.loads(row[0])
    return names
