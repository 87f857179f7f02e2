"""Read the settings once at start from the environment (`CARSEG_*`), typed and frozen."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import click
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vision.labels import parts_named

VERSION = "0.1.0"  # of the service
PREFIX = "CARSEG_"
Precision = Literal["int8", "float32"]
DEFAULT_PRECISION: Precision = "int8"
MOST_PIXELS = 108_000_000  # of a photo; the cameras of phones have at most 12000 x 9000
REPOSITORY = Path(__file__).resolve().parent

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?", re.IGNORECASE)
_LOCALHOST = r"^https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?$"
_KEY = re.compile(r"[!-+\--~]+")  # characters of a header, except comma and space
_SHORTEST_KEY = 16  # characters; a random key this long can't be guessed
_SECRET = (f"{PREFIX}API_KEYS", f"{PREFIX}BROKER_URL")  # their values are never shown
_RATE = re.compile(r"[1-9]\d{0,6}/(second|minute|hour|day)")
_DEFAULT_RATE = "60/minute"
# What is wrong with a value, by the type of pydantic's error.
_REASONS = {
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it must be a smaller number",
    "float_parsing": "it must be a number",
    "bool_parsing": "it must be true or false",
    "literal_error": "it must be {expected}",
    "greater_than_equal": "it must be at least {ge}",
    "greater_than": "it must be more than {gt}",
    "less_than_equal": "it must be at most {le}",
    "string_too_short": "it is empty",
}


class SettingsError(click.ClickException):
    """A setting can't be used. The message is one sentence that names it.

    It is a click exception, so that `flask run` prints the sentence as `python app.py` does.
    """

    exit_code = 2


def usable_cores() -> int:
    """Return the number of cores that this process may run on (at least 1)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def network_threads() -> int:
    """Return the number of threads for one call of a network: two, or one on a single core.

    It does not depend on the number of workers. Sums in torch differ in their last digits with the
    number of threads, but a photo must have the same result with any settings. A network gains
    from a second thread, but less from each further one.
    """
    return min(2, usable_cores())


def _default_workers() -> int:
    # Networks share the cores well. The stages before and after them use only one core.
    return min(8, usable_cores())


