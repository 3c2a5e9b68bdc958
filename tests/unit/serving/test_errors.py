"""What a client is told about an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import CheckpointError, ComponentError, DataError, EngineError, ModRWKVError, QueueFullError
from modrwkv_core.serving.errors import as_api_error, without_paths


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("the file is empty", hint="send another"), 400),
        (ModRWKVError("top_p is 3"), 400),
        (QueueFullError("full"), 429),
        (EngineError("closed"), 503),
        (CheckpointError("/var/lib/sessions/x is damaged"), 409),
        (ComponentError("/secret/model holds NaN"), 500),
        (AssertionError("our mistake in /home/me/x.py"), 500),
    ],
)
def test_status_and_words(error: Exception, status: int) -> None:
    told = as_api_error(error)
    assert told.status == status
    assert not any(place in told.message for place in ("/var", "/opt", "/home"))


NAMES = st.text(st.characters(categories=("L", "N"), include_characters="._-"), min_size=1, max_size=8)


@given(st.lists(NAMES, min_size=2, max_size=5), st.sampled_from(["{}", "cannot read {}: no", "'{}'", "({})"]))
def test_no_path_is_left(names: list[str], sentence: str) -> None:
    path = str(Path("/", *names))
    assert path not in without_paths(sentence.format(path))


@pytest.mark.parametrize(
    "text", ["words and/or numbers", "1/2 of it", "send data:image/png;base64,...", "/v1", "a / b"]
)
def test_what_is_no_path_stays(text: str) -> None:
    assert without_paths(text) == text
