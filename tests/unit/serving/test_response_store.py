"""What responses go on from is kept within a bound."""

from __future__ import annotations

from typing import Any

import pytest

from modrwkv_core.serving.errors import APIError
from modrwkv_core.serving.response_store import ResponseStore


def test_the_state_that_was_not_used_for_longest_is_forgotten() -> None:
    states: list[Any] = [object() for _ in range(3)]
    store = ResponseStore(2)
    store.keep("first", "tiny", states[0])
    store.keep("second", "tiny", states[1])
    assert store.get("first", "tiny") is states[0]
    store.keep("third", "tiny", states[2])
    assert (store.get("first", "tiny"), store.get("third", "tiny")) == (states[0], states[2])
    with pytest.raises(APIError, match="no previous response 'second'") as caught:
        store.get("second", "tiny")
    assert caught.value.status == 404
    assert caught.value.param == "previous_response_id"


def test_another_models_state_is_refused() -> None:
    state: Any = object()
    store = ResponseStore(2)
    store.keep("first", "tiny", state)
    with pytest.raises(APIError, match="by the model 'tiny'"):
        store.get("first", "large")
