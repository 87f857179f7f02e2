"""Accept photos, work on each once, remember the results, clean up.

The life of a job: POST -> `img/<hash>.png` (the bytes as they came) -> Uploaded -> a worker takes
it: Processing -> Ready or Error -> the file is removed. A file that is still there when the
service starts belongs to a job that never ended, and is taken up again.

One lock guards all state, the two public dicts included; nothing slow happens under it.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from car_classification import CarType
from img_to_segments import PART_NAMES
from pipeline import Analyser, Analysis, ModelsError, Part, Stage, outline
from segment_interface import ImageError, decode_image

log = logging.getLogger(__name__)

State = Literal["Uploaded", "Processing", "Ready", "Error"]
Segments = dict[str, list[list[list[float]]]]  # part -> polygons -> points [x, y]

UNEXPECTED = "The photo could not be processed because of an error in the service."

_WAITING = "Waiting for a free worker."
_RUNNING = "Being processed."
_HANDOVER_BYTES = 64 * 1024 * 1024  # decoded photos that may wait in memory, together
_UPLOAD_NAME = re.compile(r"[0-9a-f]{64}\.png")
_TEMPORARY = ".upload-"


class ClosingError(Exception):
    """The service is stopping and takes no more photos."""


@dataclass(frozen=True)
class Result:
    """Everything that is remembered of a photo that is Ready.

    Attributes:
        width, height: size of the upright photo in pixels.
        type, message: as in `pipeline.Analysis`.
        parts: as in `pipeline.outline`, with the default tolerance.
        packed_labels: the label map, compressed; see `labels`.
    """

    width: int
    height: int
    type: CarType | None
    message: str
    parts: list[Part]
    packed_labels: bytes

    @classmethod
    def of(cls, analysis: Analysis) -> Result:
        """Outline the parts of an analysis and pack its label map."""
        height, width = analysis.labels.shape
        return cls(
            width=width,
            height=height,
            type=analysis.type,
            message=analysis.message,
            parts=outline(analysis.labels, analysis.confidences),
            packed_labels=zlib.compress(np.ascontiguousarray(analysis.labels).data, level=1),
        )

    def labels(self) -> NDArray[np.uint8]:
        """(H, W) uint8 label map, read-only."""
        flat = np.frombuffer(zlib.decompress(self.packed_labels), np.uint8)
        return flat.reshape(self.height, self.width)


class Standing(NamedTuple):
    """Where one photo stood at the moment of the question."""

    state: State
    message: str
    result: Result | None  # there if the state is Ready
    position: int | None = None  # in the queue while Uploaded; 1 is next
    stage: Stage | None = None  # what is being done while Processing

    @property
    def has_ended(self) -> bool:
        """Whether it is Ready or Error."""
        return self.state in ("Ready", "Error")


@dataclass
class _Job:
    """The same while it changes; read and written under the lock."""

    number: int  # of all jobs, in the order in which they wait
    state: State = "Uploaded"
    message: str = _WAITING
    stage: Stage | None = None
    result: Result | None = None
    waiting: NDArray[np.uint8] | None = field(default=None, repr=False)


def rounded(ring: list[tuple[float, float]]) -> list[list[float]]:
    """A ring as it is sent: [x, y] with two decimals."""
    return [[round(x, 2), round(y, 2)] for x, y in ring]


class Jobs:
    """All photos this service knows, and the workers that work on them."""

    def __init__(
        self,
        stages: Analyser,
        *,
        uploads: Path,
        masks: Path | None,
        workers: int,
        max_pixels: int,
        processing_status: dict[str, str],
        processed_segments: dict[str, Segments],
    ) -> None:
        """
        Args:
            stages: the networks, safe to call from several threads.
            uploads: folder for the photos that wait or are worked on.
            masks: folder for one PNG per part, or None to write none.
            workers: photos worked on at the same time.
            max_pixels: largest photo.
            processing_status: filled with hash -> Uploaded, Processing, Ready or Error.
            processed_segments: filled with hash -> part -> exteriors of its polygons.
        """
        self._stages = stages
        self._uploads = uploads
        self._masks = masks
        self._max_pixels = max_pixels
        self._status = processing_status
        self._segments = processed_segments
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._taken = self._started = 0  # jobs, since the start of the service
        self._jobs: dict[str, _Job] = {}
        self._held = 0  # bytes of the decoded photos that wait
        self._closing = False
        self._decoding = threading.BoundedSemaphore(workers)  # bounds the memory of POST
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="worker")

    # --- what the routes use

    def accept(self, data: bytes) -> tuple[str, bool]:
        """Take a photo, unless it is known and did not end in Error.

        Returns:
            The SHA-256 of the bytes in hex, and whether a new job was started.

        Raises:
            ImageError: the bytes are no picture that we take.
            ClosingError: the service is stopping.
        """
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            if self._is_known(digest):
                return digest, False
        with self._decoding:
            rgb = decode_image(data, self._max_pixels)
            return digest, self._admit(digest, data, rgb)

    def find(self, digest: str) -> Standing | None:
        """Where a photo stands, None if it is unknown."""
        with self._lock:
            return self._standing(digest)

    def wait(self, digest: str, seen: Standing | None, seconds: float) -> Standing | None:
        """Where a photo stands, as soon as that is not `seen`, or when the time is over.

        Returns at once while the service stops.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or self._standing(digest) != seen, timeout=seconds
            )
            return self._standing(digest)

    @property
    def is_closing(self) -> bool:
        """Whether the service is stopping."""
        return self._closing

    def ready(self) -> list[str]:
        """Hashes of the photos that are Ready, in the order in which they were taken."""
        with self._lock:
            return [digest for digest, job in self._jobs.items() if job.state == "Ready"]

    # --- start and stop

    def resume(self) -> int:
        """Take up the photos that an earlier run of the service left; returns how many."""
        for leftover in self._uploads.glob(f"{_TEMPORARY}*"):
            leftover.unlink(missing_ok=True)
        count = 0
        for path in sorted(self._uploads.glob("*.png"), key=lambda path: path.stat().st_mtime):
            if not _UPLOAD_NAME.fullmatch(path.name):
                continue
            if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem:
                log.warning("Removed %s: its content does not fit its name", path.name)
                path.unlink()
                continue
            with self._lock:
                if not self._is_known(path.stem):
                    self._enqueue(path.stem, None)
                    count += 1
        return count

    def close(self) -> None:
        """Take no more photos, wait for those being processed, leave the others on disk."""
        with self._lock:
            self._closing = True
            self._changed.notify_all()
        self._executor.shutdown(wait=True, cancel_futures=True)

    # --- inside

    def _standing(self, digest: str) -> Standing | None:
        """Under the lock: see `find`."""
        job = self._jobs.get(digest)
        if job is None:
            return None
        position = job.number - self._started if job.state == "Uploaded" else None
        return Standing(job.state, job.message, job.result, position, job.stage)

    def _is_known(self, digest: str) -> bool:
        job = self._jobs.get(digest)
        return job is not None and job.state != "Error"

    def _admit(self, digest: str, data: bytes, rgb: NDArray[np.uint8]) -> bool:
        """Write the upload and start its job, unless someone else just did."""
        with tempfile.NamedTemporaryFile(
            dir=self._uploads, prefix=_TEMPORARY, delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.close()
                with self._lock:
                    if self._closing:
                        raise ClosingError
                    if self._is_known(digest):
                        return False
                    # Under its final name a file is always whole, and always has a job.
                    temporary.replace(self._path(digest))
                    self._enqueue(digest, rgb)
                    return True
            finally:
                temporary.unlink(missing_ok=True)

    def _enqueue(self, digest: str, rgb: NDArray[np.uint8] | None) -> None:
        """Under the lock: start a job. The decoded photo is kept if not too many wait."""
        self._taken += 1
        job = _Job(self._taken)
        if rgb is not None and (not self._held or self._held + rgb.nbytes <= _HANDOVER_BYTES):
            job.waiting = rgb
            self._held += rgb.nbytes
        self._jobs.pop(digest, None)  # one that is tried again goes to the end
        self._jobs[digest] = job
        self._status[digest] = job.state
        self._executor.submit(self._run, digest, job)

    def _run(self, digest: str, job: _Job) -> None:
        """In a worker: from Uploaded to Ready or Error."""
        if self._closing or not threading.main_thread().is_alive():
            return  # the process ends; the file stays for the next start
        with self._lock:
            rgb, job.waiting = job.waiting, None
            self._held -= 0 if rgb is None else rgb.nbytes
            job.state, job.message = "Processing", _RUNNING
            self._status[digest] = job.state
            self._started += 1
            self._changed.notify_all()
        try:
            result = self._work(digest, job, rgb)
        except (ImageError, ModelsError) as error:
            self._end(digest, job, str(error), None)
        except Exception:
            log.exception("Job %s failed", digest)
            self._end(digest, job, UNEXPECTED, None)
        else:
            self._end(digest, job, result.message, result)

    def _work(self, digest: str, job: _Job, rgb: NDArray[np.uint8] | None) -> Result:
        def at(stage: Stage) -> None:
            with self._lock:
                job.stage = stage
                self._changed.notify_all()

        if rgb is None:
            rgb = decode_image(self._path(digest).read_bytes(), self._max_pixels)
        analysis = self._stages.analyse(rgb, at)
        at("polygons")
        if self._masks is not None:
            write_masks(self._masks / digest, analysis.labels)
        return Result.of(analysis)

    def _end(self, digest: str, job: _Job, message: str, result: Result | None) -> None:
        segments = None if result is None else _exteriors(result.parts)
        with self._lock:
            # Removed under the lock: the same photo posted again now would write it anew.
            try:
                self._path(digest).unlink(missing_ok=True)
            except OSError:
                log.exception("The upload of job %s could not be removed", digest)
            if segments is not None:
                self._segments[digest] = segments
            job.state = "Error" if result is None else "Ready"
            job.message = message
            job.stage = None
            job.result = result
            self._status[digest] = job.state
            self._changed.notify_all()

    def _path(self, digest: str) -> Path:
        return self._uploads / f"{digest}.png"


def _exteriors(parts: list[Part]) -> Segments:
    return {part.name: [rounded(polygon.exterior) for polygon in part.polygons] for part in parts}


def write_masks(folder: Path, labels: NDArray[np.uint8]) -> None:
    """Write one PNG per part that is present: `folder/<part>.png`, 255 where the part is.

    The folder appears when it is complete, and replaces one that is there.

    Args:
        labels: (H, W) uint8 label map.
    """
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".masks-"))
    try:
        for label in np.unique(labels[labels > 0]).tolist():
            mask = np.where(labels == label, np.uint8(255), np.uint8(0))
            path = unfinished / f"{PART_NAMES[label - 1]}.png"
            path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
        unfinished.chmod(0o755)  # mkdtemp's folders are for their owner alone
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
