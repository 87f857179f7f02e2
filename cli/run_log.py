"""Record which photos of a folder are done, so that a stopped run can be resumed.

The folder `<out>/.carseg/` holds `done.jsonl`, with one line per result. For formats that merge
all photos into one file, it also holds the results of single photos until all are done.

A result is first written completely, then renamed to its final name, and then its line is added.
After any stop, even `kill -9`, a result with a line is complete. A result without a line is made
again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

FOLDER = ".carseg"


class FolderInUseError(Exception):
    """Another run writes into the folder."""


@dataclass(frozen=True)
class Photo:
    """The state of a photo file, which shows a change without reading the file."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Photo | None:
        """Return the state of a file, or None if there is no such file."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(str(path.absolute()), found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class _Line:
    """The record of one result.

    Attributes:
        target: file of the result, relative to the folder.
        size: size of that file in bytes.
        how: digest of everything except the photo that affects the result.
        photo_hash: SHA-256 of the photo; for a merged file, a digest of all photos and their names.
        photo: file of the photo; None for a merged file.
    """

    target: str
    size: int
    how: str
    photo_hash: str
    photo: Photo | None


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
        self._lines = self._read()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def hash_if_done(self, photo: Photo | None, target: Path, how: str) -> str | None:
        """Return the hash of a photo with a result, or None without one.

        A result that was merged since counts too. A photo counts as unchanged if its path, size
        and time of change are the same, or else if its bytes are the same.
        """
        line = self._lines.get(self._name(target))
        if line is None or photo is None or line.photo is None or line.how != how:
            return None
        if line.photo != photo and (
            line.photo.size != photo.size or _hash(photo.path) != line.photo_hash
        ):
            return None
        return line.photo_hash

    def is_there(self, target: Path) -> bool:
        """Return whether the file of a result exists with the size that was written."""
        line = self._lines.get(self._name(target))
        try:
            return line is not None and target.stat().st_size == line.size
        except OSError:
            return False

    def is_merged(self, target: Path, how: str, photos: str) -> bool:
        """Return whether a merged file holds exactly the photos with the digest `photos`."""
        line = self._lines.get(self._name(target))
        return (
            line is not None
            and (line.how, line.photo_hash) == (how, photos)
            and self.is_there(target)
        )

    def write(
        self, target: Path, document: bytes, how: str, photo_hash: str, photo: Photo | None
    ) -> None:
        """Write a result, then its line. Raises OSError."""
        self.replace(target, document)
        line = _Line(self._name(target), len(document), how, photo_hash, photo)
        self._file.write(json.dumps(asdict(line), separators=(",", ":")) + "\n")
        self._file.flush()
        self._lines[line.target] = line

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

    def _read(self) -> dict[str, _Line]:
        lines: dict[str, _Line] = {}
        self._file.seek(0)
        text = "\n"
        for text in self._file:
            try:
                fields = json.loads(text)
                photo = fields.pop("photo")
                line = _Line(**fields, photo=None if photo is None else Photo(**photo))
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # cut off by a power failure: that result is made again
            lines[line.target] = line
        if not text.endswith("\n"):
            self._file.write("\n")
        return lines


def digest(fields: list[str] | dict[str, str]) -> str:
    """Return a digest of several texts, equal only if all of them are equal."""
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:32]


def _hash(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
