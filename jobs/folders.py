"""The two folders: `img/` with the photos that wait or are worked on, `seg_img/` with masks."""

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

from img_to_segments import PART_NAMES

log = logging.getLogger("carseg.jobs")

_UPLOAD_NAME = re.compile(r"[0-9a-f]{64}\.png")
_TEMPORARY = ".upload-"
_UNFINISHED = ".masks-"


class Uploads:
    """Photos as they came, each under its hash. A file with that name is always whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def draft(self, data: bytes) -> Iterator[Path]:
        """Write the bytes under another name, for `keep`; removed afterwards if not kept."""
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=_TEMPORARY, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.close()
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)

    def keep(self, draft: Path, digest: str) -> None:
        """Give a draft its final name."""
        draft.replace(self._path(digest))

    def has(self, digest: str) -> bool:
        """Whether the photo is there."""
        return self._path(digest).exists()

    def read(self, digest: str) -> bytes:
        """The bytes of a photo. Raises OSError if it is gone."""
        return self._path(digest).read_bytes()

    def remove(self, digest: str) -> None:
        """Remove a photo; a failure is logged, and made up for at the next start."""
        try:
            self._path(digest).unlink(missing_ok=True)
        except OSError:
            log.exception("The upload of job %s could not be removed", digest)

    def tidy(self) -> list[str]:
        """Remove what a sudden end left behind; gives the hashes of whole photos, oldest first."""
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
        """Raise OSError where nothing could be written now."""
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(b"writable?")

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.png"


class Masks:
    """One PNG per part of a photo: `<folder>/<hash>/<part>.png`, 255 where the part is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, digest: str, labels: NDArray[np.uint8]) -> None:
        """Write the masks of a label map (H, W) uint8.

        A photo's folder appears when it is complete, and replaces one that is there.
        """
        unfinished = Path(tempfile.mkdtemp(dir=self.folder, prefix=_UNFINISHED))
        try:
            for label in np.unique(labels[labels > 0]).tolist():
                mask = np.where(labels == label, np.uint8(255), np.uint8(0))
                path = unfinished / f"{PART_NAMES[label - 1]}.png"
                path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
            unfinished.chmod(0o755)  # mkdtemp's folders are for their owner alone
            self.remove(digest)
            unfinished.rename(self.folder / digest)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def remove(self, digest: str) -> None:
        """Remove the masks of a photo, where there are some."""
        shutil.rmtree(self.folder / digest, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a sudden end left behind."""
        for leftover in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
