"""Turns, roofline bounds, sizes and tables of benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_kernels.capability import amx_unavailable_reason, native_unavailable_reason

from modrwkv_core.benchmarking import interleave as interleaving
from modrwkv_core.benchmarking.baselines import MissingBaselineError, fla_module, official_rwkv
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import Timing, interleave
from modrwkv_core.benchmarking.multimodal import covered
from modrwkv_core.benchmarking.prefill import _product_flops
from modrwkv_core.benchmarking.random_weights import random_backbone
from modrwkv_core.benchmarking.report import Goal, GoalReport, Row, TimeReport, ValueReport
from modrwkv_core.benchmarking.roofline import Roofline, measure_roofline
from modrwkv_core.benchmarking.sizes import ModelSize
from modrwkv_core.errors import ModRWKVError


def test_cases_take_turns_and_their_times_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = 0.0, []
    durations = {"a": iter([9.0, 9.0, 1.0, 5.0, 3.0]), "b": iter([9.0, 9.0, 2.0, 2.0, 8.0])}

    def run(name: str) -> None:
        nonlocal now
        calls.append(name)
        now += next(durations[name])

    monkeypatch.setattr(interleaving.time, "perf_counter", lambda: now)
    timings = interleave({"a": lambda: run("a"), "b": lambda: run("b")}, seconds=15.0, clock=lambda: now)
    assert "".join(calls) == "aabb" + "ab" * 3
    assert timings == {"a": Timing(1.0, 3.0, 3), "b": Timing(2.0, 2.0, 3)}


def test_the_bound_is_what_takes_longer() -> None:
    roofline = Roofline(bytes_per_second=10e9, flops_per_second=1e12)
    assert roofline.bound(5e9, 1e11) == 0.5
    assert roofline.bound(1e9, 2e12) == 2.0


def test_the_roofline_of_this_machine_is_of_its_kind() -> None:
    roofline = measure_roofline("cpu", torch.float32)
    assert 1e8 < roofline.bytes_per_second < 1e13
    assert 1e8 < roofline.flops_per_second < 1e15


def test_table_and_json_say_the_same(tmp_path: Path) -> None:
    report = TimeReport("decode", {"layers": 2}, {"cpu": "abacus"}, "token", missing={"fast one": "not installed"})
    report.rows = [
        Row("1 row", "ours", Timing(0.002, 0.004, 9), 1, 0.001),
        Row("1 row", "theirs", Timing(0.009, 0.010, 9), 1, 0.002),
        Row("2 rows", "ours", Timing(0.009, 0.010, 9), 2, None),
    ]
    report.write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["missing"] == {"fast one": "not installed"}
    assert [row["per_second"] for row in written["rows"]] == [250, 100, 200]
    assert [row["roofline_bound_seconds"] for row in written["rows"]] == [0.001, 0.002, None]
    assert written["rows"][0]["best_seconds"] == 0.002
    assert written["rows"][1]["rounds"] == 9
    first, second, *_, ours, theirs, unbounded, missing = report.table().splitlines()
    assert first == "decode: layers 2"
    assert second == "machine: cpu abacus"
    assert ours.split() == ["1", "row", "ours", "2", "ms", "4", "ms", "250", "4e+03", "1", "ms", "25", "%", "1.00"]
    assert theirs.split()[-4:] == ["ms", "20", "%", "2.50"]
    assert unbounded.split()[-3:] == ["-", "-", "1.00"]
    assert missing == "not measured: fast one: not installed"


def test_values_have_a_column_for_each_kind(tmp_path: Path) -> None:
    report = ValueReport("accuracy", {}, {"cpu": "abacus"}, "relative error", appendix="and a note")
    report.rows = [("forward", "ours", {"y": 0.00123, "state": 0.5}), ("backward", "ours", {"dr": 0.25})]
    *_, header, forward, backward, _, note = report.table().splitlines()
    assert header.split() == ["work", "(relative", "error)", "name", "y", "state", "dr"]
    assert forward.split() == ["forward", "ours", "0.0012", "0.5", "-"]
    assert backward.split() == ["backward", "ours", "-", "-", "0.25"]
    assert note == "and a note"
    assert json.loads(report.as_json())["rows"][1] == {
        "work": "backward",
        "name": "ours",
        "relative_error": {"dr": 0.25},
    }


def test_goals_are_met_or_missed() -> None:
    report = GoalReport("server", {}, {"cpu": "abacus"})
    report.rows = [
        Goal("16 streams", "share", 95.0, "%", at_least=95),
        Goal("16 streams", "growth", 2.5, "%", at_most=2),
        Goal("16 streams", "answers", 1234, ""),
    ]
    *_, share, growth, answers = report.table().splitlines()
    assert share.split()[-5:] == ["95", "%", ">=", "95", "yes"]
    assert growth.split()[-5:] == ["2.5", "%", "<=", "2", "no"]
    assert answers.split()[-3:] == ["1,234", "-", "-"]
    assert [row["is_met"] for row in json.loads(report.as_json())["rows"]] == [True, False, None]


def test_the_fingerprint_names_machine_and_versions() -> None:
    found = fingerprint()
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert {"cpu", "cores", "load_average", "rwkv", "flash-linear-attention", "transformers", "commit"} <= found.keys()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted), max_size=12))
def test_time_that_two_kernels_share_counts_once(spans: list[list[int]]) -> None:
    points = {point for begin, end in spans for point in range(begin, end)}
    assert covered(sorted((begin, end) for begin, end in spans)) == len(points)


def test_sizes() -> None:
    size = ModelSize.parse("12x768", 65536)
    assert (size.num_layers, size.hidden_size) == (12, 768)
    # The published 0.1B has 191,034,624 parameters with its own ranks; those of the recipe are larger.
    with torch.device("meta"):
        parameters = 191_034_624 - 2 * 65536 * 768
    assert size.block_parameters() == pytest.approx(parameters, rel=0.05)
    assert size.step_weights() == size.block_parameters() + 65536 * 768


@pytest.mark.parametrize("text", ["12", "12x", "x768", "12x100", "0x768", "12x768x2", "-1x64"])
def test_sizes_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ModRWKVError, match="is not LAYERSxHIDDEN_SIZE"):
        ModelSize.parse(text, 8)


def test_the_transformer_has_as_many_parameters() -> None:
    transformers = pytest.importorskip("transformers")
    size = ModelSize(4, 768, 512)
    with torch.device("meta"):
        llama = transformers.LlamaForCausalLM(size.llama_config())
    ours = size.block_parameters() + 2 * 512 * 768
    assert sum(parameter.numel() for parameter in llama.parameters()) == pytest.approx(ours, rel=0.01)
    # Or GPUs multiply its matrices at a fraction of their rate.
    assert all(side % 64 == 0 for parameter in llama.parameters() for side in parameter.shape)


def test_baselines_load_the_random_weights(tmp_path: Path) -> None:
    model = random_backbone(ModelSize(2, 64, 40), tmp_path / "model.pth")
    stored = torch.load(tmp_path / "model.pth", weights_only=True)
    assert all(torch.equal(tensor, stored[name].float()) for name, tensor in model.state_dict().items())
    hidden, _ = model(model.embed(torch.tensor([[1, 2, 3]])))
    assert model.logits(hidden).isfinite().all()


def test_missing_baselines_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingBaselineError, match="GPUs only"):
        fla_module("fla.ops.rwkv7", "cpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingBaselineError, match="not installed; pip install rwkv"):
        official_rwkv(tmp_path / "model.pth", "cpu fp32")


@pytest.mark.skipif(
    native_unavailable_reason() is not None or amx_unavailable_reason() is None, reason="no zeros are skipped here"
)
def test_skipped_products_with_zeros_do_not_count(tmp_path: Path) -> None:
    model, ids = random_backbone(ModelSize(2, 64, 40), tmp_path / "model.pth").float(), torch.arange(70)[None] % 40
    zeros: list[int] = []
    model.blocks[0].ffn.value.register_forward_pre_hook(lambda _, x: zeros.append(int((x[0] == 0).sum())))
    found = _product_flops(model, ids)
    assert 0 < zeros[0] < 70 * 256
    assert _product_flops(model.double(), ids) - found == 2 * zeros[0] * 64
