"""Accept photos for Celery workers; all statuses and claims are in Redis.

The life of a photo: A POST stores its bytes in Redis and publishes a task. A worker claims the
photo that has waited longest. One step makes it Ready or Error and deletes its bytes. Several
processes may share one Redis; none of them holds the status of a photo in memory.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from jobs.catalog import Catalog
from jobs.cluster.celery_tasks import TaskPublisher, make_celery
from jobs.cluster.maintenance import Maintenance
from jobs.cluster.queue import Cancelled, PhotoRow, RedisQueue
from jobs.cluster.redis_client import RedisClient
from jobs.cluster.result_store import RedisResultStore
from jobs.engine import ClosingError, EngineHealth, PhotoStatus
from jobs.job import JobReport, log_job
from jobs.messages import CANCELLED, NO_WORKER, RESULT_GONE
from jobs.store import StoreError
from photo_result import Result
from segment_interface import decode_photo
from settings import PREFIX, Settings, SettingsError
from vision.model_files import ModelFileError, models_version
from vision.model_files import damage_version as damage_version_in_use

log = logging.getLogger("carseg.cluster")

_POLL = 0.05  # seconds between two polls of a photo that a client waits for
_RECENT = 100  # unpacked results kept in memory
_SLACK = 3600  # seconds after `keep_days` at which Redis itself expires a key


def open_redis(settings: Settings) -> tuple[RedisClient, RedisResultStore, RedisQueue]:
    """Build the Redis client, the result store and the queue. Nothing is sent to Redis yet.

    Raises:
        SettingsError: `CARSEG_WRITE_MASKS` is on, but workers write no files.
    """
    if settings.broker_url is None:
        raise ValueError("there is no broker")
    if settings.write_masks:
        raise SettingsError(
            f"{PREFIX}WRITE_MASKS: workers of {PREFIX}BROKER_URL write no files; masks are at "
            "/<image_hash>/mask.png."
        )
    redis = RedisClient(settings.broker_url.get_secret_value())
    keep = settings.keep_days * 86_400 + _SLACK
    return redis, RedisResultStore(redis, keep), RedisQueue(redis, settings.lease_seconds, keep)


class RedisEngine:
    """The `jobs.engine.Engine` whose photos are processed by Celery workers.

    Args:
        store, queue, tasks: shared with the workers.
        settings: settings of the service; `worker_count` photos are decoded concurrently.
        model_version: version of the models in use now, see `vision.model_files.models_version`.
            A result from a worker with other models is kept until its photo is posted again. The
            photo is then processed again.
        damage_version: the same of the damage network, for photos posted for damage.
    """

    def __init__(
        self,
        store: RedisResultStore,
        queue: RedisQueue,
        tasks: TaskPublisher,
        settings: Settings,
        *,
        model_version: str,
        damage_version: str,
    ) -> None:
        self._store, self._queue, self._tasks = store, queue, tasks
        self._settings, self._model_version = settings, model_version
        self._damage_version = damage_version
        self._decoding = threading.BoundedSemaphore(settings.worker_count)  # limits memory of POST
        self._closing = threading.Event()
        self._results: OrderedDict[tuple[str, int, str], Result] = OrderedDict()
        self._lock = threading.Lock()
        self._maintenance = Maintenance(store, queue, tasks, settings)

    @property
    def catalog(self) -> Catalog:
        """See `Engine.catalog`."""
        return self._store.catalog

    def accept(
        self,
        data: bytes,
        owner: str = "",
        file_name: str | None = None,
        *,
        damage: bool = False,
    ) -> tuple[str, bool]:
        """See `Engine.accept`."""
        digest = hashlib.sha256(data).hexdigest()
        settings = self._settings
        where = (digest, owner, self._model_version, settings.queue, settings.worker_count)
        version = self._damage_version if damage else ""
        is_new = self._queue.accept(*where, file_name=file_name, damage_version=version)
        if is_new is not None:
            return digest, is_new
        if self._closing.is_set():
            raise ClosingError
        with self._decoding:
            decode_photo(data, settings.max_pixels)  # refuse broken files before queueing
        is_new = bool(self._queue.accept(*where, data, file_name, version))
        self._tasks.publish()
        return digest, is_new

    def find(self, digest: str, owner: str = "") -> PhotoStatus | None:
        """See `Engine.find`."""
        for _ in range(3):  # it may be deleted or posted again between the two reads
            row = self._queue.status(digest, owner)
            if row is None:
                return None
            if row.state != "Ready":
                return _status(row)
            result = self._result(digest, row)
            if result is not None:
                return _status(row)._replace(result=result)
        raise StoreError(RESULT_GONE)

    def find_many(self, digests: Sequence[str], owner: str = "") -> list[PhotoStatus | None]:
        """See `Engine.find_many`."""
        return [row and _status(row) for row in self._queue.statuses(digests, owner)]

    def _result(self, digest: str, row: PhotoRow) -> Result | None:
        key = (digest, row.number, row.damage_version)
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        outcome = self._store.load(digest)
        if outcome is None or outcome.result is None:
            return None
        result = Result.unpack(outcome.result)
        with self._lock:
            self._results[key] = result
            while len(self._results) > _RECENT:
                self._results.popitem(last=False)
        return result

    def wait(
        self, digest: str, seen: PhotoStatus | None, seconds: float, owner: str = ""
    ) -> PhotoStatus | None:
        """See `Engine.wait`."""
        return self._wait(digest, lambda now: now != seen, seconds, owner)

    def wait_for_end(self, digest: str, seconds: float, owner: str = "") -> PhotoStatus | None:
        """See `Engine.wait_for_end`."""
        return self._wait(digest, lambda now: False, seconds, owner)

    def _wait(
        self, digest: str, is_enough: Callable[[PhotoStatus], bool], seconds: float, owner: str
    ) -> PhotoStatus | None:
        """Poll Redis until the photo has ended, `is_enough` returns True or the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            now = self.find(digest, owner)
            if now is None or now.is_final or is_enough(now):
                return now
            left = deadline - time.monotonic()
            if left <= 0 or self._closing.wait(min(left, _POLL)):
                return now

    def ready(self, owner: str = "") -> list[str]:
        """See `Engine.ready`."""
        return self._store.ready(owner or None)

    def forget(self, digest: str, owner: str = "") -> bool:
        """See `Engine.forget`."""
        done = self._queue.forget(digest, owner)
        if isinstance(done, Cancelled):
            log_job(JobReport(digest, "cancelled", done.waited, done.worked, {}, CANCELLED))
        return bool(done)

    def counts(self) -> dict[str, float]:
        """See `Engine.counts`. They are those of all workers."""
        return self._queue.counts()

    def health(self) -> EngineHealth:
        """See `Engine.health`. Raises StoreError if Redis can't be reached."""
        load = self._queue.load()
        try:
            self._store.check()
            problem = None if load.workers else NO_WORKER
        except StoreError as error:
            problem = str(error)
        return EngineHealth(
            waiting=load.waiting,
            limit=self._settings.queue,
            running=load.running,
            stuck=0,
            problem=problem,
            workers=load.workers,
        )

    @property
    def stuck(self) -> int:
        """See `Engine.stuck`. Always 0: a worker kills its processes that hang."""
        return 0

    @property
    def is_closing(self) -> bool:
        """See `Engine.is_closing`."""
        return self._closing.is_set()

    def resume(self) -> int:
        """See `Engine.resume`. Always 0: waiting photos are still queued in Redis."""
        return 0

    def close(self) -> None:
        """See `Engine.close`. No photo is processed here, and statuses can still be read."""
        self._closing.set()
        self._maintenance.close()
        self._tasks.close()


