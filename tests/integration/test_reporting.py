"""The report of a run at any time: before its first checkpoint, killed, training, complete and evaluated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from modrwkv_core.cli.evaluate import evaluate
from modrwkv_core.cli.report import report
from modrwkv_core.errors import CheckpointError
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

TALKS = {"task": {"type": "exact_match", "max_tokens": 4}, "data": {"source": "chat", "path": "talks.jsonl"}}


@pytest.fixture(scope="module")
def trained(write_manifest: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    loaded = load_manifest(write_manifest(folder / "project", evaluation={"talks": TALKS}))
    train(loaded, folder / "run", resume=False, device="cpu", progress_bar=False)
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return shutil.copytree(trained, tmp_path / "run")


def page(run: Path) -> str:
    result = CliRunner().invoke(report, [str(run)], catch_exceptions=False)
    assert result.stdout == f"report: {run / 'report.html'}\n"
    return (run / "report.html").read_text(encoding="utf-8")


def test_a_complete_run(run: Path, tiny_manifest: Callable[..., Path]) -> None:
    text = page(run)
    assert "<dd>complete, 10 steps</dd>" in text
    assert "loss curves of the heads forecast, lm in the phases align, finetune" in text
    assert "curves of gradient_norm" in text
    assert "Held-out scores" not in text
    model = assemble(load_manifest(tiny_manifest()), pretrained=False)
    for name, part in model.parts().items():
        assert f'<th scope="row">{name}</th>' in text
        assert f"<td>{sum(parameter.numel() for parameter in part.parameters()):,}</td>" in text
    for words in ("6 of 6", "all of 4", "waves.csv", "modrwkv-conv1d", "packages", "num_layers: 2"):
        assert (words in text) is (words != "packages")


@pytest.mark.usefixtures("undrawn")
def test_a_killed_run(run: Path) -> None:
    folder = RunFolder(run)
    for checkpoint in folder.steps()[1:]:
        shutil.rmtree(checkpoint)
    text = page(run)
    assert "stopped; the newest checkpoint is of step 4, phase align" in text
    assert "0 of 6" in text
    shutil.rmtree(folder.checkpoints)
    assert "stopped without a checkpoint (step 10, phase finetune)" in page(run)


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_is_training(run: Path) -> None:
    with RunFolder(run).locked():
        assert "training (step 10, phase finetune so far)" in page(run)
    assert "complete" in page(run)


def test_a_run_without_metrics_lock_and_checkpoints(run: Path) -> None:
    for name in ("metrics.jsonl", "lock.json"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    text = page(run)
    assert "stopped without a checkpoint (nothing logged)" in text
    assert "<img" not in text


def test_an_evaluated_run_keeps_its_scores_and_examples(run: Path) -> None:
    CliRunner().invoke(evaluate, [str(run), "--device", "cpu"], catch_exceptions=False)
    evaluated = (run / "report.html").read_text(encoding="utf-8")
    assert "majority answer" in evaluated
    assert "Say yes" in evaluated
    assert page(run) == evaluated
    (run / "evaluation.json").write_text((run / "evaluation.json").read_text().replace('"count"', '"county"'))
    with pytest.raises(CheckpointError, match=r"evaluation\.json is damaged: 0\.count") as error:
        page(run)
    assert error.value.hint == f"evaluate again: modrwkv evaluate {run}"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no run: it has no manifest\.yaml"):
        CliRunner().invoke(report, [str(tmp_path)], catch_exceptions=False)


@pytest.mark.filterwarnings("ignore:after .* the model does not use its series:UserWarning")
def test_a_validated_run_says_which_modalities_it_uses_and_which_checkpoint_is_best(
    tiny_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    windows = {"source": "csv_windows", "path": "waves.csv", "context_length": 24, "horizon": 6, "stride": 30}
    overrides = [f"data.valid={json.dumps([windows])}", "phases.finetune.eval_every=3"]
    folder = tmp_path / "run"
    train(load_manifest(tiny_manifest(), overrides), folder, resume=False, device="cpu", progress_bar=False)
    text = page(folder)
    best = TrainState.read(RunFolder(folder).latest()).best
    assert best is not None
    assert f"valid_loss {best.value:.4g} after step {best.step}" in text
    gain = read_metrics(folder)[-1]["modality_gain/series"]
    assert f"<td>{float(gain):.3g}</td>" in text
    assert text.count("not used: ") == 2, "once for each phase"
    assert "gradient_norm, update_norm, feature_norm" in text
