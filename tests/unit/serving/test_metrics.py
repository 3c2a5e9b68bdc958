"""Metrics of one server, and of one of several."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modrwkv_core.inference.generation import Finished, Usage
from modrwkv_core.serving.metrics import Metrics


@pytest.mark.parametrize("replica", [None, "k3x9"])
def test_every_sample_names_its_replica_where_there_are_several(replica: str | None) -> None:
    metrics = Metrics({}, replica)
    metrics.request("/v1/chat/completions", 200)
    metrics.first_token("tiny", 0.2)
    metrics.finished("tiny", Finished("stop", Usage(5, 2, 3)))
    samples = [
        sample for family in text_string_to_metric_families(metrics.text().decode()) for sample in family.samples
    ]
    assert {sample.labels.get("replica") for sample in samples} == {replica}
    tokens = {sample.labels["kind"]: sample.value for sample in samples if sample.name == "modrwkv_tokens_total"}
    assert tokens == {"prompt": 5, "cached": 2, "completion": 3}
