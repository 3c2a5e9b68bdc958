"""A Transformer in the place of RWKV-7: the same manifest, data, heads and session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from modrwkv_core.cli.generate import generate
from modrwkv_core.data.packing import pack
from modrwkv_core.errors import ComponentError
from modrwkv_core.inference.loading import load
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble, conversation_encoder
from modrwkv_core.model.build import build
from modrwkv_core.registry import discover
from modrwkv_core.training.flops import StepFlops
from modrwkv_core.training.loop import train

BACKBONE = {
    "type": "transformer",
    "init": "scratch",
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 48,
}
EXAMPLES = Path(__file__).parents[2] / "examples"
Manifest = Callable[..., Path]


@pytest.fixture
def trained(tiny_manifest: Manifest, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    train(load_manifest(tiny_manifest(backbone=BACKBONE)), run, device="cpu", progress_bar=False, resume=False)
    return run


def test_a_run_trains_answers_and_forecasts(trained: Path) -> None:
    session = load(trained, device="cpu")
    turns = [(Turn("user", (Text(text),)),) for text in ("Say no 2 times.", "Say yes 3 times, and slowly.", "x")]
    together = session.answer(turns, max_tokens=12)
    assert together == [session.answer([one], max_tokens=12)[0] for one in turns]
    assert together[0] == session.generate("Say no 2 times.", max_tokens=12)
    assert session.forecast(torch.arange(40).float().numpy(), horizon=9).points.shape == (9, 1)
    shown = CliRunner().invoke(generate, [str(trained), "Say no 2 times.", "--max-tokens", "12", "--device", "cpu"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.rstrip("\n") == together[0].rstrip("\n")


def test_a_state_that_is_saved_goes_on(trained: Path, tmp_path: Path) -> None:
    session = load(trained, device="cpu")
    logits, state = session.prefill([(Turn("user", (Text("Say so 3 times."),)),)])
    state.save(tmp_path / "state")
    ids = logits.argmax(-1)
    backbone = session.model.backbone
    with torch.inference_mode():
        expected, _ = backbone(backbone.embed(ids[None]), state=state)
        actual, _ = backbone(backbone.embed(ids[None]), state=type(state).load(tmp_path / "state"))
    assert torch.equal(actual, expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bfloat16"},
        {"optimizer": {"type": "muon"}},
        {"finetuning": {"type": "lora", "rank": 2}},
    ],
    ids=str,
)
def test_what_trains_rwkv7_trains_it_too(tiny_manifest: Manifest, tmp_path: Path, changes: dict[str, Any]) -> None:
    phase = {"name": "finetune", "train": ["adapter", "backbone"], "lr": 1e-2, "steps": 6, "log_every": 1, **changes}
    loaded = load_manifest(tiny_manifest(backbone=BACKBONE, phases=[phase]))
    train(loaded, tmp_path / "run", device="cpu", progress_bar=False, resume=False)
    assert load(tmp_path / "run", device="cpu").generate("Say no 2 times.", max_tokens=3) is not None


def test_state_tuning_is_refused(tiny_manifest: Manifest, tmp_path: Path) -> None:
    phase = {"name": "tune", "train": ["backbone"], "lr": 1e-2, "steps": 1, "finetuning": {"type": "state"}}
    loaded = load_manifest(tiny_manifest(backbone=BACKBONE, phases=[phase]))
    with pytest.raises(ComponentError, match="no initial state that can be set"):
        train(loaded, tmp_path / "run", device="cpu", progress_bar=False, resume=False)


def test_a_tied_output_projection_counts_once(tiny_manifest: Manifest) -> None:
    counts = []
    for tied in (True, False):
        loaded = load_manifest(tiny_manifest(backbone=BACKBONE | {"tie_embeddings": tied}))
        model = assemble(loaded, pretrained=False)
        conversations = load_batch(model)
        counts.append(StepFlops(model)(conversations))
    assert counts[0] == counts[1] > 0


def load_batch(model: Any) -> Any:
    turns = (Turn("user", (Text("What is it?"),)), Turn("assistant", (Text("black"),)))
    return pack([conversation_encoder(model, None).sample(Record("r", turns))])


def test_the_example_differs_from_llavas_in_the_backbone_only() -> None:
    baseline, llava = (load_manifest(EXAMPLES / f"{name}.yaml").manifest for name in ("llava_baseline", "llava"))
    different = {"name", "extends", "backbone"}
    assert baseline.model_dump(exclude=different) == llava.model_dump(exclude=different)
    counts = []
    for manifest in (baseline, llava):
        with torch.device("meta"):
            backbone = build(discover(), "backbone", manifest.backbone.type, manifest.backbone, 65536)
        counts.append(sum(parameter.numel() for parameter in backbone.parameters()))
    assert counts[0] == pytest.approx(counts[1], rel=1e-3)
