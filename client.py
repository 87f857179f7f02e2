"""Use the service from Python programs: with this file, `options.py` and `pip install requests`.

>>> from client import CarSeg, Options
>>> with CarSeg("http://127.0.0.1:5000") as service:                   # doctest: +SKIP
...     result = service.segment("car.jpg", Options(min_confidence=0.5))
...     print(result.type.name, [part.name for part in result.parts])
"""

from __future__ import annotations

import base64
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util.retry import Retry

from options import PLAIN, Options

__all__ = [
    "CarSeg",
    "CarSegError",
    "CarType",
    "Damage",
    "Options",
    "Outcome",
    "Part",
    "PartShare",
    "Polygon",
    "Result",
    "Status",
]

Point = tuple[float, float]
Photo = str | Path | bytes

_FIRST_POLL, _LAST_POLL = 0.1, 2.0  # seconds between two requests for a status
_LONGEST_WAIT = 10  # seconds in which one request waits for the result
_LONGEST_PAUSE = 60  # seconds before a retry, even if the service asks for more
_BATCH_PHOTOS, _BATCH_BYTES = 32, 16 * 1024 * 1024  # limits of one POST /batch
_AT_ONCE = 100  # photos in the service concurrently; half of its default queue
_STATUSES = 1000  # hashes in one request for statuses
_BUSY_POLL = 0.25  # seconds between two such requests while photos end
_LOST = "The service accepted the photo, but lost it before it was finished."
_TRIES = 3  # times that a photo is sent if the service forgets it


class CarSegError(Exception):
    """Error for a service that did not answer, refused a request, or failed on a photo.

    Attributes:
        message: one sentence, from the service if it sent one.
        status: HTTP status; None if there was no answer, or if the photo ended in Error.
        retry_after: seconds to wait before a retry; None if the service did not send them.
    """

    def __init__(
        self, message: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Polygon:
    """One visible piece of a part.

    Rings are not closed. The point (0, 0) is the top left corner of the photo.
    """

    exterior: list[Point]
    holes: list[list[Point]]


@dataclass(frozen=True)
class Part:
    """One part of the car.

    Attributes:
        name: of the part.
        confidence: 0..1.
        area: pixels of its mask.
        bbox: (x, y, width, height).
        polygons: its visible pieces.
        damaged: kinds of damage on it; None if the photo was not examined for damage.
    """

    name: str
    confidence: float
    area: int
    bbox: tuple[float, float, float, float]
    polygons: list[Polygon]
    damaged: list[str] | None = None


@dataclass(frozen=True)
class PartShare:
    """The name of a part on which a damage lies, and the share of its area that is damaged."""

    name: str
    share: float


@dataclass(frozen=True)
class Damage:
    """One connected damage.

    Attributes:
        kind: such as `dent`.
        confidence: 0..1.
        area: pixels of its mask.
        bbox: (x, y, width, height).
        polygons: its visible pieces.
        parts: the parts on which it lies, the one with most of it first.
    """

    kind: str
    confidence: float
    area: int
    bbox: tuple[float, float, float, float]
    polygons: list[Polygon]
    parts: list[PartShare]


@dataclass(frozen=True)
class CarType:
    """The body type, and the confidence of each type."""

    name: str
    confidence: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Result:
    """The parts that the service found in a photo, and the type of the car.

    Attributes:
        image_hash: SHA-256 of the photo in hex.
        width, height: size of the photo in pixels.
        message: one or more sentences for people.
        type: body type; None if there is no car, or if its type is uncertain.
        parts: parts that the options select.
        rotation: clockwise turn in degrees that makes the photo upright: 0, 90, 180 or 270. All
            coordinates refer to the photo as it was posted.
        other_cars: True if there are more cars of similar size; their parts are not included.
        model_version: version of the models that made the result; "" from older services.
        service_version: version of the service; "" from older services.
        damages: its damage; None if the photo was not examined for damage.
        damage_version: version of the network that found the damage; "" without damage.
    """

    image_hash: str
    width: int
    height: int
    message: str
    type: CarType | None
    parts: list[Part]
    rotation: int = 0
    other_cars: bool = False
    model_version: str = ""
    service_version: str = ""
    damages: list[Damage] | None = None
    damage_version: str = ""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Result:
        """Read the answer of `/<hash>/segments`.

        Unknown fields are ignored. Fields that older services do not send get their defaults.
        """
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
            rotation=document.get("rotation", 0),
            other_cars=document.get("other_cars", False),
            model_version=document.get("model_version", ""),
            service_version=document.get("service_version", ""),
            damages=[_damage(damage) for damage in document["damages"]]
            if "damages" in document
            else None,
            damage_version=document.get("damage_version", ""),
        )


