"""Test jobs that take too long."""

from __future__ import annotations

from jobs.messages import JOBS_HANG
from jobs.worker_pool import SPARE_THREADS
from settings import Settings
from tests.jobs.thread_service import MakeService, uploads
from tests.support.fakes import FakePipeline
from tests.support.waiting import wait_until


def test_job_timeout_frees_worker(
    make_service: MakeService, stages: FakePipeline, settings: Settings
) -> None:
    stages.hang(30)
    service = make_service(job_seconds=0.3)
    stuck, following = service.post(30), service.post(31)
    assert "longer than 0.3 seconds" in service.wait(stuck, "Error")
    service.wait(following)
    assert service.jobs.health().stuck == 1
    assert service.jobs.health().problem is None
    assert uploads(settings) == set()
    stages.go_on()
    wait_until(lambda: not service.jobs.health().stuck)
    assert service.state(stuck) == "Error"  # the late result is ignored
    assert service.segments.keys() == {following}
    assert dict(service.log.outcomes()) == {stuck: "timeout", following: "ready"}


def test_all_threads_hang(make_service: MakeService, stages: FakePipeline) -> None:
    stages.hang(*range(30, 50))
    service = make_service(job_seconds=0.05)
    hung = [service.post(30 + i) for i in range(SPARE_THREADS)]
    for digest in hung:
        service.wait(digest, "Error")
    last = service.post(49)
    assert service.state(last) == "Uploaded"
    assert service.jobs.health().problem == JOBS_HANG
    stages.go_on()
    service.wait(last)
