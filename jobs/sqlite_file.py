"""Keep tables in one SQLite file in WAL mode, which survives the process.

The write-ahead log makes each transaction atomic, even after `kill -9` at any moment. Commits are
not synced to disk each time (`synchronous=NORMAL`). After a power failure the last transactions
may be missing, but the file stays consistent.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.messages import CLOSING, DISK_FULL, STORE_FAILED
from jobs.store import StoreError

_VERSION = 6
_NOTES = """
CREATE TABLE notes (
    owner TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES photos (digest) ON DELETE CASCADE,
    names TEXT NOT NULL DEFAULT '[]',  -- JSON, newest first
    PRIMARY KEY (digest, owner)
) WITHOUT ROWID;
"""
# `examine` is 1 while damage is asked for and not in the result, `damage_version` NULL without it.
_DAMAGE = """
ALTER TABLE photos ADD COLUMN examine INTEGER NOT NULL DEFAULT 0;
ALTER TABLE photos ADD COLUMN damage_version TEXT;
"""
_FEEDBACK = "ALTER TABLE notes ADD COLUMN feedback TEXT;  -- JSON, NULL for none\n"
_SCHEMA = f"""
CREATE TABLE photos (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT CHECK (state IN ('Ready', 'Error')),  -- NULL until it has ended
    ended REAL,
    message TEXT,
    summary TEXT,  -- JSON; NULL without a result, and for results of earlier releases
    result BLOB,
    model_version TEXT NOT NULL DEFAULT ''
);
CREATE INDEX photos_ended ON photos (ended) WHERE ended IS NOT NULL;
CREATE TABLE owners (
    owner TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES photos (digest) ON DELETE CASCADE,
    PRIMARY KEY (digest, owner)
) WITHOUT ROWID;
{_NOTES}{_FEEDBACK}{_DAMAGE}
CREATE TABLE checks (id INTEGER PRIMARY KEY CHECK (id = 1), time REAL NOT NULL);
"""
# SQL that migrates a file to the next version, by the version of the file.
_MIGRATIONS = {
    1: "ALTER TABLE photos ADD COLUMN model_version TEXT NOT NULL DEFAULT '';",
    2: _NOTES,
    3: "ALTER TABLE photos ADD COLUMN summary TEXT;",
    4: _FEEDBACK,
    5: _DAMAGE,
}


class SqliteFile:
    """The connection to a file that no other process may use, or to memory. Thread-safe.

    Args:
        path: the file, created if it is missing; None keeps everything in memory.

    Raises:
        StoreError: another process uses the file, it is damaged, or a newer version wrote it.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path or ":memory:", timeout=0, check_same_thread=False)
        try:
            self._db.isolation_level = None  # this class begins its transactions explicitly
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL",
                           "foreign_keys=ON", "journal_size_limit=16777216"):  # fmt: skip
                self._db.execute(f"PRAGMA {pragma}")
            self._prepare()
        except StoreError:
            self._db.close()
            raise
        except sqlite3.Error as error:
            self._db.close()
            raise StoreError(_why_not(path, error)) from error

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise StoreError("it was written by a newer version of the service")
        if version == 0:
            changes = _SCHEMA
        else:
            changes = "".join(_MIGRATIONS[earlier] for earlier in range(version, _VERSION))
        # Always write, so that a second process fails at once on a file in use.
        self._db.executescript(
            f"BEGIN IMMEDIATE; {changes} PRAGMA user_version={_VERSION}; COMMIT;"
        )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file for one transaction; a StoreError or any other error rolls it back."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if isinstance(error, sqlite3.ProgrammingError):
                    raise StoreError(CLOSING) from error
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
                    raise StoreError(DISK_FULL if full else STORE_FAILED, full=full) from error
                raise

    def close(self) -> None:
        """Close the file; nothing else may be called afterwards."""
        with self._lock:
            self._db.close()


def _why_not(path: Path | None, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    name = "the memory" if path is None else path.name
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another service uses it"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"{name} is damaged; move it away to start without its results"
    return f"{name} can't be used: {error}"
