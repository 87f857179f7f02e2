"""Keep what owners said about their photos in SQLite, in the file of the photos."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress

from jobs.catalog import MOST_NAMES, Feedback, PhotoEntry, PhotoPage, Summary
from jobs.sqlite_file import SqliteFile
from jobs.store import StoreError
from photo_result import Result

# In both queries the owner NULL sees all photos.
_NUMBER = """
    SELECT number FROM photos WHERE digest = :digest AND (:owner IS NULL OR EXISTS
        (SELECT 1 FROM owners WHERE owners.digest = photos.digest AND owner = :owner))
"""
_PAGE = """
    SELECT number, photos.digest, ended, summary, names, feedback FROM photos
    LEFT JOIN notes ON notes.digest = photos.digest AND notes.owner = coalesce(:owner, '')
    WHERE state = 'Ready' AND number > :number AND (NOT :marked OR feedback NOT NULL)
        AND (:owner IS NULL OR EXISTS
            (SELECT 1 FROM owners WHERE owners.digest = photos.digest AND owner = :owner))
    ORDER BY number LIMIT :limit
"""


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

    def page(
        self, limit: int, after: str | None = None, owner: str = "", *, marked: bool = False
    ) -> PhotoPage | None:
        """See `Catalog.page`."""
        asked = {"owner": owner or None, "limit": limit + 1, "number": 0, "marked": marked}
        with self._file.transaction() as db:
            if after is not None:
                start = db.execute(_NUMBER, asked | {"digest": after}).fetchone()
                if start is None:
                    return None
                asked["number"] = start[0]
            rows = db.execute(_PAGE, asked).fetchall()
        entries = []
        for number, digest, ended, text, names, marks in rows[:limit]:
            summary = self._summarise(number) if text is None else Summary.unpack(text)
            if summary is not None:
                feedback = Feedback.unpack(marks) if marked else None
                names = json.loads(names or "[]")
                entries.append(PhotoEntry(digest, ended, summary, names, feedback))
        return PhotoPage(entries, rows[limit - 1][1] if len(rows) > limit else None)

    def feedback(self, digest: str, owner: str = "") -> Feedback | None:
        """See `Catalog.feedback`."""
        with self._file.transaction() as db:
            row = db.execute(
                "SELECT feedback FROM notes WHERE digest = ? AND owner = ? AND feedback NOT NULL",
                (digest, owner),
            ).fetchone()
        return None if row is None else Feedback.unpack(row[0])

    def set_feedback(self, digest: str, feedback: Feedback | None, owner: str = "") -> bool:
        """See `Catalog.set_feedback`."""
        with self._file.transaction() as db:
            asked = {"digest": digest, "owner": owner or None}
            if db.execute(_NUMBER, asked).fetchone() is None:
                return False
            db.execute(
                "INSERT INTO notes (owner, digest, feedback) VALUES (?, ?, ?) "
                "ON CONFLICT (digest, owner) DO UPDATE SET feedback = excluded.feedback",
                (owner, digest, None if feedback is None else feedback.pack()),
            )
        return True

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