@dataclass(frozen=True)
class Status:
    """The status of a photo: Uploaded, Processing, Ready or Error.

    While Ready, `damage_pending` is True as long as the photo is examined for damage, and
    `damage_error` is the reason why the last examination failed, else None.
    """

    status: str
    message: str
    damage_pending: bool = False
    damage_error: str | None = None

    @property
    def is_final(self) -> bool:
        """True if the photo is Ready or Error, and no damage is pending."""
        return self.status in ("Ready", "Error") and not self.damage_pending


@dataclass(frozen=True)
class Outcome:
    """The outcome of one of many photos.

    Attributes:
        number: position among the photos, from 0.
        photo: path or bytes, as passed in.
        image_hash: hash of the photo; None if the service did not accept it.
        error: reason why there is no result, else None; an OSError if the file can't be read.
        result: the result; None if it failed or was not requested.
    """

    number: int
    photo: Photo
    image_hash: str | None = None
    error: CarSegError | OSError | None = None
    result: Result | None = None


class CarSeg:
    """A running service. Thread-safe.

    A request is retried if its connection fails, or if it is answered with 429 or 503. The pause
    before a retry doubles each time, unless the service sends Retry-After. Posting a photo twice
    does no harm, because the service identifies photos by their content.
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
        """Set the address and the limits; no connection is opened yet.

        Args:
            url: address of the service, such as `http://127.0.0.1:5000`; `http://` may be left
                out.
            api_key: key to send with each request, if the service requires one.
            retries: largest number of retries of a request.
            timeout: seconds without any answer after which a request fails.
            headers: more headers to send with each request.
        """
        self._url = (url if "://" in url else f"http://{url}").rstrip("/")
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._auth = None if api_key is None else _Bearer(api_key)
        self._retry = Retry(
            total=retries,
            connect=min(retries, 3),  # no service, or no answer: more retries seldom help
            read=min(retries, 3),
            status_forcelist=(429, 503),
            allowed_methods=None,  # POST as well
            backoff_factor=0.25,
            backoff_jitter=0.25,
            backoff_max=_LONGEST_PAUSE,
            retry_after_max=_LONGEST_PAUSE,
            raise_on_status=False,
        )
        self._sessions: list[requests.Session] = []
        self._local = threading.local()  # requests' sessions are not thread-safe

    def segment(
        self, photo: Photo, options: Options = PLAIN, *, timeout: float | None = None
    ) -> Result:
        """Post a photo, wait for it, and fetch its result.

        Args:
            photo: path of a file, or its bytes.
            options: options of the result; with `damage=True` the photo is examined for damage.
            timeout: seconds to wait at most; None to wait without limit.

        Raises:
            CarSegError: the service refused the photo, failed on it, or could not be reached; with
                `damage=True` also if it failed on the examination alone.
            TimeoutError: the photo was not ready in time.
            OSError: the file can't be read.
        """
        start = time.monotonic()
        answer = self._post_and_wait(photo, options, timeout)
        if "parts" in answer:
            return Result.from_json(answer)
        image_hash = answer["image_hash"]  # it takes longer, or the service is an older one
        self._poll(image_hash, timeout, start)
        return self.result(image_hash, options)

    def _post_and_wait(
        self, photo: Photo, options: Options, timeout: float | None
    ) -> dict[str, Any]:
        """Post a photo, and return its result, or else a document with its hash."""
        seconds = min(_LONGEST_WAIT, self._timeout / 2, math.inf if timeout is None else timeout)
        try:
            answer = self._request(
                "POST",
                "/",
                params={"wait": f"{max(seconds, 0):g}", **options.query()},
                json=_document(photo),
            )
        except CarSegError as error:
            if error.status == 404:  # the photo ended in Error
                raise CarSegError(error.message) from None
            raise
        document: dict[str, Any] = _json(answer)
        return document

    def submit(
        self, photo: Photo, *, file_name: str | None = None, damage: bool | None = None
    ) -> str:
        """Post a photo, and return its hash at once.

        The service keeps the name of the file for its formats; bytes have none but `file_name`.

        Args:
            photo: path of a file, or its bytes.
            file_name: name of the file; by default that of the path.
            damage: examine it for damage; None for the default of the service.

        Raises:
            CarSegError: the service refused the photo, or could not be reached.
            OSError: the file can't be read.
        """
        document = _document(photo, file_name)
        answer = self._request("POST", "/", params=_of_damage(damage), json=document)
        image_hash: str = _json(answer)["image_hash"]
        return image_hash

    def segment_many(
        self, photos: Iterable[Photo], options: Options = PLAIN, *, at_once: int = _AT_ONCE
    ) -> Iterator[Outcome]:
        """Post photos in batches, and yield each with its result as soon as it is ready.

        Neither photos nor results are kept, so their number is not limited. A photo that is
        refused because the service is full is sent again later. A photo that fails does not stop
        the others.

        Args:
            photos: paths of files, or their bytes; taken as they are needed.
            options: options of the results; with `damage=True` the photos are examined for damage.
            at_once: largest number of photos in the service concurrently.

        Yields:
            One outcome per photo, in the order in which they end.

        Raises:
            CarSegError: the service does not answer, or accepts no more photos.
        """
        for outcome in self.finish_many(photos, at_once=at_once, damage=options.damage):
            if outcome.error is not None or outcome.image_hash is None:
                yield outcome
                continue
            try:
                result = self.result(outcome.image_hash, options)
            except CarSegError as error:
                yield replace(outcome, error=error)
            else:
                yield replace(outcome, result=result)

    def finish_many(
        self, photos: Iterable[Photo], *, at_once: int = _AT_ONCE, damage: bool | None = None
    ) -> Iterator[Outcome]:
        """Do the same as `segment_many`, but fetch no results."""
        transfer = _Transfer(self, photos, at_once, damage)
        while True:
            yield from transfer.send()
            yield from transfer.finished()
            if transfer.is_done:
                return
            transfer.pause()

    def submit_many(
        self,
        photos: Sequence[Photo],
        *,
        file_names: Sequence[str | None] | None = None,
        damage: bool | None = None,
    ) -> list[str | CarSegError]:
        """Post photos in one request, and return a hash or an error for each.

        An error with the status 429 or 503 means that the photo should be sent again after
        `retry_after` seconds.

        Args:
            photos: paths of files, or their bytes.
            file_names: a name or None for each photo; by default those of the files.
            damage: examine them for damage; None for the default of the service.

        Raises:
            CarSegError: all photos were refused; with 413 they are too many, or too large together.
            OSError: a file can't be read.
        """
        images = [_base64(_bytes(photo)) for photo in photos]
        names = [_name(photo) for photo in photos] if file_names is None else list(file_names)
        document = {"images": images, "file_names": names}
        query = _of_damage(damage)
        answer = _json(self._request("POST", "/batch", params=query, json=document))
        return [
            CarSegError(entry["error"], entry["code"], entry.get("retry_after"))
            if "error" in entry
            else entry["image_hash"]
            for entry in answer["photos"]
        ]

    def statuses(self, image_hashes: Sequence[str]) -> list[Status | None]:
        """Return the status of each photo, or None if it is unknown.

        Up to 1000 photos are allowed.

        Raises:
            CarSegError: the request failed.
        """
        answer = _json(self._request("POST", "/status", json={"image_hashes": list(image_hashes)}))
        return [None if "error" in entry else _status(entry) for entry in answer["photos"]]

    def status(self, image_hash: str) -> Status:
        """Return the status of a photo. Raises CarSegError."""
        return _status(_json(self._request("GET", f"/{image_hash}/status")))

    def wait(self, image_hash: str, *, timeout: float | None = None) -> None:
        """Wait until a photo is Ready, and no damage is pending.

        If an examination for damage failed, `status` has the reason.

        Raises:
            CarSegError: the photo ended in Error, or the service could not be reached.
            TimeoutError: the photo was not ready in time.
        """
        self._poll(image_hash, timeout, time.monotonic())

    def _poll(self, image_hash: str, timeout: float | None, start: float) -> None:
        """Wait until a photo is Ready, at most until `timeout` seconds after `start`."""
        pause = _FIRST_POLL
        while True:
            now = self.status(image_hash)
            if now.status == "Ready" and now.is_final:
                return
            if now.status == "Error":
                raise CarSegError(now.message)
            if timeout is not None and time.monotonic() - start + pause > timeout:
                unit = "second" if timeout == 1 else "seconds"
                raise TimeoutError(f"The photo is not ready after {timeout:g} {unit}.")
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_POLL)

    def result(self, image_hash: str, options: Options = PLAIN) -> Result:
        """Return the result of a photo that is Ready. Raises CarSegError."""
        answer = self._request("GET", f"/{image_hash}/segments", params=options.query())
        return Result.from_json(_json(answer))

    def export(self, image_hash: str, name: str, options: Options = PLAIN) -> bytes:
        """Return the result in a format such as `coco` or `svg`. Raises CarSegError."""
        query = {"format": name} | options.query()
        return self._request("GET", f"/{image_hash}/segments", params=query).content

    def picture(self, image_hash: str, name: str, options: Options = PLAIN) -> bytes:
        """Fetch a PNG.

        Args:
            image_hash: hash of a photo that is Ready.
            name: `mask`, `damage`, `overlay`, or `masks/<part>`.
            options: a mask and damage take min_area and min_confidence; the overlay also takes
                tolerance, max_vertices, topology and damage.

        Raises:
            CarSegError: there is no such picture, or it does not take the option.
        """
        path = f"/{image_hash}/{name}.png"
        return self._request("GET", path, params=options.query()).content

    def ready(self) -> list[str]:
        """Return the hashes of all photos that are Ready. Raises CarSegError."""
        hashes: list[str] = _json(self._request("GET", "/"))
        return hashes

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            session.close()

    def __enter__(self) -> CarSeg:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            answer = self._session().request(
                method, self._url + path, timeout=self._timeout, **arguments
            )
        except requests.RequestException as error:
            raise CarSegError(_reason(error, self._url)) from error
        if answer.ok:
            return answer
        try:
            message = str(answer.json()["error"])
        except (ValueError, TypeError, KeyError):
            message = f"{answer.status_code} {answer.reason}"
        raise CarSegError(message, answer.status_code)

    def _session(self) -> requests.Session:
        """Return the session of this thread."""
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


class _Transfer:
    """The photos of one call: those to be sent, to be sent again, and in the service."""

    def __init__(
        self, service: CarSeg, photos: Iterable[Photo], at_once: int, damage: bool | None
    ) -> None:
        self._service, self._at_once, self._damage = service, at_once, damage
        self._new = (Outcome(number, photo) for number, photo in enumerate(photos))
        self._retries: deque[Outcome] = deque()  # refused for now; sent before new ones
        self._in_service: dict[str, list[Outcome]] = {}  # in the service, by hash, oldest first
        self._losses: Counter[int] = Counter()  # times the service forgot a photo, by its number
        self._next_pause = _FIRST_POLL
        self._not_before = 0.0  # time.monotonic() until which nothing is sent
        self._all_read = False

    @property
    def is_done(self) -> bool:
        """True if no photos are left."""
        return self._all_read and not self._in_service and not self._retries

    def pause(self) -> None:
        """Wait a moment, longer each time while no photo ends."""
        time.sleep(self._next_pause)
        self._next_pause = min(self._next_pause * 1.5, _LAST_POLL)

    def send(self) -> Iterator[Outcome]:
        """Send batches while there is room, and yield the photos that fail for good."""
        while time.monotonic() >= self._not_before:
            room = self._at_once - len(self._in_service)
            if room < max(1, min(_BATCH_PHOTOS, self._at_once // 2)):
                return  # wait for room for a larger batch
            batch: list[tuple[Outcome, bytes]] = []
            size = 0
            while len(batch) < min(room, _BATCH_PHOTOS) and size < _BATCH_BYTES:
                outcome = self._retries.popleft() if self._retries else next(self._new, None)
                if outcome is None:
                    self._all_read = True
                    break
                try:
                    data = _bytes(outcome.photo)
                except OSError as error:
                    yield replace(outcome, error=error)
                    continue
                batch.append((outcome, data))
                size += len(data)
            if not batch:
                return
            yield from self._send_batch(batch)

    def _send_batch(self, batch: list[tuple[Outcome, bytes]]) -> Iterator[Outcome]:
        try:
            names = [_name(outcome.photo) for outcome, _ in batch]
            photos = [data for _, data in batch]
            answers = self._service.submit_many(photos, file_names=names, damage=self._damage)
        except CarSegError as error:
            if error.status != 413:
                raise
            if len(batch) > 1:  # this service accepts only smaller batches
                middle = len(batch) // 2
                yield from self._send_batch(batch[:middle])
                yield from self._send_batch(batch[middle:])
                return
            try:  # a photo may be larger than a batch
                photo, name = batch[0][1], names[0]
                answers = [self._service.submit(photo, file_name=name, damage=self._damage)]
            except CarSegError as alone:
                if alone.status in (None, 429, 503):
                    raise
                answers = [alone]
        for (outcome, _), answer in zip(batch, answers, strict=True):
            if isinstance(answer, str):
                self._in_service.setdefault(answer, []).append(replace(outcome, image_hash=answer))
            elif answer.status in (429, 503):
                self._retries.append(outcome)
                wait = min(answer.retry_after or 1.0, _LONGEST_PAUSE)
                self._not_before = max(self._not_before, time.monotonic() + wait)
            else:
                yield replace(outcome, error=answer)

    def finished(self) -> Iterator[Outcome]:
        """Yield the photos that have ended. A photo that the service lost is sent again."""
        hashes = list(self._in_service)
        for start in range(0, len(hashes), _STATUSES):
            asked = hashes[start : start + _STATUSES]
            for image_hash, now in zip(asked, self._service.statuses(asked), strict=True):
                if now is not None and not now.is_final:
                    continue
                self._next_pause = _BUSY_POLL
                for outcome in self._in_service.pop(image_hash):
                    if now is not None:
                        yield replace(outcome, error=_failure(now, self._damage))
                    elif self._losses[outcome.number] < _TRIES - 1:
                        self._losses[outcome.number] += 1
                        self._retries.append(replace(outcome, image_hash=None))
                    else:
                        yield replace(outcome, error=CarSegError(_LOST, 404))


class _Bearer(AuthBase):
    """The API key as `auth` of a session.

    Then requests does not send it to other hosts, nor replace it with a login from ~/.netrc.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _reason(error: requests.RequestException, url: str) -> str:
    """Return in one sentence why there is no answer from an address."""
    match error:
        case requests.exceptions.SSLError():
            return (
                f"The service at {url} does not answer over HTTPS; check address and certificate."
            )
        case requests.ConnectionError() | requests.Timeout():
            return f"The service at {url} does not answer; check that it runs there."
        case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
            return f"{url} is not an address such as http://127.0.0.1:5000."
    return f"The answer from {url} can't be read."