def _status(row: PhotoRow) -> PhotoStatus:
    """Return the status of a photo without its result."""
    damage = row.damage_pending, row.damage_error
    return PhotoStatus(row.state, row.message, None, row.position, row.stage, *damage)


def open_redis_engine(
    settings: Settings, model_version: str | None = None, damage_version: str | None = None
) -> RedisEngine:
    """Return the engine that the settings ask for.

    Args:
        settings: settings of the service.
        model_version: see `RedisEngine`; None for the version of the files in `models/`.
        damage_version: see `RedisEngine`; None for the version of the files in `models/`.

    Raises:
        SettingsError: Redis does not answer, or the description of a model can't be read.
    """
    try:
        version = model_version
        if version is None:
            version = models_version(precision=settings.precision)
        of_damage = damage_version
        if of_damage is None:
            of_damage = damage_version_in_use(precision=settings.precision)
    except ModelFileError as error:
        raise SettingsError(f"{error}.") from None
    redis, store, queue = open_redis(settings)
    check_redis(redis)
    tasks = TaskPublisher(make_celery(settings))
    return RedisEngine(
        store, queue, tasks, settings, model_version=version, damage_version=of_damage
    )


def check_redis(redis: RedisClient) -> None:
    """Check that Redis can be used, and log a warning for each unsafe setting of it.

    Raises:
        SettingsError: Redis can't be used.
    """
    reason = redis.problem()
    if reason is not None:
        raise SettingsError(f"{PREFIX}BROKER_URL: {reason}.")
    for line in redis.warnings():
        log.warning("%s", line)
