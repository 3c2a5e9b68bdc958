"""Turns, floors, sizes and tables of benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from modrwkv_kernels.fused.linear import why_no_amx
from modrwkv_kernels.native import why_missing

from modrwkv_core.benchmarking import interleave as interleaving
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.floors import Ceilings, measure_ceilings
from modrwkv_core.benchmarking.interleave import Timing, interleave
from modrwkv_core.benchmarking.prefill import _flops_of_products
from modrwkv_core.benchmarking.report import Report, Row
from modrwkv_core.benchmarking.rivals import MissingRivalError, fla_module, official_rwkv
from modrwkv_core.benchmarking.sizes import ModelSize, random_model
from modrwkv_core.errors import ModRWKVError


def test_cases_take_turns_and_their_times_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = 0.0, []
    durations = {"a": iter([9.0, 9.0, 1.0, 5.0, 3.0]), "b": iter([9.0, 9.0, 2.0, 2.0, 8.0])}

    def run(name: str) -> None:
        nonlocal now
        calls.append(name)
        now += next(durations[name])

    monkeypatch.setattr(interleaving.time, "perf_counter", lambda: now)
    timings = interleave({"a": lambda: run("a"), "b": lambda: run("b")}, seconds=15.0, device="cpu")
    assert "".join(calls) == "aabb" + "ab" * 3
    assert timings == {"a": Timing(1.0, 3.0, 3), "b": Timing(2.0, 2.0, 3)}


def test_the_floor_is_set_by_what_takes_longer() -> None:
    ceilings = Ceilings(bytes_per_second=10e9, flops=1e12)
    assert ceilings.floor(5e9, 1e11) == 0.5
    assert ceilings.floor(1e9, 2e12) == 2.0


def test_ceilings_of_this_machine_are_of_its_kind() -> None:
    ceilings = measure_ceilings("cpu", torch.float32)
    assert 1e8 < ceilings.bytes_per_second < 1e13
    assert 1e8 < ceilings.flops < 1e15


def test_table_and_json_say_the_same(tmp_path: Path) -> None:
    report = Report("decode", "token", {"num_layers": 2}, {"cpu": "abacus"}, {"fast one": "not installed"})
    report.rows = [
        Row("1 row", "ours", Timing(0.002, 0.004, 9), 1, 0.001),
        Row("1 row", "theirs", Timing(0.009, 0.010, 9), 1, 0.002),
    ]
    report.write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["missing"] == {"fast one": "not installed"}
    assert [row["per_second"] for row in written["rows"]] == [250, 100]
    assert written["rows"][0]["best_seconds"] == 0.002
    assert written["rows"][1]["rounds"] == 9
    first, second, *_, ours, theirs, missing = report.table().splitlines()
    assert first == "decode: num_layers 2"
    assert second == "machine: cpu abacus"
    assert ours.split() == ["1", "row", "ours", "2", "ms", "4", "ms", "250", "4e+03", "1", "ms", "25", "%", "1.00"]
    assert theirs.split()[-4:] == ["ms", "20", "%", "2.50"]
    assert missing == "not measured: fast one: not installed"


def test_the_fingerprint_names_machine_and_versions() -> None:
    found = fingerprint()
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert {"cpu", "cores", "load_average", "rwkv", "flash-linear-attention", "transformers", "commit"} <= found.keys()


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
    with pytest.raises(ModRWKVError, match="is not LAYERSxWIDTH"):
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


def test_random_weights_are_what_rivals_read(tmp_path: Path) -> None:
    model = random_model(ModelSize(2, 64, 40), tmp_path / "model.pth")
    stored = torch.load(tmp_path / "model.pth", weights_only=True)
    assert all(torch.equal(tensor, stored[name].float()) for name, tensor in model.state_dict().items())
    hidden, _ = model(model.embed(torch.tensor([[1, 2, 3]])))
    assert model.logits(hidden).isfinite().all()


def test_missing_rivals_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingRivalError, match="GPUs only"):
        fla_module("fla.ops.rwkv7", "cpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingRivalError, match="not installed; pip install rwkv"):
        official_rwkv(tmp_path / "model.pth", "cpu fp32")


@pytest.mark.skipif(why_missing() is not None or why_no_amx() is None, reason="no zeros are passed over here")
def test_products_with_zeros_do_not_count_where_they_are_passed_over(tmp_path: Path) -> None:
    model, ids = random_model(ModelSize(2, 64, 40), tmp_path / "model.pth").float(), torch.arange(70)[None] % 40
    zeros: list[int] = []
    model.blocks[0].ffn.value.register_forward_pre_hook(lambda _, x: zeros.append(int((x[0] == 0).sum())))
    found = _flops_of_products(model, ids)
    assert 0 < zeros[0] < 70 * 256
    assert _flops_of_products(model.double(), ids) - found == 2 * zeros[0] * 64
