"""Whatever the server's own description allows, and much that it does not, is answered as it says, never with 5xx."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from modrwkv_core.serving.settings import Limits, ServeSettings

CASES_VARIABLE = "MODRWKV_FUZZ_CASES"
"""Environment variable: cases of each route of the test that takes long; by default about 10,000 in all."""

ROUTES = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/responses"),
    ("DELETE", "/v1/responses/{response}"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/forecast"),
    ("POST", "/v1/sessions"),
    ("GET", "/v1/sessions/{session}"),
    ("GET", "/v1/models/{name}"),
    ("GET", "/metrics"),
]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Iterator[Any]:
    """A server whose answers are short."""
    with serve(ServeSettings(limits=Limits(tokens=4, horizon=20, choices=3))) as served:
        yield served


def fuzz(server: Any, method: str, path: str, cases: int) -> None:
    operation = schemathesis.openapi.from_dict(server.app.openapi())[path][method]
    count = 0
    modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.one_of(*modes), st.integers(0, 9))
    def check(case: Any, luck: int) -> None:
        nonlocal count
        count += 1
        if isinstance(case.body, dict) and luck:  # most cases shall come further than to an unknown model
            case.body["model"] = "tiny"
        case.call_and_validate(base_url=server.url, timeout=120, checks=CHECKS)

    for attempt in range(1000):
        try:
            seed(attempt)(check)()
            break
        except FlakyStrategyDefinition:  # schemathesis remembers what it has generated, which Hypothesis may notice
            if count >= cases:
                break
    else:
        raise AssertionError(f"schemathesis generated {count} cases of {cases}")
    sys.stdout.write(f"{method} {path}: {count} cases\n")
    stats = server.engine.stats()
    assert stats.running + stats.waiting == 0


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_few_cases(server: Any, method: str, path: str) -> None:
    fuzz(server, method, path, 15)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_many_cases(server: Any, method: str, path: str) -> None:
    fuzz(server, method, path, int(os.environ.get(CASES_VARIABLE, "1200")))
