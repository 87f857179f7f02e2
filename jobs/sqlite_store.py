"""Keep photos, their owners and outcomes in SQLite."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.sqlite_catalog import SqliteCatalog, add_name
from jobs.sqlite_file import SqliteFile
from jobs.store import PendingJob, StoredOutcome


class SqliteStore:
    """Implementation of `jobs.store.Store` in a file that no other process may use, or in memory.

    Args:
        path: the file, created if it is missing; None keeps everything in memory.

    Raises:
        StoreError: another process uses the file, it is damaged, or a newer version wrote it.
    """

    def __init__(self, path: Path | None) -> None:
        self.lasting = path is not None
        self._file = SqliteFile(path)
        self.catalog = SqliteCatalog(self._file)

    def add(
        self, digest: str, owner: str, file_name: str | None = None, *, damage: bool = False
    ) -> int:
        with self._file.transaction() as db:
            owners = db.execute("SELECT owner FROM owners WHERE digest = ?", (digest,)).fetchall()
            notes = db.execute(
                "SELECT owner, digest, names, feedback FROM notes WHERE digest = ?", (digest,)
            ).fetchall()
            db.execute("DELETE FROM photos WHERE digest = ?", (digest,))
            number = db.execute(
                "INSERT INTO photos (digest, examine) VALUES (?, ?)", (digest, damage)
            ).lastrowid
            db.executemany(
                "INSERT INTO owners (digest, owner) VALUES (?, ?)",
                [(digest, name) for name in {owner, *(row[0] for row in owners)}],
            )
            db.executemany(
                "INSERT INTO notes (owner, digest, names, feedback) VALUES (?, ?, ?, ?)", notes
            )
            if file_name is not None:
                add_name(db, digest, owner, file_name)
        assert number is not None  # noqa: S101 - an INSERT always has one
        return number

    def examine(self, digest: str, owner: str, file_name: str | None = None) -> int | None:
        with self._file.transaction() as db:
            row = db.execute(
                "UPDATE photos SET examine = 1, attempts = iif(state IS NULL, attempts, 0) "
                "WHERE digest = ? RETURNING number",
                (digest,),
            ).fetchone()
            if row is None:
                return None
            db.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (owner, digest))
            if file_name is not None:
                add_name(db, digest, owner, file_name)
        return int(row[0])

    def end_examination(self, number: int) -> None:
        with self._file.transaction() as db:
            db.execute("UPDATE photos SET examine = 0 WHERE number = ?", (number,))

    def add_owner(self, digest: str, owner: str) -> bool:
        with self._file.transaction() as db:
            known = db.execute("SELECT 1 FROM photos WHERE digest = ?", (digest,)).fetchone()
            if known is None:
                return False
            added = db.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (owner, digest))
            return added.rowcount > 0

    def add_name(self, digest: str, owner: str, file_name: str) -> None:
        with self._file.transaction() as db:
            if db.execute("SELECT 1 FROM photos WHERE digest = ?", (digest,)).fetchone():
                add_name(db, digest, owner, file_name)

    def has_owner(self, digest: str, owner: str) -> bool:
        with self._file.transaction() as db:
            query = "SELECT 1 FROM owners WHERE digest = ? AND owner = ?"
            return db.execute(query, (digest, owner)).fetchone() is not None

    def remove_owner(self, digest: str, owner: str) -> int:
        with self._file.transaction() as db:
            db.execute("DELETE FROM owners WHERE digest = ? AND owner = ?", (digest, owner))
            db.execute("DELETE FROM notes WHERE digest = ? AND owner = ?", (digest, owner))
            query = "SELECT count(*) FROM owners WHERE digest = ?"
            return int(db.execute(query, (digest,)).fetchone()[0])

    def count_attempt(self, number: int) -> None:
        with self._file.transaction() as db:
            db.execute("UPDATE photos SET attempts = attempts + 1 WHERE number = ?", (number,))

    def finish(self, number: int, outcome: StoredOutcome) -> bool:
        with self._file.transaction() as db:
            changed = db.execute(
                "UPDATE photos SET state = ?, ended = ?, message = ?, result = ?, "
                "model_version = ?, summary = ?, damage_version = ?, examine = 0 WHERE number = ?",
                (
                    outcome.state,
                    time.time(),
                    outcome.message,
                    outcome.result,
                    outcome.model_version,
                    outcome.summary or None,
                    outcome.damage_version,
                    number,
                ),
            )
            return changed.rowcount > 0

    def load(self, digest: str) -> StoredOutcome | None:
        with self._file.transaction() as db:
            row = db.execute(
                "SELECT state, message, result, model_version, '', damage_version FROM photos "
                "WHERE digest = ? AND state NOT NULL",
                (digest,),
            ).fetchone()
        return None if row is None else StoredOutcome(*row)

    def summaries(
        self, digests: Sequence[str], owner: str | None = None
    ) -> dict[str, StoredOutcome | None]:
        with self._file.transaction() as db:
            rows = db.execute(
                "SELECT digest, state, message, NULL, model_version FROM photos "
                "WHERE digest IN (SELECT value FROM json_each(:digests)) AND (:owner IS NULL OR "
                "EXISTS (SELECT 1 FROM owners WHERE owners.digest = photos.digest "
                "AND owner = :owner))",
                {"digests": json.dumps(digests), "owner": owner},
            ).fetchall()
        return {row[0]: None if row[1] is None else StoredOutcome(*row[1:]) for row in rows}

    def delete(self, digest: str) -> None:
        with self._file.transaction() as db:
            db.execute("DELETE FROM photos WHERE digest = ?", (digest,))

    def ready(self, owner: str | None = None) -> list[str]:
        with self._file.transaction() as db:
            rows = db.execute(
                "SELECT digest FROM photos WHERE state = 'Ready' AND (:owner IS NULL OR EXISTS "
                "(SELECT 1 FROM owners WHERE owners.digest = photos.digest AND owner = :owner)) "
                "ORDER BY number",
                {"owner": owner},
            ).fetchall()
        return [row[0] for row in rows]

    def final_states(self) -> dict[str, StoredOutcome]:
        with self._file.transaction() as db:
            rows = db.execute(
                "SELECT digest, state, message, NULL, model_version, '', damage_version "
                "FROM photos WHERE state NOT NULL ORDER BY number"
            ).fetchall()
        return {row[0]: StoredOutcome(*row[1:]) for row in rows}

    def pending(self) -> list[PendingJob]:
        with self._file.transaction() as db:
            rows = db.execute(
                "SELECT digest, number, attempts, examine, state NOT NULL FROM photos "
                "WHERE state IS NULL OR examine ORDER BY number"
            ).fetchall()
        return [
            PendingJob(digest, number, attempts, bool(examine), bool(has_ended))
            for digest, number, attempts, examine, has_ended in rows
        ]

    def expire(self, before: float, keep: int) -> list[str]:
        with self._file.transaction() as db:
            rows = db.execute(
                "DELETE FROM photos WHERE ended < ? OR number IN (SELECT number FROM photos "
                "WHERE ended NOT NULL ORDER BY ended DESC, number DESC LIMIT -1 OFFSET ?) "
                "RETURNING digest",
                (before, keep),
            ).fetchall()
        return [row[0] for row in rows]

    def check(self) -> None:
        with self._file.transaction() as db:
            db.execute("INSERT OR REPLACE INTO checks VALUES (1, ?)", (time.time(),))

    def close(self) -> None:
        self._file.close()
