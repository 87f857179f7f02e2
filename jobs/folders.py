"""Manage the two folders: `img/` with the uploads of pending photos, `seg_img/` with masks."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.labels import name_of

log = logging.getLogger("carseg.jobs")

_UPLOAD_NAME = re.compile(r"[0-9a-f]{64}\.png")
_TEMPORARY = ".upload-"
_UNFINISHED = ".masks-"


class Uploads:
    """Folder of the uploaded files, each named `<hash>.png`.

    A file with such a name is always complete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def write_temporary(self, data: bytes) -> Iterator[Path]:
        """Write the bytes to a temporary file, and yield its path for `commit`.

        The file is removed at the end of the context unless `commit` renamed it.
        """
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=_TEMPORARY, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.close()
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)

    def commit(self, temporary: Path, digest: str) -> None:
        """Rename a temporary file to the final name of its photo."""
        temporary.replace(self._path(digest))

    def has(self, digest: str) -> bool:
        """Return True if the upload of a photo exists."""
        return self._path(digest).exists()

    def read(self, digest: str) -> bytes:
        """Return the bytes of an upload.

        Raises:
            OSError: the file no longer exists or cannot be read.
        """
        return self._path(digest).read_bytes()

    def remove(self, digest: str) -> None:
        """Remove an upload; on failure log it, and leave the file to the next start."""
        try:
            self._path(digest).unlink(missing_ok=True)
        except OSError:
            log.exception("The upload of job %s could not be removed", digest)

    def recover(self) -> list[str]:
        """Remove temporary and damaged files that a crash left.

        Returns:
            Hashes of the complete uploads, oldest first.
        """
        for leftover in self.folder.glob(f"{_TEMPORARY}*"):
            leftover.unlink(missing_ok=True)
        found = [path for path in self.folder.glob("*.png") if _UPLOAD_NAME.fullmatch(path.name)]
        whole = []
        for path in sorted(found, key=lambda path: path.stat().st_mtime):
            if hashlib.sha256(path.read_bytes()).hexdigest() == path.stem:
                whole.append(path.stem)
            else:
                log.warning("Removed %s: its content does not fit its name", path.name)
                path.unlink()
        return whole

    def check(self) -> None:
        """Raise OSError if the folder is not writable now."""
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(b"writable?")

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.png"


class Masks:
    """Folder of the mask files: `<folder>/<hash>/<part>.png`, 255 inside the part, 0 outside.

    A photo that was examined for damage has `damage.png`, too, with the kind of each pixel.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, digest: str, labels: NDArray[np.uint8], damage: bytes | None = None) -> None:
        """Write the masks of a photo.

        The folder of the photo appears only once it is complete. It replaces an earlier folder.

        Args:
            digest: hash of the photo.
            labels: label map (H, W) uint8; 0 is background, n is `name_of(n)`.
            damage: PNG of the damage; None if the photo was not examined for damage.
        """
        unfinished = Path(tempfile.mkdtemp(dir=self.folder, prefix=_UNFINISHED))
        try:
            for label in np.unique(labels[labels > 0]).tolist():
                mask = np.where(labels == label, np.uint8(255), np.uint8(0))
                path = unfinished / f"{name_of(label)}.png"
                path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
            if damage is not None:
                (unfinished / "damage.png").write_bytes(damage)
            unfinished.chmod(0o755)  # mkdtemp makes folders that only their owner can read
            self.remove(digest)
            unfinished.rename(self.folder / digest)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def remove(self, digest: str) -> None:
        """Remove the masks of a photo, if any."""
        shutil.rmtree(self.folder / digest, ignore_errors=True)

    def recover(self) -> None:
        """Remove incomplete folders that a crash left."""
        for leftover in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
