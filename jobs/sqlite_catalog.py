"""Keep what owners said about their photos in SQLite, in the file of the photos."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress

from jobs.catalog import MOST_NAMES, PhotoEntry, PhotoPage, Summary
from jobs.sqlite_file import SqliteFile
from jobs.store import StoreError
from photo_result import Result

# The owner NULL sees all photos.
_VISIBLE = (
    "(:owner IS NULL OR EXISTS (SELECT 1 FROM owners "
    "WHERE owners.digest = photos.digest AND owner = :owner))"
)
_NUMBER = f"SELECT number FROM photos WHERE digest = :after AND {_VISIBLE}"  # noqa: S608
_PAGE = (
    "SELECT number, photos.digest, ended, summary, names FROM photos LEFT JOIN notes "  # noqa: S608
    "ON notes.digest = photos.digest AND notes.owner = coalesce(:owner, '') "
    f"WHERE state = 'Ready' AND number > :number AND {_VISIBLE} ORDER BY number LIMIT :limit"
)


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

    def page(self, limit: int, after: str | None = None, owner: str = "") -> PhotoPage | None:
        """See `Catalog.page`."""
        asked = {"owner": owner or None, "after": after, "limit": limit + 1, "number": 0}
        with self._file.transaction() as db:
            if after is not None:
                start = db.execute(_NUMBER, asked).fetchone()
                if start is None:
                    return None
                asked["number"] = start[0]
            rows = db.execute(_PAGE, asked).fetchall()
        entries = []
        for number, digest, ended, text, names in rows[:limit]:
            summary = self._summarise(number) if text is None else Summary.unpack(text)
            if summary is not None:
                entries.append(PhotoEntry(digest, ended, summary, json.loads(names or "[]")))
        return PhotoPage(entries, rows[limit - 1][1] if len(rows) > limit else None)

    def _summarise(self, number: int) -> Summary | None:
        """Store the summary of a result that has none, and return it; None if it is deleted."""
        with self._file.transaction() as db:
            row = db.execute("SELECT result FROM photos WHERE number = ?", (number,)).fetchone()
        if row is None:
            return None
        summary = Summary.of(Result.unpack(row[0]))
        with suppress(StoreError), self._file.transaction() as db:  # else it is made again
            db.execute("UPDATE photos SET summary = ? WHERE number = ?", (summary.pack(), number))
        return summary


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
