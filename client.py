"""A client of the service for Python programs: this file, `options.py` and `pip install requests`.

>>> from client import CarSeg, Options
>>> with CarSeg("http://127.0.0.1:5000") as service:                   # doctest: +SKIP
...     result = service.segment("car.jpg", Options(min_confidence=0.5))
...     print(result.type.name, [part.name for part in result.parts])
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util.retry import Retry

from options import PLAIN, Options

__all__ = ["CarSeg", "CarSegError", "CarType", "Options", "Part", "Polygon", "Result", "Status"]

Point = tuple[float, float]
Photo = str | Path | bytes

_FIRST_POLL, _LAST_POLL = 0.1, 2.0  # seconds between two questions for the status
_LONGEST_BREAK = 60  # seconds before a request is tried again, whatever the service asks for


class CarSegError(Exception):
    """The service did not do what was asked.

    Attributes:
        message: one sentence, that of the service where there is one.
        status: the HTTP status; None if there was no answer, or the photo ended in Error.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Polygon:
    """One visible piece; rings are not closed, (0, 0) is the photo's top left corner."""

    exterior: list[Point]
    holes: list[list[Point]]


@dataclass(frozen=True)
class Part:
    """One part of the car: `area` in pixels, `bbox` as (x, y, width, height)."""

    name: str
    confidence: float
    area: int
    bbox: tuple[float, float, float, float]
    polygons: list[Polygon]


@dataclass(frozen=True)
class CarType:
    """The body type, and the confidence of each type."""

    name: str
    confidence: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Result:
    """What the service found in a photo; `type` is None where it found no car."""

    image_hash: str
    width: int
    height: int
    message: str
    type: CarType | None
    parts: list[Part]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Result:
        """Read the answer of `/<hash>/segments`. Fields that are not known are ignored."""
        car_type = document["type"]
        return cls(
            image_hash=document["image_hash"],
            width=document["width"],
            height=document["height"],
            message=document["message"],
            type=None
            if car_type is None
            else CarType(car_type["name"], car_type["confidence"], car_type["scores"]),
            parts=[_part(part) for part in document["parts"]],
        )


@dataclass(frozen=True)
class Status:
    """Where a photo stands: Uploaded, Processing, Ready or Error."""

    status: str
    message: str


class CarSeg:
    """A running service. Safe to share between threads.

    Requests that fail on the way, and those answered with 429 or 503, are sent again after a
    break that doubles each time, or after the one that the service asks for (Retry-After). To
    post a photo twice does no harm, because the service knows photos by their content.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        retries: int = 8,
        timeout: float = 60,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            url: address of the service, such as `http://127.0.0.1:5000`.
            api_key: sent with each request, where the service asks for a key.
            retries: how often a request is sent again at most.
            timeout: seconds without any answer after which a request has failed.
            headers: sent with each request.
        """
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._auth = None if api_key is None else _Bearer(api_key)
        self._retry = Retry(
            total=retries,
            connect=min(retries, 3),  # nobody there, or no answer: that seldom heals
            read=min(retries, 3),
            status_forcelist=(429, 503),
            allowed_methods=None,  # POST as well
            backoff_factor=0.25,
            backoff_jitter=0.25,
            backoff_max=_LONGEST_BREAK,
            retry_after_max=_LONGEST_BREAK,
            raise_on_status=False,
        )
        self._sessions: list[requests.Session] = []
        self._local = threading.local()  # requests' sessions are not made for several threads

    def segment(
        self, photo: Photo, options: Options = PLAIN, *, timeout: float | None = None
    ) -> Result:
        """Post a photo, wait for it, and fetch its result.

        Args:
            photo: path of a file, or its bytes.
            options: how the result is shown.
            timeout: seconds to wait at most, None for as long as it takes.

        Raises:
            CarSegError: the service refused the photo, failed on it, or was not there.
            TimeoutError: the photo was not ready in time.
            OSError: the file can't be read.
        """
        image_hash = self.submit(photo)
        self.wait(image_hash, timeout=timeout)
        return self.result(image_hash, options)

    def submit(self, photo: Photo) -> str:
        """Post a photo; gives its hash at once. Raises CarSegError, OSError."""
        data = photo if isinstance(photo, bytes) else Path(photo).read_bytes()
        answer = self._ask("POST", "/", json={"image": base64.b64encode(data).decode()})
        image_hash: str = _json(answer)["image_hash"]
        return image_hash

    def status(self, image_hash: str) -> Status:
        """Where a photo stands. Raises CarSegError."""
        document = _json(self._ask("GET", f"/{image_hash}/status"))
        return Status(document["status"], document["message"])

    def wait(self, image_hash: str, *, timeout: float | None = None) -> None:
        """Wait until a photo is Ready. Raises CarSegError if it ends in Error, TimeoutError."""
        start = time.monotonic()
        pause = _FIRST_POLL
        while True:
            standing = self.status(image_hash)
            if standing.status == "Ready":
                return
            if standing.status == "Error":
                raise CarSegError(standing.message)
            if timeout is not None and time.monotonic() - start + pause > timeout:
                raise TimeoutError(f"The photo is not ready after {timeout:g} seconds.")
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_POLL)

    def result(self, image_hash: str, options: Options = PLAIN) -> Result:
        """The result of a photo that is Ready. Raises CarSegError."""
        answer = self._ask("GET", f"/{image_hash}/segments", params=options.query())
        return Result.from_json(_json(answer))

    def export(self, image_hash: str, name: str, options: Options = PLAIN) -> bytes:
        """The result in a format such as `coco` or `svg`. Raises CarSegError."""
        query = {"format": name} | options.query()
        return self._ask("GET", f"/{image_hash}/segments", params=query).content

    def picture(self, image_hash: str, name: str) -> bytes:
        """A PNG: `mask`, `overlay`, or `masks/<part>`. Raises CarSegError."""
        return self._ask("GET", f"/{image_hash}/{name}.png").content

    def ready(self) -> list[str]:
        """Hashes of all photos that are Ready. Raises CarSegError."""
        hashes: list[str] = _json(self._ask("GET", "/"))
        return hashes

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            session.close()

    def __enter__(self) -> CarSeg:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            answer = self._session().request(
                method, self._url + path, timeout=self._timeout, **arguments
            )
        except requests.RequestException as error:
            raise CarSegError(f"The service at {self._url} does not answer: {error}") from error
        if answer.ok:
            return answer
        try:
            message = str(answer.json()["error"])
        except (ValueError, TypeError, KeyError):
            message = f"{answer.status_code} {answer.reason}"
        raise CarSegError(message, answer.status_code)

    def _session(self) -> requests.Session:
        """The session of this thread."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers.update(self._headers)
            session.auth = self._auth
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=self._retry))
            self._local.session = session
            self._sessions.append(session)
        return session


class _Bearer(AuthBase):
    """As `auth` of a session, a key is kept from other hosts and not replaced out of ~/.netrc."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise CarSegError("The answer is not from this service.", answer.status_code) from None


def _part(document: Mapping[str, Any]) -> Part:
    x, y, width, height = document["bbox"]
    return Part(
        name=document["name"],
        confidence=document["confidence"],
        area=document["area"],
        bbox=(x, y, width, height),
        polygons=[
            Polygon(_ring(polygon["exterior"]), [_ring(hole) for hole in polygon["holes"]])
            for polygon in document["polygons"]
        ],
    )


def _ring(points: list[list[float]]) -> list[Point]:
    return [(x, y) for x, y in points]
