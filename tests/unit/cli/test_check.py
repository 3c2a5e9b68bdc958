from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from modrwkv_core.cli.check import check
from modrwkv_core.errors import ManifestError, WiringError

FOLDER = Path(__file__).resolve().parents[3] / "examples"
RESULTS = [FOLDER / "results" / f"{name}.yaml" for name in ("easy_vqa", "photos", "trimodal")]
EXAMPLES = [*sorted(FOLDER.glob("*.yaml")), *RESULTS]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(check, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_chain_of_each_modality_is_printed(tiny_manifest):
    path = tiny_manifest()
    lines = run(path).splitlines()
    assert lines[:2] == ["series", "  item of 100 -> wavenet [100, 8] -> conv1d [25, 8] -> mlp [25, 64] -> 25 tokens"]
    assert "  bytes, 261 ids" in lines
    assert "  rwkv7, hidden size 64" in lines
    assert "  forecast: forecast, answers queries about series" in lines
    assert lines[-2] == "  finetune: steps: 6, lr: 0.001, trains series.adapter, backbone, heads.lm, heads.forecast"
    assert lines[-1] == f"{path} is valid"


def test_augmentations_are_named(tiny_manifest):
    path = tiny_manifest()
    lines = run(path, "modalities.series.augmentations=[{type: jitter}, {type: feature_mask}]").splitlines()
    assert lines[lines.index("tokenizer") - 1] == "  in training: jitter, feature_mask"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_our_examples_are_valid(example):
    assert run(example).endswith("is valid\n")


def test_overrides_are_checked_too(tiny_manifest):
    out = run(
        tiny_manifest(), "backbone.hidden_size=128", "modalities.series.compressor.stride=2", "phases.align.steps=9"
    )
    assert "conv1d [49, 8] -> mlp [49, 128] -> 49 tokens" in out
    assert "align: steps: 9" in out


def test_what_does_not_fit_is_an_error(tiny_manifest):
    path = tiny_manifest()
    with pytest.raises(WiringError, match=r"'wavenet' .* reads 'series', but stands under the modality 'image'"):
        run(path, "modalities={image: {encoder: {type: wavenet}, adapter: {type: mlp}}}")
    path.write_text(path.read_text().replace("hidden_size: 8", "wdth: 8"))
    with pytest.raises(ManifestError, match=r"manifest\.yaml:\d+: modalities\.series\.encoder\.wdth: unknown key"):
        run(path)


def test_the_program_exits_with_0_or_2_and_never_loads_torch(tiny_manifest):
    program = (
        "import sys\n"
        "from modrwkv_core.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, "check", str(tiny_manifest())]
    good = subprocess.run(command, capture_output=True, text=True)
    assert (good.returncode, good.stderr) == (0, "")
    bad = subprocess.run([*command, "backbone.type=rwkv6"], capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: command line: backbone.type: unknown backbone 'rwkv6'")
    assert "hint: did you mean rwkv7?" in bad.stderr
