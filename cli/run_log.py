"""Record which photos of a folder are done, so that a stopped run can be resumed.

The folder `<out>/.carseg/` holds `done.jsonl`, with one line, an entry, per result. For formats
that merge all photos into one file, it also holds the results of single photos until all are done.

A result is first written completely, then renamed to its final name, and then its entry is added.
After any stop, even `kill -9`, a result with an entry is complete. A result without an entry is
made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = ".carseg"


class FolderInUseError(Exception):
    """Error for a folder into which another run writes."""


@dataclass(frozen=True)
class FileStamp:
    """The state of a photo file, which shows a change without reading the file."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileStamp | None:
        """Return the state of a file, or None if there is no such file."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(str(path.absolute()), found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class _Entry:
    """The record of one result, a line of `done.jsonl`.

    Attributes:
        target: file of the result, relative to the folder.
        size: size of that file in bytes.
        options_digest: digest of everything except the photo that affects the result.
        photo_hash: SHA-256 of the photo; for a merged file, a digest of all photos and their names.
        photo: file of the photo; None for a merged file.
    """

    target: str
    size: int
    options_digest: str
    photo_hash: str
    photo: FileStamp | None

    def to_json(self) -> str:
        """Return the entry as JSON for `from_json`."""
        fields = asdict(self)
        keys = ("how" if name == "options_digest" else name for name in fields)
        return json.dumps(dict(zip(keys, fields.values(), strict=True)), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> _Entry:
        """Read an entry. Raises ValueError, TypeError, KeyError or AttributeError."""
        fields = json.loads(text)
        photo = fields.pop("photo")
        stamp = None if photo is None else FileStamp(**photo)
        return cls(options_digest=fields.pop("how"), photo=stamp, **fields)


class RunLog:
    """The log of the results in one folder. For one thread, and one process at a time.

    Attributes:
        out: folder of the results.
        parts: folder of the results of single photos that are to be merged.
    """

    def __init__(self, out: Path, *, anew: bool = False) -> None:
        """Open and lock the log of a folder.

        Args:
            out: folder of the results; created if needed.
            anew: discard the records of earlier runs.

        Raises:
            FolderInUseError: another process has it open.
            OSError: the folder can't be written.
        """
        self.out, self._folder = out, out / FOLDER
        self.parts = self._folder / "parts"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = (self._folder / "done.jsonl").open("a+", encoding="utf-8", errors="replace")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise FolderInUseError from None
        if anew:
            self._file.truncate(0)
        self._entries = self._read()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def hash_if_done(
        self, photo: FileStamp | None, target: Path, options_digest: str
    ) -> str | None:
        """Return the hash of a photo with a result, or None without one.

        A result that was merged since counts too. A photo counts as unchanged if its path, size
        and time of change are the same, or else if its bytes are the same.
        """
        entry = self._entries.get(self._name(target))
        if (
            entry is None
            or photo is None
            or entry.photo is None
            or entry.options_digest != options_digest
        ):
            return None
        if entry.photo != photo and (
            entry.photo.size != photo.size or _hash(photo.path) != entry.photo_hash
        ):
            return None
        return entry.photo_hash

    def is_there(self, target: Path) -> bool:
        """Return whether the file of a result exists with the size that was written."""
        entry = self._entries.get(self._name(target))
        try:
            return entry is not None and target.stat().st_size == entry.size
        except OSError:
            return False

    def is_merged(self, target: Path, options_digest: str, photos: str) -> bool:
        """Return whether a merged file holds exactly the photos with the digest `photos`."""
        entry = self._entries.get(self._name(target))
        return (
            entry is not None
            and (entry.options_digest, entry.photo_hash) == (options_digest, photos)
            and self.is_there(target)
        )

    def write(
        self,
        target: Path,
        document: bytes,
        options_digest: str,
        photo_hash: str,
        photo: FileStamp | None,
    ) -> None:
        """Write a result, then its entry. Raises OSError."""
        self.replace(target, document)
        entry = _Entry(self._name(target), len(document), options_digest, photo_hash, photo)
        self._file.write(entry.to_json() + "\n")
        self._file.flush()
        self._entries[entry.target] = entry

    def replace(self, target: Path, document: bytes) -> None:
        """Write a file under a temporary name, then rename it. Raises OSError."""
        unfinished = self._folder / "unfinished"
        unfinished.write_bytes(document)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.replace(target)

    def drop_parts(self) -> None:
        """Remove the results of single photos."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def _name(self, target: Path) -> str:
        return str(target).removeprefix(f"{self.out}{os.sep}")

    def _read(self) -> dict[str, _Entry]:
        entries: dict[str, _Entry] = {}
        self._file.seek(0)
        text = "\n"
        for text in self._file:
            try:
                entry = _Entry.from_json(text)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # cut off by a power failure: that result is made again
            entries[entry.target] = entry
        if not text.endswith("\n"):
            self._file.write("\n")
        return entries


def digest(fields: list[str] | dict[str, str]) -> str:
    """Return a digest of several texts, equal only if all of them are equal."""
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:32]


def _hash(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
