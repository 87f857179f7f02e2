"""Settings from the environment, and how a bad one stops the start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from settings import (
    REPOSITORY,
    Settings,
    SettingsError,
    load_settings,
    unknown_variables,
    usable_cores,
)
from tests.support.server import clean_environment


def test_defaults() -> None:
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 5000)
    assert settings.data_dir == REPOSITORY
    assert settings.uploads == REPOSITORY / "img"
    assert settings.masks == REPOSITORY / "seg_img"
    assert 1 <= settings.workers <= usable_cores()
    assert settings.max_upload_bytes == 20 * 1024 * 1024
    assert not settings.write_masks


def test_worker_count_is_at_most_one_per_core() -> None:
    assert Settings(workers=1).worker_count == 1
    assert Settings(workers=1024).worker_count == usable_cores()


def test_most_server_threads_never_wait() -> None:
    settings = [Settings(http_threads=threads) for threads in (1, 2, 4, 8, 16)]
    assert [each.waiting_slots for each in settings] == [0, 0, 1, 3, 7]
    assert [each.batch_slots for each in settings] == [1, 1, 1, 2, 4]


def test_every_setting_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {
        "HOST": "0.0.0.0",  # noqa: S104
        "PORT": "8080",
        "DATA_DIR": str(tmp_path),
        "BROKER_URL": "redis://:secret@redis.example:6380/1",
        "LEASE_SECONDS": "7.5",
        "WORKERS": "3",
        "HTTP_THREADS": "5",
        "CONNECTIONS": "50",
        "CLIENT_SECONDS": "3.5",
        "RUNTIME": "torch",
        "PRECISION": "float32",
        "MAX_UPLOAD_MB": "1.5",
        "MAX_PIXELS": "1000",
        "BATCH_PHOTOS": "12",
        "BATCH_MB": "2.5",
        "QUEUE": "7",
        "JOB_SECONDS": "9.5",
        "STORE": "memory",
        "KEEP_DAYS": "0.5",
        "KEEP_RESULTS": "8",
        "CORS_ORIGINS": "https://a.example, http://b.example:8000/",
        "API_KEYS": f"{'a' * 16}, {'b' * 20}",
        "SHARED_RESULTS": "1",
        "RATE_LIMIT": "5/hour",
        "TRUSTED_PROXIES": "1",
        "PARTS": "basic, roof",
        "DAMAGE": "always",
        "WRITE_MASKS": "1",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
    }
    assert {name.lower() for name in values} == set(Settings.model_fields)
    for name, value in values.items():
        monkeypatch.setenv(f"CARSEG_{name}", value)
    settings = load_settings()
    default = Settings.model_construct()
    for name in Settings.model_fields:
        assert getattr(settings, name) != getattr(default, name), name
    assert settings.cors_origins == ("https://a.example", "http://b.example:8000")
    assert settings.parts == ("basic", "roof")
    assert settings.max_upload_bytes == 1_572_864


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().port = 1


BAD = [
    ("PORT", "abc", "it must be a whole number."),
    ("PORT", "70000", "it must be at most 65535."),
    ("PORT", "9" * 5000, "it must be a smaller number."),
    ("HOST", "", "it is empty."),
    ("WORKERS", "0", "it must be at least 1."),
    ("LEASE_SECONDS", "0", "it must be at least 0.5."),
    ("HTTP_THREADS", "-1", "it must be at least 1."),
    ("MAX_UPLOAD_MB", "0", "it must be more than 0."),
    ("MAX_UPLOAD_MB", "nan", "it must be at most 1024."),
    ("MAX_UPLOAD_MB", "large", "it must be a number."),
    ("MAX_PIXELS", "1e99", "it must be a whole number."),
    ("CORS_ORIGINS", "example.org", "'example.org' is no origin such as https://example.org."),
    ("CORS_ORIGINS", "http://.*", "'http://.*' is no origin such as https://example.org."),
    ("PARTS", "roff", "There is no part 'roff'; the nearest is roof. The names are all, "),
    ("RATE_LIMIT", "much", "it must be auto, off, or a number per time such as 60/minute."),
    ("RATE_LIMIT", "0/minute", "it must be auto, off, or a number per time such as 60/minute."),
    ("TRUSTED_PROXIES", "-1", "it must be at least 0."),
    ("RUNTIME", "abacus", "it must be 'auto', 'onnx', 'torch' or 'openvino'."),
    ("PRECISION", "int4", "it must be 'int8' or 'float32'."),
    ("DAMAGE", "never", "it must be 'asked' or 'always'."),
    ("WRITE_MASKS", "maybe", "it must be true or false."),
    ("LOG_LEVEL", "loud", "it must be 'debug', 'info', 'warning' or 'error'."),
    ("LOG_FORMAT", "xml", "it must be 'text' or 'json'."),
]


@pytest.mark.parametrize(("name", "value", "reason"), BAD)
def test_bad_value_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(f"CARSEG_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.message.startswith(f"CARSEG_{name}={value}: {reason}")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("fifteen-letters", "key 1 has fewer than 16 characters"),
        ("long-enough-and-good,", "key 2 has fewer than 16 characters"),
        ("long enough with blanks", "key 1 has characters other than ASCII"),
        ("long-enough-with-\u00fcmlaut", "key 1 has characters other than ASCII"),
        ("long-enough-with-\x1b[2J", "key 1 has characters other than ASCII"),
    ],
)
def test_bad_key_stops_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    monkeypatch.setenv("CARSEG_API_KEYS", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.message.startswith(f"CARSEG_API_KEYS: {words}")
    assert value.split(",")[0] not in caught.value.message
    with pytest.raises(ValidationError) as raw:
        Settings(api_keys=value)  # type: ignore[arg-type]
    assert value not in str(raw.value)


@pytest.mark.parametrize(
    "value",
    [
        "redis.example",
        "amqp://user:secret-word@rabbit.example",
        "redis://:secret-word@",
        "redis://:secret-word@redis.example:port/0",
        "redis://:secret-word@redis.example:70000/0",
        "redis://:secret-word@redis.example/photos",
        "redis+socket:///secret-word",
    ],
)
def test_bad_broker_stops_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CARSEG_BROKER_URL", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.message.startswith("CARSEG_BROKER_URL: it must be like redis://")
    assert "secret-word" not in caught.value.message
    assert "example" not in caught.value.message


def test_password_of_broker_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSEG_BROKER_URL", "rediss://user:secret-word@redis.example")
    settings = load_settings()
    assert settings.broker_url is not None
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "secret-word" not in text
    monkeypatch.setenv("CARSEG_BROKER_URL", "")
    assert load_settings().broker_url is None


def test_empty_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSEG_API_KEYS", "")
    assert load_settings().api_keys == ()


def test_keys_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "0123456789abcdef-secret"
    monkeypatch.setenv("CARSEG_API_KEYS", f"{key},{key}-2")
    settings = load_settings()
    assert [entry.get_secret_value() for entry in settings.api_keys] == [key, f"{key}-2"]
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "secret" not in text


@pytest.mark.parametrize(
    ("host", "proxies", "open_"),
    [
        ("127.0.0.1", 0, False),
        ("127.8.9.1", 0, False),
        ("::1", 0, False),
        ("localhost", 0, False),
        ("127.0.0.1", 1, True),
        ("0.0.0.0", 0, True),  # noqa: S104
        ("::", 0, True),
        ("192.168.1.5", 0, True),
        ("car.example.org", 0, True),
    ],
)
def test_default_rate_limit_by_host(host: str, proxies: int, open_: bool) -> None:
    settings = Settings(host=host, trusted_proxies=proxies)
    assert settings.others_can_reach_it is open_
    assert settings.photo_rate == ("60/minute" if open_ else None)
    assert Settings(host=host, rate_limit="off").photo_rate is None
    assert Settings(host=host, rate_limit="7/day").photo_rate == "7/day"


def test_misspelt_setting_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSEG_WORKER", "2")
    monkeypatch.setenv("CARSEG_PROT", "8080")
    monkeypatch.setenv("CARSEG_COLOUR", "blue")
    assert unknown_variables() == {
        "CARSEG_COLOUR": None,
        "CARSEG_PROT": "CARSEG_PORT",
        "CARSEG_WORKER": "CARSEG_WORKERS",
    }


def test_misspelt_setting_is_logged_with_nearest(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("stops the start")
    bad = {"CARSEG_DATA_DIR": str(tmp_path / "file"), "CARSEG_PORT": "0"}
    ended = _start("app.py", CARSEG_PROT="8080", CARSEG_COLOUR="blue", **bad)
    warnings = ended.stderr.splitlines()[:-1]
    known = "is set, but there is no such setting"
    assert warnings[0].endswith(f"CARSEG_COLOUR {known}")
    assert warnings[1].endswith(f"CARSEG_PROT {known}; did you mean CARSEG_PORT?")


def test_client_key_variable_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSEG_API_KEY", "a" * 16)
    # s is missing: the service would be open
    assert unknown_variables() == {"CARSEG_API_KEY": "CARSEG_API_KEYS"}
    monkeypatch.setenv("CARSEG_API_KEYS", "a" * 16)
    assert unknown_variables() == {}


def test_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"CARSEG_DATA_DIR: .*/file/img can't be"):
        Settings(data_dir=tmp_path / "file").prepare_folders()


def _start(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=clean_environment() | environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_start_stops_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for environment, words in (
            ({"CARSEG_PORT": "abc"}, "CARSEG_PORT=abc"),
            ({"CARSEG_PORT": str(port)}, f"CARSEG_PORT={port}"),
            ({"CARSEG_PORT": "0", "CARSEG_DATA_DIR": str(tmp_path / "file")}, "CARSEG_DATA_DIR"),
            ({"CARSEG_HOST": "no.such.host.invalid"}, "CARSEG_HOST=no.such.host.invalid"),
        ):
            ended = _start("app.py", **environment)
            assert ended.returncode == 2
            assert words in ended.stderr
            assert ended.stderr.count("\n") == 1, ended.stderr
            assert ended.stdout == ""


def test_flask_run_shows_same_sentence() -> None:
    ended = _start("-m", "flask", "--app", "app", "run", "--port", "0", CARSEG_WORKERS="none")
    assert ended.returncode == 2
    assert "CARSEG_WORKERS=none" in ended.stderr
    assert "Traceback" not in ended.stderr
