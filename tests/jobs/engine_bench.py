"""One kind of engine at a time, and what its stages do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from jobs.engine import Engine, PhotoStatus
from tests.support.fakes import FakePipeline
from tests.support.pictures import encoded, noise
from tests.support.waiting import wait_until

JOB_SECONDS = 4.0
LEASE = 1.5


class Bench:
    """One kind of engine at a time, and what its stages do."""

    def __init__(self, make: Callable[[dict[str, Any]], Engine], stages: FakePipeline) -> None:
        self._make, self.stages = make, stages
        self.engine: Engine
        self.open()

    def open(self, **limits: float) -> None:
        """Take another engine, which knows what an earlier one did."""
        fields = {"workers": 1, "max_pixels": 10_000, "job_seconds": JOB_SECONDS, **limits}
        if hasattr(self, "engine"):
            self.engine.close()
        self.engine = self._make(fields)
        self.engine.resume()

    def upgrade(self, version: str) -> None:
        """Take another engine, with models of another version."""
        self.stages.version = version
        self.open()

    def close(self) -> None:
        """Leave nothing for the worker, which goes on to the next test."""
        if not self.engine.is_closing:
            for width in range(30, 51):
                self.engine.forget(hashlib.sha256(encoded(noise(20, width))).hexdigest())
        self.stages.go_on()
        self.engine.close()

    def post(
        self, width: int, owner: str = "", file_name: str | None = None, *, damage: bool = False
    ) -> str:
        photo = encoded(noise(20, width))
        return self.engine.accept(photo, owner, file_name, damage=damage)[0]

    def find(self, digest: str) -> PhotoStatus:
        standing = self.engine.find(digest)
        assert standing is not None
        return standing

    def version(self, digest: str) -> str:
        """Return the model version of a result."""
        result = self.find(digest).result
        assert result is not None
        return result.model_version

    def until(self, digest: str, state: str = "Ready") -> PhotoStatus:
        def is_there() -> bool:
            standing = self.find(digest)
            assert standing.state == state or not standing.has_ended, standing
            return standing.state == state

        wait_until(is_there)
        return self.find(digest)

    def held_up(self, width: int) -> str:
        """Post a photo, and wait until it is being worked on and held up there."""
        self.stages.hang(width)
        digest = self.post(width)
        wait_until(lambda: width in self.stages.calls())
        return digest
