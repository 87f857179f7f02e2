"""Keep photos in one SQLite file in WAL mode, which survives the process.

The write-ahead log makes each transaction atomic, even after `kill -9` at any moment. Commits are
not synced to disk each time (`synchronous=NORMAL`). After a power failure the last transactions
may be missing, but the file stays consistent.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs.messages import CLOSING, DISK_FULL, STORE_FAILED
from jobs.store import PendingJob, StoredOutcome, StoreError

_VERSION = 2
_SCHEMA = """
CREATE TABLE photos (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT CHECK (state IN ('Ready', 'Error')),  -- NULL until it has ended
    ended REAL,
    message TEXT,
    result BLOB,
    model_version TEXT NOT NULL DEFAULT ''
);
CREATE INDEX photos_ended ON photos (ended) WHERE ended IS NOT NULL;
CREATE TABLE owners (
    owner TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES photos (digest) ON DELETE CASCADE,
    PRIMARY KEY (digest, owner)
) WITHOUT ROWID;
CREATE TABLE checks (id INTEGER PRIMARY KEY CHECK (id = 1), time REAL NOT NULL);
"""
# SQL that migrates a file to the next version, by the version of the file.
_MIGRATIONS = {1: "ALTER TABLE photos ADD COLUMN model_version TEXT NOT NULL DEFAULT '';"}


class SqliteStore:
    """Implementation of `jobs.store.Store` in a file that no other process may use, or in memory.

    Args:
        path: the file, created if it is missing; None keeps everything in memory.

    Raises:
        StoreError: another process uses the file, it is damaged, or a newer version wrote it.
    """

    def __init__(self, path: Path | None) -> None:
        self.lasting = path is not None
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
    def _transaction(self) -> Iterator[sqlite3.Connection]:
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

    def add(self, digest: str, owner: str) -> int:
        with self._transaction() as db:
            owners = db.execute("SELECT owner FROM owners WHERE digest = ?", (digest,)).fetchall()
            db.execute("DELETE FROM photos WHERE digest = ?", (digest,))
            number = db.execute("INSERT INTO photos (digest) VALUES (?)", (digest,)).lastrowid
            db.executemany(
                "INSERT INTO owners (digest, owner) VALUES (?, ?)",
                [(digest, name) for name in {owner, *(row[0] for row in owners)}],
            )
        assert number is not None  # noqa: S101 - an INSERT always has one
        return number

    def add_owner(self, digest: str, owner: str) -> bool:
        with self._transaction() as db:
            known = db.execute("SELECT 1 FROM photos WHERE digest = ?", (digest,)).fetchone()
            if known is None:
                return False
            added = db.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (owner, digest))
            return added.rowcount > 0

    def has_owner(self, digest: str, owner: str) -> bool:
        with self._transaction() as db:
            query = "SELECT 1 FROM owners WHERE digest = ? AND owner = ?"
            return db.execute(query, (digest, owner)).fetchone() is not None

    def remove_owner(self, digest: str, owner: str) -> int:
        with self._transaction() as db:
            db.execute("DELETE FROM owners WHERE digest = ? AND owner = ?", (digest, owner))
            query = "SELECT count(*) FROM owners WHERE digest = ?"
            return int(db.execute(query, (digest,)).fetchone()[0])

    def count_attempt(self, number: int) -> None:
        with self._transaction() as db:
            db.execute("UPDATE photos SET attempts = attempts + 1 WHERE number = ?", (number,))

    def finish(self, number: int, outcome: StoredOutcome) -> bool:
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE photos SET state = ?, ended = ?, message = ?, result = ?, "
                "model_version = ? WHERE number = ?",
                (
                    outcome.state,
                    time.time(),
                    outcome.message,
                    outcome.result,
                    outcome.model_version,
                    number,
                ),
            )
            return changed.rowcount > 0

    def load(self, digest: str) -> StoredOutcome | None:
        with self._transaction() as db:
            row = db.execute(
                "SELECT state, message, result, model_version FROM photos "
                "WHERE digest = ? AND state NOT NULL",
                (digest,),
            ).fetchone()
        return None if row is None else StoredOutcome(*row)

    def summaries(
        self, digests: Sequence[str], owner: str | None = None
    ) -> dict[str, StoredOutcome | None]:
        with self._transaction() as db:
            rows = db.execute(
                "SELECT digest, state, message, NULL, model_version FROM photos "
                "WHERE digest IN (SELECT value FROM json_each(:digests)) AND (:owner IS NULL OR "
                "EXISTS (SELECT 1 FROM owners WHERE owners.digest = photos.digest "
                "AND owner = :owner))",
                {"digests": json.dumps(digests), "owner": owner},
            ).fetchall()
        return {row[0]: None if row[1] is None else StoredOutcome(*row[1:]) for row in rows}

    def delete(self, digest: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM photos WHERE digest = ?", (digest,))

    def ready(self, owner: str | None = None) -> list[str]:
        with self._transaction() as db:
            rows = db.execute(
                "SELECT digest FROM photos WHERE state = 'Ready' AND (:owner IS NULL OR EXISTS "
                "(SELECT 1 FROM owners WHERE owners.digest = photos.digest AND owner = :owner)) "
                "ORDER BY number",
                {"owner": owner},
            ).fetchall()
        return [row[0] for row in rows]

    def final_states(self) -> dict[str, StoredOutcome]:
        with self._transaction() as db:
            rows = db.execute(
                "SELECT digest, state, message, NULL, model_version FROM photos "
                "WHERE state NOT NULL ORDER BY number"
            ).fetchall()
        return {row[0]: StoredOutcome(*row[1:]) for row in rows}

    def pending(self) -> list[PendingJob]:
        with self._transaction() as db:
            query = "SELECT digest, number, attempts FROM photos WHERE state IS NULL"
            rows = db.execute(f"{query} ORDER BY number").fetchall()
        return [PendingJob(*row) for row in rows]

    def expire(self, before: float, keep: int) -> list[str]:
        with self._transaction() as db:
            rows = db.execute(
                "DELETE FROM photos WHERE ended < ? OR number IN (SELECT number FROM photos "
                "WHERE ended NOT NULL ORDER BY ended DESC, number DESC LIMIT -1 OFFSET ?) "
                "RETURNING digest",
                (before, keep),
            ).fetchall()
        return [row[0] for row in rows]

    def check(self) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO checks VALUES (1, ?)", (time.time(),))

    def close(self) -> None:
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