def _bytes(photo: Photo) -> bytes:
    return photo if isinstance(photo, bytes) else Path(photo).read_bytes()


def _name(photo: Photo) -> str | None:
    return None if isinstance(photo, bytes) else Path(photo).name


def _document(photo: Photo, file_name: str | None = None) -> dict[str, str]:
    """Return a photo as JSON, with its name if it has one."""
    name = file_name or _name(photo)
    return {"image": _base64(_bytes(photo))} | ({"file_name": name} if name else {})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise CarSegError(
            "The response is not from this service. Please check its address.", answer.status_code
        ) from None


def _of_damage(damage: bool | None) -> dict[str, str]:
    """Return the query that asks for damage, or not; {} for the default of the service."""
    return {} if damage is None else {"damage": str(damage).lower()}


def _status(document: Mapping[str, Any]) -> Status:
    return Status(
        status=document["status"],
        message=document["message"],
        damage_pending="damage" in document,
        damage_error=document.get("damage_error"),
    )


def _failure(status: Status, damage: bool | None) -> CarSegError | None:
    """Return why a photo ended without a result, or without the damage that was asked for."""
    if status.status != "Ready":
        return CarSegError(status.message)
    if damage and status.damage_error is not None:
        return CarSegError(f"The examination for damage failed: {status.damage_error}", 404)
    return None


def _part(document: Mapping[str, Any]) -> Part:
    x, y, width, height = document["bbox"]
    return Part(
        name=document["name"],
        confidence=document["confidence"],
        area=document["area"],
        bbox=(x, y, width, height),
        polygons=_polygons(document["polygons"]),
        damaged=document.get("damaged"),
    )


def _damage(document: Mapping[str, Any]) -> Damage:
    x, y, width, height = document["bbox"]
    return Damage(
        kind=document["kind"],
        confidence=document["confidence"],
        area=document["area"],
        bbox=(x, y, width, height),
        polygons=_polygons(document["polygons"]),
        parts=[PartShare(part["name"], part["share"]) for part in document["parts"]],
    )


def _polygons(found: Iterable[Mapping[str, Any]]) -> list[Polygon]:
    return [
        Polygon(_ring(polygon["exterior"]), [_ring(hole) for hole in polygon["holes"]])
        for polygon in found
    ]


def _ring(points: list[list[float]]) -> list[Point]:
    return [(x, y) for x, y in points]
