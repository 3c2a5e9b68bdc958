"""Heads of any name and number, from one untrained model."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modrwkv_core.data.packing import pack
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media, Text, Turn
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble

HEADS = {
    "demand": {"type": "forecast", "horizon": 6, "context_length": 20},
    "pair": {"type": "forecast", "horizon": 4, "channels": 2},
}
WAVE = np.sin(np.arange(60, dtype=np.float32) / 5)[:, None]


@pytest.fixture
def session_with(tiny_manifest: Callable[..., Path], tmp_path: Path) -> Callable[..., Session]:
    """Make a session of an untrained model with these heads, whose weights are disturbed."""

    def make(channels: int = 1, **heads: Any) -> Session:
        torch.manual_seed(0)
        overrides = [f"modalities.series.encoder.channels={channels}"]
        loaded = load_manifest(tiny_manifest(heads=heads), overrides)
        model = assemble(loaded, pretrained=False).eval()
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
        return Session(loaded, model, tmp_path)

    return make


def test_a_forecast_beyond_the_horizon_goes_on_from_itself(session_with: Callable[..., Session]) -> None:
    session = session_with(**HEADS)
    far = session.forecast(WAVE, 9, head="demand")
    near = session.forecast(WAVE, 6, head="demand")
    np.testing.assert_allclose(far.points[:6], near, rtol=1e-4, atol=1e-5)
    further = session.forecast(np.concatenate([WAVE, near]), 3, head="demand")
    np.testing.assert_allclose(far.points[6:], further, rtol=1e-4, atol=1e-5)


def test_only_the_latest_points_count(session_with: Callable[..., Session]) -> None:
    session = session_with(**HEADS)
    whole, latest = (session.forecast(series, 6, head="demand") for series in (WAVE, WAVE[-20:]))
    np.testing.assert_allclose(whole, latest, rtol=1e-5)


def test_columns_are_split_or_kept_together(session_with: Callable[..., Session]) -> None:
    session = session_with(**HEADS)
    columns = np.concatenate([WAVE, 10 + 3 * WAVE[::-1]], axis=1)
    each = [session.forecast(columns[:, [index]], 6, head="demand") for index in (0, 1)]
    np.testing.assert_allclose(session.forecast(columns, 6, head="demand"), np.hstack(each), rtol=1e-4, atol=1e-5)
    assert session_with(channels=2, **HEADS).forecast(columns, 7, head="pair").points.shape == (7, 2)
    with pytest.raises(DataError, match="the series has 1 columns, the head pair continues 2 together"):
        session.forecast(WAVE, 6, head="pair")


def test_the_latest_series_of_a_conversation_is_continued(session_with: Callable[..., Session]) -> None:
    session = session_with(demand=HEADS["demand"])
    earlier = Media("series", np.zeros((30, 1), np.float32))
    turns = [Turn("user", (earlier, Media("series", WAVE), Text("Go on.")))]
    other = [Turn("user", (earlier, Media("series", 5 + 2 * WAVE), Text("Go on.")))]
    one, two = session.forecast_all([turns, other], 6)
    assert abs(one.points.mean()) < 2 < two.points.mean()
    [predicted] = session.predict([turns])
    assert predicted.shape == (6, 1)
    with pytest.raises(DataError, match="holds no series to continue"):
        session.forecast_all([[Turn("user", (Text("Go on."),))]], 6)


def test_a_head_is_chosen_by_name_where_several_can_answer(session_with: Callable[..., Session]) -> None:
    session = session_with(talk={"type": "lm"}, whisper={"type": "lm"}, **HEADS)
    with pytest.raises(ModRWKVError, match="several heads that predict tokens: talk, whisper"):
        session.generate("Hello?", max_tokens=2)
    said = [session.generate("Hello?", max_tokens=4, head=head) for head in ("talk", "whisper")]
    assert said[0] == said[1], "both use the backbone's projection"
    with pytest.raises(ModRWKVError, match="several heads that forecast: demand, pair"):
        session.forecast(WAVE, 6)
    with pytest.raises(ModRWKVError, match="no head 'talk' that can forecast"):
        session.forecast(WAVE, 6, head="talk")
    with pytest.raises(DataError, match="these could answer: demand, pair"):
        session.predict([[Turn("user", (Media("series", WAVE),))]])


def test_a_model_without_such_a_head_says_so(session_with: Callable[..., Session]) -> None:
    session = session_with(demand=HEADS["demand"])
    with pytest.raises(ModRWKVError, match="has no heads that predict tokens; its heads: demand"):
        session.generate("Hello?")
    with pytest.raises(ModRWKVError, match="has no heads that forecast; its heads: talk"):
        session_with(talk={"type": "lm"}).forecast(WAVE, 6)


def test_the_spread_of_the_whole_series_bounds_the_unit_from_below(session_with: Callable[..., Session]) -> None:
    session = session_with(**HEADS)
    still = np.concatenate([WAVE, np.full((20, 1), 3.0, np.float32)])
    forecast = session.forecast(still, 6, head="demand")
    told = session.forecast(TimeSeries(still[-20:], still.std(axis=0)), 6, head="demand")
    np.testing.assert_allclose(forecast, told, rtol=1e-5)
    assert np.ptp(forecast) > 0
    assert (session.forecast(still[-20:], 6, head="demand").points == 3.0).all(), "nothing is known but the constant"
    np.testing.assert_allclose(session.forecast(1000 * still, 6, head="demand"), 1000 * forecast.points, rtol=1e-4)
    twice = np.concatenate([still, still[::-1]], axis=1)
    columns = session.forecast(TimeSeries(twice, twice.std(axis=0)), 6, head="demand")
    np.testing.assert_allclose(columns.points[:, :1], forecast, rtol=1e-4)


def test_quantiles_of_all_columns_and_steps_come_with_the_points(session_with: Callable[..., Session]) -> None:
    session = session_with(demand=HEADS["demand"] | {"loss": "quantile", "quantiles": [0.1, 0.5, 0.9]})
    columns = np.concatenate([WAVE, 10 + 3 * WAVE[::-1]], axis=1)
    forecast = session.forecast(columns, 9)
    assert list(forecast.quantiles) == [0.1, 0.5, 0.9]
    assert {values.shape for values in forecast.quantiles.values()} == {(9, 2)}
    assert (np.diff(list(forecast.quantiles.values()), axis=0) >= 0).all()
    np.testing.assert_array_equal(forecast.points, forecast.quantiles[0.5])
    first = session.forecast(columns[:, :1], 6)
    again = session.forecast(np.concatenate([columns[:, :1], first.points]), 3)
    for level, values in forecast.quantiles.items():
        np.testing.assert_allclose(values[:6, :1], first.quantiles[level], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(values[6:, :1], again.quantiles[level], rtol=1e-3, atol=1e-3)
    [predicted] = session.predict([[Turn("user", (Media("series", WAVE[-20:]),))]])
    assert list(predicted.quantiles) == [0.1, 0.5, 0.9]


def test_a_transcript_head_answers_about_the_last_medium_it_transcribes(session_with: Callable[..., Session]) -> None:
    session = session_with(talk={"type": "lm"}, ctc={"type": "ctc", "modality": "series"})
    earlier, latest = Media("series", np.zeros((30, 1), np.float32)), Media("series", WAVE)
    both = [Turn("user", (earlier, latest, Text("What do you hear?")))]
    other = [Turn("user", (Media("series", 5 + 2 * WAVE), Text("What do you hear?")))]
    alone = [session.answer([turns], 8, head="ctc")[0] for turns in (both, other)]
    assert session.answer([both, other], 8, head="ctc") == alone
    with torch.no_grad():
        sample = session.conversations.prompt(both)
        hidden_TD = session.model(pack([sample]))[0][0]
        placed = sample.media[-1]
        logits = session.model.heads["ctc"].projection(hidden_TD[placed.position : placed.position + placed.count])
    best = [token for token, _ in groupby(logits.argmax(-1).tolist()) if token != logits.shape[1] - 1]
    assert (
        session.model.tokenizer.decode([token for token in best if token not in session.ends]).decode(errors="replace")
        == alone[0]
    )
    with pytest.raises(DataError, match="holds no series"):
        session.answer([[Turn("user", (Text("Hello?"),))]], 8, head="ctc")
    assert session.answer([both], 2) == session.answer([both], 2, head="talk"), "ctc is asked by name only"


def test_a_medium_is_transcribed_by_the_head_for_it(session_with: Callable[..., Session]) -> None:
    talk = {"type": "lm"}
    medium = Media("series", WAVE)
    session = session_with(talk=talk, ctc={"type": "ctc", "modality": "series"})
    by_head = session.answer([[Turn("user", (medium,))]], 1, head="ctc")[0]
    assert session.transcribe(medium) == session.transcribe(medium, head="ctc") == by_head
    asked = session.generate([medium, "What?"], max_tokens=4, head="talk")
    assert session.transcribe(medium, prompt="What?", max_tokens=4, head="talk") == asked != by_head
    alone = session_with(talk=talk)
    assert alone.transcribe(medium, max_tokens=4) == alone.generate([medium], max_tokens=4)
    several = session_with(
        talk=talk, one={"type": "ctc", "modality": "series"}, two={"type": "ctc", "modality": "series"}
    )
    with pytest.raises(ModRWKVError, match="several heads that transcribe series: one, two"):
        several.transcribe(medium)
    with pytest.raises(
        ModRWKVError, match=r"no head 'demand' that can transcribe series.*\n.*name one of: one, two, talk"
    ):
        several.transcribe(medium, head="demand")
