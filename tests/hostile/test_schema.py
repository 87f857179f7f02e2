"""Test the OpenAPI document with all checks of schemathesis.

A longer run by hand: HOSTILE_EXAMPLES=1000 make test ARGS="-k test_schema --timeout=7200".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from api.openapi import OpenApiApp
from api.service import service_of
from app import create_app
from settings import Settings
from tests.support.fakes import FakePipeline, paint_nothing
from tests.support.http import body, post, wait
from tests.support.pictures import encoded, noise

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "8"))
KNOWN = encoded(noise(20, 30))


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenApiApp]:
    """Yield an app with one photo that is Ready."""
    folder = tmp_path_factory.mktemp("schema")
    app = create_app(
        Settings(data_dir=folder),
        pipeline=FakePipeline(paint=paint_nothing),
        status={},
        segments={},
    )
    wait(app.test_client(), post(app.test_client(), KNOWN))
    yield app
    service_of(app).engine.close()


@pytest.mark.parametrize("hash_is_known", [False, True])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_api_matches_openapi_document(
    described: OpenApiApp, mode: GenerationMode, hash_is_known: bool
) -> None:
    # Data that fits the document may still be no picture, and a hash may be unknown.
    excluded: list[Any] = [positive_data_acceptance]
    if hash_is_known:
        excluded.append(negative_data_rejection)  # the error may have been in the hash
    for operation in operations(described):
        if mode is GenerationMode.NEGATIVE and not (len(operation.query) or len(operation.body)):
            continue  # nothing could be wrong: any text may be a hash
        if hash_is_known and operation.method.lower() == "delete":
            continue  # it would be unknown to the others

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True,
                  database=None, suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case[Any]) -> None:
            if hash_is_known and "image_hash" in case.path_parameters:
                case.path_parameters["image_hash"] = hashlib.sha256(KNOWN).hexdigest()
            if hash_is_known and isinstance(case.body, dict):
                case.body.update(body(KNOWN))
            if (case.method.lower(), case.path) == ("post", "/"):
                case.query = {"wait": 0, **(case.query or {})}  # without, the others are ignored
            # Without a server, nothing decompresses the answer.
            plain = {"Accept-Encoding": "identity"}
            case.call_and_validate(headers=plain, excluded_checks=excluded)

        ask()


def operations(app: OpenApiApp) -> list[Any]:
    """Return the operations of the document."""
    document = schemathesis.openapi.from_wsgi("/openapi.json", app)
    results: list[Any] = list(document.get_all_operations())
    found = [result.ok() for result in results]
    assert {operation.path for operation in found} == set(document.raw_schema["paths"]) - {
        "/openapi.json"
    }
    return found
