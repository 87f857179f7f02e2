"""An engine with threads for the tests of its bounds."""

from __future__ import annotations

from collections.abc import Callable

from jobs.store import Store
from jobs.thread_engine import ThreadEngine, Tuning
from photo_result import Segments
from settings import Settings
from tests.support.fakes import FakePipeline, Gate
from tests.support.job_log import JobLog
from tests.support.pictures import encoded, noise
from tests.support.waiting import wait_until

DEFAULTS = Tuning()


class ThreadService:
    """An engine with threads on a folder, with the public dicts that it fills and its log."""

    def __init__(
        self,
        settings: Settings,
        stages: FakePipeline | Gate,
        store: Store,
        tuning: Tuning = DEFAULTS,
        **limits: float,
    ) -> None:
        settings.prepare_folders()
        self.status: dict[str, str] = {}
        self.segments: dict[str, Segments] = {}
        self.log = JobLog()
        self.jobs = ThreadEngine(
            stages,
            store,
            settings.model_copy(update={"workers": 1, **limits}),
            processing_status=self.status,
            processed_segments=self.segments,
            tuning=tuning,
        )

    def close(self) -> None:
        self.jobs.close()
        self.log.close()

    def post(self, width: int, owner: str = "") -> str:
        return self.jobs.accept(encoded(noise(20, width)), owner)[0]

    def state(self, digest: str) -> str:
        standing = self.jobs.find(digest)
        assert standing is not None
        return standing.state

    def wait(self, digest: str, *states: str) -> str:
        """Wait until a photo is in one of some states, and return its message."""
        wait_until(lambda: self.state(digest) in (states or ("Ready",)))
        standing = self.jobs.find(digest)
        assert standing is not None
        return standing.message


MakeService = Callable[..., ThreadService]


def uploads(settings: Settings) -> set[str]:
    """Return the names of the files in the folder of the uploads."""
    return {path.name for path in settings.uploads.iterdir()}