class Settings(BaseSettings):
    """All settings. Each field is read from the variable `CARSEG_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(
        default=5000, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    data_dir: Path = Field(
        default=REPOSITORY, description="folder that holds `img/`, `seg_img/` and `results.sqlite`"
    )
    broker_url: SecretStr | None = Field(
        default=None,
        description="`redis://...`: photos wait in this Redis, and Celery workers work on them",
    )
    lease_seconds: float = Field(
        default=15,
        ge=0.5,
        le=3600,
        description="seconds after which a photo of a worker that is not heard of goes to another",
    )
    workers: int = Field(
        default_factory=_default_workers,
        ge=1,
        le=1024,
        description="photos that are worked on at the same time; never more than cores",
    )
    http_threads: int = Field(
        default=20, ge=1, le=256, description="requests answered at the same time"
    )
    connections: int = Field(
        default=1000,
        ge=16,
        le=100_000,
        description="connections that may be open; beyond it the one idle for longest is closed",
    )
    client_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="seconds in which a client must send its headers, and move 16 kB of a body or "
        "an answer; idle connections are closed after four times as long",
    )
    runtime: Literal["auto", "onnx", "torch", "openvino"] = Field(
        default="auto",
        description="what runs the networks: `onnx` (ONNX Runtime, on the CPU), `torch` (also on "
        "an NVIDIA card), `openvino` (bfloat16 where the CPU has it), or `auto`: the fastest",
    )
    precision: Precision = Field(
        default=DEFAULT_PRECISION,
        description="of the networks in ONNX Runtime: `int8`, or the slower and exact `float32`",
    )
    max_upload_mb: float = Field(
        default=20, gt=0, le=1024, description="largest photo in MB (1 MB = 1,048,576 bytes)"
    )
    max_pixels: int = Field(
        default=8192 * 6144,  # phones call it 50 megapixels
        ge=1,
        le=MOST_PIXELS,
        description="largest photo in pixels, width x height",
    )
    batch_photos: int = Field(
        default=100, ge=1, le=4000, description="most photos of one `POST /batch`"
    )
    batch_mb: float = Field(
        default=64, gt=0, le=1024, description="most MB of the photos of one `POST /batch`"
    )
    queue: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="photos that may wait for a free worker; further ones are refused (503)",
    )
    job_seconds: float = Field(
        default=120, gt=0, le=86_400, description="longest time to work on one photo, in seconds"
    )
    store: Literal["sqlite", "memory"] = Field(
        default="sqlite",
        description="where results are kept: `sqlite`, in the file `results.sqlite`, or `memory`, "
        "which ends with the process",
    )
    keep_days: float = Field(
        default=30, gt=0, le=36_500, description="days after which a result is forgotten"
    )
    keep_results: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="results that are kept at most; beyond it the oldest are forgotten",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("localhost",),
        description="front-ends that browsers let call the service: origins separated by commas; "
        "`localhost` is this machine on any port, `*` for all, empty for none",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="keys that clients must send, separated by commas; empty lets everyone in",
    )
    shared_results: bool = Field(
        default=False, description="every key sees all results, not only those of its own photos"
    )
    rate_limit: str = Field(
        default="auto",
        description="most photos that a key, or an address where there are no keys, may post, "
        "such as `60/minute`; `off`; `auto`: off where only this machine reaches the service",
    )
    trusted_proxies: int = Field(
        default=0,
        ge=0,
        le=10,
        description="proxies in front of the service whose `X-Forwarded-*` headers are believed",
    )
    parts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("all",),
        description="parts in answers that do not ask for others: `all`, `basic` (without the body "
        "panels), `panels`, or names, separated by commas",
    )
    damage: Literal["asked", "always"] = Field(
        default="asked",
        description="which photos are examined for damage: `asked`, those posted with "
        "`damage=true`, or `always`, all but those posted with `damage=false`",
    )
    write_masks: bool = Field(
        default=False,
        description="also write one PNG mask per part to `seg_img/<hash>/<part>.png`, and one of "
        "the damage, `damage.png`, if the photo is examined for it",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="how much is logged: `debug`, `info`, `warning` or `error`"
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="`text` for people, or `json`: one object per line"
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("parts", mode="before")
    @classmethod
    def _split_parts(cls, value: Any) -> Any:
        return tuple(map(str.strip, value.split(","))) if isinstance(value, str) else value

    @field_validator("parts")
    @classmethod
    def _check_parts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parts_named(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin not in ("*", "localhost") and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin such as https://example.org")
        return value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:
        if isinstance(value, str) and value:
            return tuple(part.strip() for part in value.split(","))
        return value or ()

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        # A key must never be shown, so the messages name its position instead.
        for number, key in enumerate(value, start=1):
            text = key.get_secret_value()
            if len(text) < _SHORTEST_KEY:
                raise ValueError(f"key {number} has fewer than {_SHORTEST_KEY} characters")
            if not _KEY.fullmatch(text):
                raise ValueError(f"key {number} has characters other than ASCII without spaces")
        return value

    @field_validator("broker_url", mode="before")
    @classmethod
    def _no_broker(cls, value: Any) -> Any:
        return value or None

    @field_validator("broker_url")
    @classmethod
    def _check_broker(cls, value: SecretStr | None) -> SecretStr | None:
        # It may hold a password, so the message does not show it.
        if value is not None and not _is_redis(value.get_secret_value()):
            raise ValueError("it must be like redis://:password@host:6379/0, or rediss:// with TLS")
        return value

    @field_validator("rate_limit")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        if value not in ("auto", "off") and not _RATE.fullmatch(value):
            raise ValueError("it must be auto, off, or a number per time such as 60/minute")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def worker_count(self) -> int:
        """Number of photos that are processed concurrently: `workers`, at most one per core."""
        return min(self.workers, usable_cores())

    @cached_property
    def part_names(self) -> frozenset[str]:
        """Names of the parts in `parts`, with groups replaced by their parts."""
        return parts_named(self.parts)

    @property
    def waiting_slots(self) -> int:
        """Number of server threads that may wait for a status to change.

        It is less than half of them, so that most threads stay free for other requests.
        """
        return max(0, self.http_threads // 2 - 1)

    @property
    def batch_slots(self) -> int:
        """Number of batches that are read concurrently; each holds a server thread for a while."""
        return max(1, self.http_threads // 4)

    @property
    def max_upload_bytes(self) -> int:
        """Largest photo in bytes."""
        return int(self.max_upload_mb * 1024 * 1024)

    @property
    def max_body_bytes(self) -> int:
        """Largest request body in bytes: base64 with a line break per 76 letters, and some JSON."""
        return self.max_upload_bytes * 3 // 2 + 64 * 1024

    @property
    def batch_bytes(self) -> int:
        """Largest total of the photos of one batch in bytes."""
        return int(self.batch_mb * 1024 * 1024)

    @property
    def batch_body_bytes(self) -> int:
        """Largest request body of a batch in bytes, computed like `max_body_bytes`."""
        return self.batch_bytes * 3 // 2 + 64 * 1024

    @property
    def cors_patterns(self) -> list[str]:
        """`cors_origins` as flask-cors takes them: exact origins and regular expressions."""
        return [_LOCALHOST if origin == "localhost" else origin for origin in self.cors_origins]

    def allows_origin(self, origin: str) -> bool:
        """Return whether pages of an origin, as browsers write it, may call the service."""
        return any(
            allowed == "*"
            or (allowed == "localhost" and re.match(_LOCALHOST, origin, re.IGNORECASE))
            or allowed.lower() == origin.lower()
            for allowed in self.cors_origins
        )

    @property
    def others_can_reach_it(self) -> bool:
        """True if other machines may reach the service, or if a host name leaves that open."""
        if self.trusted_proxies:
            return True
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() != "localhost"

    @property
    def photo_rate(self) -> str | None:
        """`rate_limit` as a number per time; None for no limit."""
        if self.rate_limit == "auto":
            return _DEFAULT_RATE if self.others_can_reach_it else None
        return None if self.rate_limit == "off" else self.rate_limit

    @property
    def uploads(self) -> Path:
        """Folder of the photos that wait or are being processed."""
        return self.data_dir / "img"

    @property
    def masks(self) -> Path:
        """Folder of the mask files."""
        return self.data_dir / "seg_img"

    @property
    def results(self) -> Path:
        """Database file of the results."""
        return self.data_dir / "results.sqlite"

    def prepare_folders(self) -> None:
        """Create both folders, and try to write into them. Raises SettingsError."""
        for folder in (self.uploads, self.masks):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(b"writable?")
            except OSError as error:
                reason = error.strerror or "it can't be used"
                raise SettingsError(
                    f"{PREFIX}DATA_DIR: {folder} can't be written: {reason}."
                ) from None


def _is_redis(url: str) -> bool:
    """Return whether a URL can be the address of a Redis."""
    try:
        parts = urlsplit(url)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return (
        parts.scheme in ("redis", "rediss")
        and bool(parts.hostname)
        and port_is_good
        and re.fullmatch(r"/?\d*", parts.path) is not None
    )


def load_settings() -> Settings:
    """Read the settings from the environment. Raises SettingsError on the first bad value."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = PREFIX + str(first["loc"][0]).upper()
        reason = _reason(first["type"], first["msg"], first.get("ctx", {}))
        if variable in _SECRET:
            raise SettingsError(f"{variable}: {reason}.") from None
        value = os.environ.get(variable, "")
        raise SettingsError(f"{variable}={value}: {reason}.") from None


def _reason(kind: str, message: str, limits: dict[str, Any]) -> str:
    """Return in plain words why a value was refused, from the fields of pydantic's error."""
    if kind not in _REASONS:
        return message.removeprefix("Value error, ")
    plain = {
        name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in limits.items()
    }
    return _REASONS[kind].format(**plain)


def unknown_variables() -> dict[str, str | None]:
    """Return the environment's `CARSEG_*` variables that no setting reads, likely misspelt.

    Returns:
        The nearest setting's variable by name, in alphabetical order; None if none is near.
    """
    settings = [PREFIX + name.upper() for name in Settings.model_fields]
    known = set(settings)
    if os.environ.get(f"{PREFIX}API_KEYS"):
        known.add(f"{PREFIX}API_KEY")  # read by clients; without API_KEYS likely a typo of it
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    return {name: _nearest(name, settings) for name in unknown}


def _nearest(variable: str, settings: list[str]) -> str | None:
    """Return the variable of the setting with the nearest name, or None if none is near."""
    # Without the prefix, which is in all of them, and would make all of them near.
    names = [setting.removeprefix(PREFIX) for setting in settings]
    found = difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1)
    return PREFIX + found[0] if found else None
