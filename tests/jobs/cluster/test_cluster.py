"""Several processes over one Redis: the answers are those of one process, and nothing is lost."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from pydantic import SecretStr

from api.openapi import OpenApiApp
from exports import FORMATS
from jobs.messages import NO_WORKER, REDIS_AWAY, STOPPED_TWICE
from settings import REPOSITORY, Settings, SettingsError
from tests.support.fakes import FakePipeline
from tests.support.http import body
from tests.support.pictures import encoded, noise
from tests.support.redis_cluster import Cable, RedisServer, StartWorker, Worker
from tests.support.server import Server, clean_environment
from tests.support.waiting import wait_until
from vision.model_files import models_version

StartServer = Callable[..., Server]
LEASE = "1.5"
TASKS = "carseg:celery:photos"  # the list in which Celery keeps tasks that no worker has taken


def get(server: Server, path: str, **options: Any) -> requests.Response:
    return requests.get(f"{server.url}{path}", timeout=60, **options)


def metric(server: Server, name: str) -> float:
    """Return the value of a line of /metrics."""
    (value,) = re.findall(rf"^{re.escape(name)} (.*)$", get(server, "/metrics").text, re.MULTILINE)
    return float(value)


# --- the same answers


@pytest.fixture(scope="module")
def real_cluster(
    make_redis: Callable[..., RedisServer],
    start_server: StartServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Server, Server]]:
    """Yield two web processes and a worker with the real networks, on a Redis with a password."""
    redis = make_redis("--requirepass", "secret-word")
    folder = tmp_path_factory.mktemp("real")
    environment = {
        "CARSEG_BROKER_URL": redis.url,
        "CARSEG_RATE_LIMIT": "100/hour",
        "CARSEG_LEASE_SECONDS": LEASE,
    }
    worker = Worker(folder / "worker.log", CARSEG_WORKERS="2", **environment)
    servers = (
        start_server(folder / "one", **environment),
        start_server(folder / "two", **environment),
    )
    wait_until(lambda: get(servers[0], "/ready").status_code == 200)
    yield servers
    for server in servers:
        assert server.stop(signal.SIGTERM) == 0
    assert worker.stop() == 0
    for log in folder.glob("*.log"):
        text = log.read_text()
        assert text
        assert "secret-word" not in text
        assert "Traceback" not in text, text[-3000:]


def answers(server: Server, image_hash: str) -> dict[str, tuple[int, str, bytes]]:
    """Return every answer about a photo."""
    paths = ["status", "events", "segments", "segments?tolerance=0&topology=shared", "mask.png"]
    paths += [f"segments?format={name}" for name in FORMATS]
    paths += ["masks/hood.png", "masks/left_mirror.png", "overlay.png", "segments?format=x"]
    found = {}
    for path in paths:
        answer = get(server, f"/{image_hash}/{path}")
        found[path] = (answer.status_code, answer.headers["Content-Type"], answer.content)
    return found


def test_answers_equal_those_of_one_process(
    server: Server, real_cluster: tuple[Server, Server], sample: bytes
) -> None:
    with Image.open(REPOSITORY / "sample" / "car.png") as opened:
        car = opened.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    photos = [
        sample,
        encoded(car.resize((640, 400)), "JPEG", exif=exif),
        encoded(car.crop((300, 100, 1100, 700)), "WEBP"),
        encoded(noise(300, 400), "JPEG"),
    ]
    one, two = real_cluster
    for photo in photos:
        digest = hashlib.sha256(photo).hexdigest()
        requests.delete(f"{server.url}/{digest}", timeout=60)  # other tests may have posted it
        posted = [requests.post(each.url, json=body(photo), timeout=60) for each in (server, one)]
        assert posted[0].content == posted[1].content
        image_hash = posted[0].json()["image_hash"]
        for each in (server, two):
            each.wait(image_hash)
        assert answers(server, image_hash) == answers(two, image_hash)
    for bad in (sample[:5000], b"GIF89a" + bytes(100), b""):
        refused = [requests.post(each.url, json=body(bad), timeout=60) for each in (server, one)]
        assert refused[0].status_code == refused[1].status_code >= 400
        assert refused[0].content == refused[1].content


def test_web_processes_share_state(real_cluster: tuple[Server, Server]) -> None:
    one, two = real_cluster
    photo = encoded(noise(200, 300, seed=7))
    image_hash = one.post(photo)
    again = requests.post(two.url, json=body(photo), timeout=60).json()
    assert again == {"message": "The photo is already known.", "image_hash": image_hash}
    one.wait(image_hash)
    assert image_hash in get(two, "/").json()
    ready = 'carseg_jobs_total{outcome="ready"}'
    assert metric(one, ready) == metric(two, ready) > 0
    assert metric(one, "carseg_workers") == 1
    assert metric(two, 'carseg_stage_seconds_count{stage="parts"}') > 0
    assert metric(two, "carseg_job_wait_seconds_count") > 0
    assert requests.delete(f"{two.url}/{image_hash}", timeout=60).status_code == 204
    assert get(one, f"/{image_hash}/status").status_code == 404


def test_limits_hold_for_all_web_processes_together(
    empty_redis: RedisServer, make_app: Callable[..., OpenApiApp], settings: Settings
) -> None:
    broker = Settings(broker_url=SecretStr(empty_redis.url)).broker_url
    config = settings.model_copy(update={"broker_url": broker, "rate_limit": "3/hour"})
    clients = [make_app(config).test_client() for _ in range(2)]
    seen = [clients[i % 2].post("/").status_code for i in range(5)]
    assert seen == [415, 415, 415, 429, 429]


# --- faults, with stages that need no network


class Cluster:
    """One web process, and what its workers do."""

    def __init__(self, server: Server, redis: RedisServer, stages: FakePipeline,
                 start_worker: Callable[..., Worker]) -> None:  # fmt: skip
        self.server, self.redis, self.stages = server, redis, stages
        self.start_worker = start_worker

    def worker(self, port: int | None = None, **environment: str) -> Worker:
        """Start a worker, which is there when this returns."""
        url = self.redis.url if port is None else f"redis://127.0.0.1:{port}/0"
        before = self.workers()
        worker = self.start_worker(
            "tests.support.fake_worker",
            CARSEG_BROKER_URL=url,
            CARSEG_WORKERS="1",
            CARSEG_LEASE_SECONDS=LEASE,
            FAKE_FOLDER=str(self.stages.folder),
            **environment,
        )
        wait_until(lambda: self.workers() - before)
        return worker

    def workers(self, since: float = 0.0) -> set[str]:
        """Return the names of the workers that reported since a time (Unix)."""
        client: Any = self.redis.client
        return set(client.zrangebyscore("carseg:workers", since, "+inf"))

    def post(self, width: int) -> str:
        return self.server.post(encoded(noise(20, width)))

    def held_up(self, width: int) -> str:
        """Post a photo, and wait until it is being worked on and held up there."""
        self.stages.hang(width)
        image_hash = self.post(width)
        self.until_begun(width)
        return image_hash

    def until_swept(self) -> None:
        """Wait until somebody looks once more for lapsed leases and missing tasks."""
        before = self.redis.client.get("carseg:swept")
        wait_until(lambda: self.redis.client.get("carseg:swept") != before)

    def until_begun(self, *widths: int) -> None:
        wait_until(lambda: set(widths) <= set(self.stages.calls()))

    def status(self, image_hash: str) -> dict[str, Any]:
        answer: dict[str, Any] = get(self.server, f"/{image_hash}/status").json()
        return answer

    def are_ready_once(self, hashes: list[str]) -> None:
        """Check that each photo is Ready, listed once, and counted once."""
        for image_hash in hashes:
            self.server.wait(image_hash)
        assert get(self.server, "/").json() == hashes
        assert metric(self.server, 'carseg_jobs_total{outcome="ready"}') == len(hashes)


@pytest.fixture(scope="module")
def shared(
    make_redis: Callable[..., RedisServer], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RedisServer, Path, list[Server]]:
    """Provide a Redis, a folder and a web process; a test that ends one gets another one."""
    return make_redis(), tmp_path_factory.mktemp("cluster"), []


@pytest.fixture
def cluster(
    shared: tuple[RedisServer, Path, list[Server]],
    start_server: StartServer,
    start_worker: StartWorker,
    tmp_path: Path,
) -> Iterator[Cluster]:
    redis, folder, servers = shared
    redis.client.config_set("maxmemory", 0)
    redis.forget()
    redis.client.delete("carseg:workers")
    if not servers or servers[-1].process.poll() is not None:
        environment = {
            "CARSEG_BROKER_URL": redis.url,
            "CARSEG_LEASE_SECONDS": LEASE,
            "CARSEG_RATE_LIMIT": "100000/second",
        }
        servers.append(start_server(folder / f"web-{len(servers)}", **environment))
    made = Cluster(servers[-1], redis, FakePipeline(tmp_path), start_worker)
    yield made
    made.stages.go_on()


def test_killed_worker_loses_no_photo(cluster: Cluster) -> None:
    """Once one process of a worker, then the whole process group, while it works."""
    first = cluster.worker()
    cluster.stages.die(30, times=1)
    cluster.stages.hang(33)
    hashes = [cluster.post(width) for width in (30, 31, 32, 33, 34)]
    cluster.until_begun(33)
    first.kill()
    cluster.stages.go_on()
    cluster.worker()
    cluster.are_ready_once(hashes)
    assert sorted(cluster.stages.calls()) == [30, 30, 31, 32, 33, 33, 34]


def test_photo_that_kills_workers_is_given_up(cluster: Cluster) -> None:
    worker = cluster.worker()
    before = worker.children()
    cluster.stages.die(30, times=5)
    poison, good = cluster.post(30), cluster.post(31)
    assert cluster.server.wait(poison, "Error")["message"] == STOPPED_TWICE
    cluster.server.wait(good)
    assert cluster.stages.calls().count(30) == 2
    assert metric(cluster.server, 'carseg_jobs_total{outcome="error"}') == 1
    wait_until(lambda: set(worker.children()) - set(before))  # another one took its place
    cluster.stages.die(30, times=0)
    assert cluster.post(30) == poison  # by hand it may be tried again
    cluster.server.wait(poison)


def test_killed_web_process_loses_no_photo(
    cluster: Cluster, start_server: StartServer, tmp_path: Path
) -> None:
    """The same if it dies between the acceptance of a photo and its Celery task."""
    hashes = [cluster.post(width) for width in (30, 31)]
    cluster.server.stop(signal.SIGKILL)
    cluster.redis.client.delete(TASKS)
    cluster.worker()
    client: Any = cluster.redis.client
    wait_until(lambda: client.zcard("carseg:ready") == 2)
    cluster.server = start_server(tmp_path / "other", CARSEG_BROKER_URL=cluster.redis.url)
    cluster.are_ready_once(hashes)


def test_photo_is_processed_again_until_version_matches(cluster: Cluster) -> None:
    """The web process knows that version by the files in `models/`; workers may be older."""

    def post() -> str:
        answer = requests.post(cluster.server.url, json=body(encoded(noise(20, 30))), timeout=60)
        cluster.server.wait(answer.json()["image_hash"])
        message: str = answer.json()["message"]
        return message

    def version() -> str:
        (image_hash,) = get(cluster.server, "/").json()
        name: str = get(cluster.server, f"/{image_hash}/segments").json()["model_version"]
        return name

    cluster.worker()
    for _ in range(2):
        assert post() == "The photo was accepted."
        assert version() == "fake"
    cluster.stages.version = models_version()
    assert version() == "fake"
    assert post() == "The photo was accepted."
    assert post() == "The photo is already known."
    assert version() == models_version()
    assert cluster.stages.calls() == [30] * 3


def test_one_task_per_waiting_photo(cluster: Cluster) -> None:
    """Checks for missing tasks add no second one."""
    cluster.worker()
    hashes = [cluster.held_up(30), *(cluster.post(width) for width in range(31, 36))]
    client: Any = cluster.redis.client
    client.delete(TASKS)
    wait_until(lambda: client.llen(TASKS) == 5)
    for _ in range(3):
        cluster.until_swept()
    assert client.llen(TASKS) == 5
    cluster.stages.go_on()
    cluster.are_ready_once(hashes)


def test_redis_restart(cluster: Cluster) -> None:
    worker = cluster.worker()
    done = cluster.post(30)
    cluster.server.wait(done)
    cluster.stages.hang(31)
    hashes = [done, *(cluster.post(width) for width in (31, 32, 33))]
    cluster.until_begun(31)
    cluster.redis.kill()
    for method, path in (
        ("POST", "/"), ("GET", "/"), ("GET", f"/{done}/status"), ("GET", f"/{done}/segments"),
        ("GET", f"/{done}/events"), ("DELETE", f"/{done}"), ("GET", "/ready"),
    ):  # fmt: skip
        answer = requests.request(
            method, cluster.server.url + path, json=body(encoded(noise(20, 40))), timeout=20
        )
        assert (answer.status_code, answer.json()) == (503, {"error": REDIS_AWAY}), path
        assert int(answer.headers["Retry-After"]) > 0
    assert get(cluster.server, "/health").status_code == 200
    assert "carseg_requests_total" in get(cluster.server, "/metrics").text
    cluster.stages.go_on()  # it ends without Redis, and is reported when Redis is back
    time.sleep(1)
    cluster.redis.start()
    # For a second after a timeout the service does not ask Redis.
    wait_until(lambda: get(cluster.server, "/ready").status_code == 200)
    cluster.are_ready_once(hashes)
    assert cluster.stages.calls() == [30, 31, 32, 33]
    assert worker.process.poll() is None


def test_disconnected_worker(cluster: Cluster) -> None:
    """Another worker processes its photo, and its own late result is ignored."""
    cable = Cable(cluster.redis.port)
    cluster.worker(cable.port)
    hashes = [cluster.held_up(30)]
    cable.cut()
    cluster.worker()
    hashes += [cluster.post(31)]
    wait_until(lambda: cluster.stages.calls().count(30) == 2)
    cluster.stages.go_on()
    cluster.are_ready_once(hashes)
    cable.mend()
    wait_until(lambda: len(cluster.workers(time.time() - 1)) == 2)
    hashes += [cluster.post(width) for width in (32, 33, 34)]
    cluster.are_ready_once(hashes)
    cable.close()


def test_hanging_redis_blocks_requests_briefly(cluster: Cluster) -> None:
    cluster.redis.process.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(12) as pool:
            asked = list(pool.map(lambda _: get(cluster.server, "/"), range(24)))
            assert {answer.status_code for answer in asked} == {503}
            assert {answer.json()["error"] for answer in asked} == {REDIS_AWAY}
        assert get(cluster.server, "/health").status_code == 200
        assert max(answer.elapsed.total_seconds() for answer in asked) < 20
    finally:
        cluster.redis.process.send_signal(signal.SIGCONT)
    wait_until(lambda: get(cluster.server, "/").status_code == 200)


def test_full_redis(cluster: Cluster) -> None:
    """Photos are refused as with a full disk; accepted photos still end."""
    worker = cluster.worker()
    hashes = [cluster.held_up(30)]
    client: Any = cluster.redis.client
    used = int(client.info("memory")["used_memory"])
    client.config_set("maxmemory", used + 20_000_000)
    refused = None
    for seed in range(60):
        photo = encoded(noise(400, 500, seed))  # 600 kB
        answer = requests.post(cluster.server.url, json=body(photo), timeout=60)
        if answer.status_code != 200:
            refused = answer
            break
        hashes.append(answer.json()["image_hash"])
    assert refused is not None
    assert refused.status_code == 507
    assert set(refused.json()) == {"error"}
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.95))
    assert "full" in get(cluster.server, "/ready").json()["error"]
    assert get(cluster.server, f"/{hashes[0]}/status").json()["stage"] == "parts"
    cluster.stages.go_on()
    cluster.are_ready_once(hashes)
    assert worker.process.poll() is None
    client.config_set("maxmemory", 0)
    hashes.append(cluster.post(31))
    cluster.are_ready_once(hashes)


def test_worker_without_models_takes_no_photos(cluster: Cluster) -> None:
    bad = cluster.start_worker(
        "tests.support.fake_worker",
        CARSEG_BROKER_URL=cluster.redis.url,
        CARSEG_WORKERS="1",
        FAKE_FOLDER="",
    )
    image_hash = cluster.post(30)
    bad.process.wait(60)
    assert "it has no models" in bad.log.read_text()
    assert "Traceback" not in bad.log.read_text()
    assert cluster.status(image_hash)["status"] == "Uploaded"
    cluster.worker()
    cluster.server.wait(image_hash)


def test_workers_start_and_stop(cluster: Cluster) -> None:
    """A stop finishes the running photo only."""
    assert get(cluster.server, "/ready").json() == {"error": NO_WORKER}
    cluster.stages.hang(30)
    hashes = [cluster.post(30), cluster.post(31)]
    assert cluster.status(hashes[1])["position"] == 2
    worker = cluster.worker()
    cluster.until_begun(30)
    assert get(cluster.server, "/ready").status_code == 200
    worker.process.terminate()
    wait_until(lambda: "Warm shutdown" in worker.log.read_text())
    cluster.stages.go_on()
    assert worker.process.wait(60) == 0
    assert cluster.status(hashes[0])["status"] == "Ready"
    assert cluster.status(hashes[1])["status"] == "Uploaded"
    assert get(cluster.server, "/ready").json() == {"error": NO_WORKER}
    cluster.worker()
    cluster.are_ready_once(hashes)


# --- the start


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
        check=False, env={**clean_environment(), "CARSEG_PORT": "0", **environment},
    )  # fmt: skip


WEB, WORKER = ("app.py",), ("-m", "celery", "-A", "celery_app", "worker")


def test_unusable_broker(make_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    locked = make_redis("--requirepass", "other-word")
    for command, broker, words in (
        (WEB, "amqp://:secret-word@rabbit", "it must be like redis://"),
        (WEB, locked.url.replace("other-word", "secret-word"), "refuses the password"),
        (WEB, locked.url.replace("/0", "/9999"), "refuses it: DB index"),
        (WEB, "redis://:secret-word@127.0.0.1:1/0", "can't be reached"),
        (WORKER, "redis://:secret-word@127.0.0.1:1/0", "can't be reached"),
        (WORKER, "", "CARSEG_BROKER_URL is not set"),
    ):
        ended = run(*command, CARSEG_BROKER_URL=broker, CARSEG_DATA_DIR=str(tmp_path))
        assert ended.returncode == 2, ended.stderr
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert "-word" not in ended.stderr + ended.stdout


def test_workers_write_no_masks(make_app: Callable[..., OpenApiApp], settings: Settings) -> None:
    broker = Settings(broker_url=SecretStr("redis://127.0.0.1:1")).broker_url
    config = settings.model_copy(update={"broker_url": broker, "write_masks": True})
    with pytest.raises(SettingsError, match="CARSEG_WRITE_MASKS"):
        make_app(config)


def test_web_process_reads_descriptions_of_models(
    make_app: Callable[..., OpenApiApp],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(
        "jobs.cluster.engine.models_version", lambda **named: models_version(tmp_path, **named)
    )
    broker = Settings(broker_url=SecretStr("redis://127.0.0.1:1")).broker_url
    with pytest.raises(SettingsError, match=r"models/parts\.json can't be used"):
        make_app(settings.model_copy(update={"broker_url": broker}))


def test_no_cluster_import_without_broker(tmp_path: Path) -> None:
    """The packages need not be installed: here they can't be imported."""
    code = """
import sys
for name in ("celery", "kombu", "redis", "billiard"):
    sys.modules[name] = None
from api.service import service_of
from app import create_app
app = create_app()
print(app.test_client().get("/health").json)
service_of(app).engine.close()
"""
    ended = run("-c", code, CARSEG_DATA_DIR=str(tmp_path), CARSEG_RATE_LIMIT="5/minute")
    assert "{'status': 'alive'}" in ended.stdout, ended.stderr


def test_missing_package_is_named(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["celery"] = None
import app
sys.exit(app.main())
"""
    ended = run("-c", code, CARSEG_DATA_DIR=str(tmp_path), CARSEG_BROKER_URL="redis://127.0.0.1:1")
    assert ended.returncode == 2
    assert "requirements/cluster.txt" in ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
