"""Test photos that are posted for damage, with threads of this process and with Celery workers."""

from __future__ import annotations

import hashlib

from jobs.engine import PhotoStatus
from jobs.messages import UNEXPECTED
from photo_result import Result
from tests.jobs.engine_bench import Bench
from tests.support.pictures import encoded, noise
from tests.support.waiting import wait_until


def result(status: PhotoStatus) -> Result:
    assert status.state == "Ready"
    assert status.result is not None
    return status.result


def kinds(bench: Bench, digest: str) -> list[str] | None:
    """Return the kinds of damage in a result; None if the photo was not examined."""
    damages = result(bench.find(digest)).damages
    return None if damages is None else [damage.kind for damage in damages]


def final(bench: Bench, digest: str) -> PhotoStatus:
    status = bench.engine.wait_for_end(digest, 60)
    assert status is not None
    assert status.is_final
    return status


def test_first_post_for_damage(bench: Bench) -> None:
    digest = bench.post(30, damage=True)
    found = result(final(bench, digest))
    assert found.damage_version == "fake damage"
    assert kinds(bench, digest) == ["scratch"]
    assert [share.name for share in found.damages[0].parts] == ["hood"] if found.damages else False
    assert bench.engine.accept(encoded(noise(20, 30)), damage=True) == (digest, False)
    assert bench.engine.accept(encoded(noise(20, 30))) == (digest, False)
    assert bench.stages.calls() == [30]


def test_photo_is_not_examined_unasked(bench: Bench) -> None:
    digest = bench.post(30)
    assert result(final(bench, digest)).damages is None
    assert not bench.find(digest).damage_pending


def test_ready_photo_keeps_result_until_examined(bench: Bench) -> None:
    digest = bench.post(30)
    before = final(bench, digest)
    bench.stages.hang(30)
    assert bench.engine.accept(encoded(noise(20, 30)), damage=True) == (digest, True)
    assert bench.engine.accept(encoded(noise(20, 30)), damage=True) == (digest, False)
    wait_until(lambda: bench.stages.calls() == [30, 30])
    now = bench.find(digest)
    assert now == before._replace(damage_pending=True)
    (alone,) = bench.engine.find_many([digest])
    assert alone == now._replace(result=None)
    assert bench.engine.ready() == [digest]
    assert bench.engine.wait_for_end(digest, 0.05) == now
    bench.stages.go_on()
    assert result(final(bench, digest)).damages
    assert kinds(bench, digest) == ["scratch"]
    assert bench.stages.calls() == [30, 30]


def test_waiting_photo_is_examined(bench: Bench) -> None:
    running = bench.held_up(31)
    digest = bench.post(30)
    assert bench.engine.accept(encoded(noise(20, 30)), damage=True) == (digest, False)
    assert not bench.find(digest).damage_pending
    bench.stages.go_on()
    final(bench, running)
    assert result(final(bench, digest)).damages
    assert bench.stages.calls() == [31, 30]


def test_running_photo_is_examined(bench: Bench) -> None:
    digest = bench.held_up(30)
    assert bench.engine.accept(encoded(noise(20, 30)), damage=True) == (digest, False)
    bench.stages.go_on()
    wait_until(lambda: bench.find(digest).is_final)
    assert kinds(bench, digest) == ["scratch"]


def test_failed_examination_keeps_result(bench: Bench) -> None:
    digest = bench.post(30)
    before = final(bench, digest)
    bench.stages.throw(30, "RuntimeError")
    bench.post(30, damage=True)
    failed = final(bench, digest)
    assert failed == before._replace(damage_error=UNEXPECTED)
    assert bench.engine.find_many([digest]) == [failed._replace(result=None)]
    bench.stages.throw(30, None)
    bench.post(30, damage=True)
    assert result(final(bench, digest)).damages
    assert bench.find(digest).damage_error is None


def test_slow_examination_keeps_result(bench: Bench) -> None:
    digest = bench.post(30)
    before = final(bench, digest)
    bench.stages.hang(30)
    bench.post(30, damage=True)
    wait_until(lambda: bench.find(digest).is_final)
    after = bench.find(digest)
    assert after.damage_error is not None
    assert "took longer than" in after.damage_error
    assert after._replace(damage_error=None) == before


def test_examination_is_cancelled(bench: Bench) -> None:
    running = bench.held_up(31)
    digest = hashlib.sha256(encoded(noise(20, 30))).hexdigest()
    bench.stages.go_on()
    final(bench, running)
    bench.post(30)
    final(bench, digest)
    bench.stages.hang(31)
    bench.engine.forget(running)
    running = bench.post(31)
    wait_until(lambda: bench.stages.calls().count(31) == 2)
    bench.post(30, damage=True)
    assert bench.engine.forget(digest)
    assert bench.engine.find(digest) is None
    assert bench.engine.ready() == []
    bench.stages.go_on()
    final(bench, running)
    assert bench.engine.find(digest) is None
    assert bench.stages.calls() == [31, 30, 31]


def test_examination_goes_on_after_restart(bench: Bench) -> None:
    digest = bench.post(30)
    final(bench, digest)
    running = bench.held_up(31)
    bench.post(30, damage=True)
    assert bench.find(digest).damage_pending
    bench.stages.go_on()
    bench.open()
    final(bench, running)
    assert result(final(bench, digest)).damages


def test_each_owner_keeps_the_result(bench: Bench) -> None:
    digest = bench.post(30, "ann")
    final(bench, digest)
    bench.post(30, "bob", "bob.png", damage=True)
    wait_until(lambda: bench.find(digest).is_final)
    assert kinds(bench, digest) == ["scratch"]
    assert bench.engine.ready("ann") == bench.engine.ready("bob") == [digest]
    assert bench.engine.catalog.file_names(digest, "bob") == ["bob.png"]


def test_other_models_drop_damage(bench: Bench) -> None:
    digest = bench.post(30, damage=True)
    final(bench, digest)
    bench.upgrade("newer")
    bench.post(30)
    assert result(final(bench, digest)).model_version == "newer"
    assert kinds(bench, digest) is None
