"""A head, a task and a metric of somebody else's, from `check` to the report, with no line of the core changed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PLUGIN = """
    from modrwkv_core.plugin import ComponentSpec, hookimpl


    @hookimpl
    def modrwkv_components():
        return [
            ComponentSpec(
                api=1,
                kind="head",
                name="label",
                summary="one of some labels",
                config="shop.config:LabelConfig",
                implementation="shop.head:LabelHead",
            ),
            ComponentSpec(
                api=1,
                kind="task",
                name="label",
                summary="labels of held-out signals",
                config="shop.config:LabelTaskConfig",
                implementation="shop.task:LabelTask",
            ),
            ComponentSpec(
                api=1,
                kind="metric",
                name="error_rate",
                summary="wrong labels of a thousand",
                config="shop.config:ErrorRateConfig",
                implementation="shop.metric:ErrorRate",
            ),
        ]
"""

CONFIG = '''
    from typing import Any, Literal

    from modrwkv_core.errors import DataError
    from modrwkv_core.interfaces.config import MetricConfig, Metrics, QueryHeadConfig, TaskConfig


    class LabelConfig(QueryHeadConfig):
        """One of some labels for a signal."""

        type: Literal["label"] = "label"

        modality: str = "audio"
        """Modality of the signals."""

        labels: tuple[str, ...]
        """The labels."""

        def prepare(self, signal: Any, target: Any) -> tuple[Any, Any]:
            if target is not None and target not in self.labels:
                raise DataError(f"{target!r} is not one of {', '.join(self.labels)}", component="head/label")
            return None, target


    class ErrorRateConfig(MetricConfig):
        """Wrong predictions of a thousand."""

        type: Literal["error_rate"] = "error_rate"


    class LabelTaskConfig(TaskConfig):
        """Asks for the label at the end of each record."""

        type: Literal["label"] = "label"

        metrics: Metrics = (ErrorRateConfig(),)
        """What labels are scored by."""
'''

HEAD = '''
    from collections.abc import Sequence
    from typing import Any

    import torch
    from modrwkv_core.interfaces.component import Backbone, Query, QueryHead
    from torch import Tensor, nn

    from shop.config import LabelConfig


    class LabelHead(QueryHead[LabelConfig]):
        """A linear map from the hidden vector to the labels."""

        def __init__(self, config: LabelConfig, backbone: Backbone[Any]) -> None:
            super().__init__(config, backbone)
            self.project = nn.Linear(backbone.hidden_size, len(config.labels))

        def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
            index = [self.config.labels.index(query.target) for query in queries]
            return nn.functional.cross_entropy(self.project(hidden), torch.tensor(index, device=hidden.device))

        def predict(self, hidden: Tensor, queries: Sequence[Query]) -> Sequence[str]:
            return [self.config.labels[index] for index in self.project(hidden).argmax(-1).tolist()]
'''

TASK = '''
    from collections import Counter
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from modrwkv_core.errors import DataError
    from modrwkv_core.interfaces.record import Record, Target
    from modrwkv_core.interfaces.task import Predictor, Task, TaskSample

    from shop.config import LabelTaskConfig


    class LabelTask(Task[LabelTaskConfig, TaskSample]):
        """Asks for the label at the end of each record; the baseline always says the commonest one."""

        def sample(self, record: Record) -> TaskSample:
            last = record.turns[-1].parts[-1]
            if not isinstance(last, Target):
                raise DataError(f"{record.key} has no label at its end", component="task/label")
            return TaskSample(record=record, prompt=record.turns[:-1], truth=last.value, group=f"of {last.value}")

        def predict(self, model: Predictor, samples: Sequence[TaskSample]) -> Sequence[Any]:
            return model.predict([sample.prompt for sample in samples], self.config.head)

        def baselines(self) -> Mapping[str, Callable[[TaskSample], Any]]:
            data = self.data if self.baseline_data is None else self.baseline_data
            labels = Counter(self.sample(data[index]).truth for index in range(len(data)))
            commonest = labels.most_common(1)[0][0]
            return {"commonest label": lambda sample: commonest}
'''

METRIC = '''
    from typing import Any

    from modrwkv_core.interfaces.metric import Metric

    from shop.config import ErrorRateConfig


    class ErrorRate(Metric[ErrorRateConfig]):
        """Wrong predictions of a thousand."""

        higher_is_better = False
        unit = "‰"

        def __init__(self, config: ErrorRateConfig) -> None:
            super().__init__(config)
            self.wrong = self.count = 0

        def update(self, prediction: Any, truth: Any) -> None:
            self.wrong += prediction != truth
            self.count += 1

        def compute(self) -> float:
            return 1000 * self.wrong / self.count

        def correct(self, prediction: Any, truth: Any) -> bool:
            return bool(prediction == truth)
'''

TESTS = """
    import numpy as np
    from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
    from modrwkv_core.testing import HeadContract, MetricContract, TaskContract

    SETTINGS = ({"labels": ["low", "high"]},)


    class TestHead(HeadContract):
        plugin = "shop.plugin"
        name = "label"
        configs = SETTINGS

        def examples(self, config):
            return [(np.zeros(3), "low"), (np.ones(3), "high"), (np.ones(3), "low")]

        def bad_examples(self, config):
            return [(np.zeros(3), "middle")]


    class TestTask(TaskContract):
        plugin = "shop.plugin"
        name = "label"

        def records(self, config):
            return [
                Record(label, (Turn("user", (Media("audio", b""),)), Turn("assistant", (Target(None, label),))))
                for label in ("low", "high")
            ]

        def bad_records(self, config):
            return [Record("bad", (Turn("user", (Text("?"),)), Turn("assistant", (Text("!"),))))]


    class TestMetric(MetricContract):
        plugin = "shop.plugin"
        name = "error_rate"

        def samples(self, config):
            return [("low", "low"), ("high", "low")]

        def worse(self, config):
            return [("high", "low"), ("high", "low")]
"""

TINY_WAVLM = {
    "type": "wavlm",
    "init": "scratch",
    "rate": 8000,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [128, 8, 4],
    "conv_stride": [64, 4, 2],
    "conv_norm": "layer",
    "hidden_size": 16,
    "num_layers": 1,
    "num_heads": 1,
    "intermediate_size": 32,
    "position_kernel": 8,
    "position_groups": 2,
}


def install(site: Path) -> None:
    """Write the distribution as pip would leave it."""
    package = site / "shop"
    package.mkdir(parents=True)
    files = {"__init__": "", "plugin": PLUGIN, "config": CONFIG, "head": HEAD, "task": TASK, "metric": METRIC}
    for name, text in files.items():
        (package / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    info = site / "modrwkv_shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: modrwkv-shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modrwkv]\nshop = shop.plugin\n")
    (info / "RECORD").write_text("")


def write_data(folder: Path) -> None:
    """Write sounds, low and high, with labels, and a table of two rising columns."""
    lines = []
    for index in range(12):
        label, pitch = (("low", 200), ("high", 1600))[index % 2]
        samples = 12000 * np.sin(2 * math.pi * (pitch + 7 * index) * np.arange(1600) / 8000)
        with wave.open(str(folder / f"{index}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(samples.astype(np.int16).tobytes())
        # one record names the head, the others leave it to the modality
        target = {"type": "target", "value": label} | ({"head": "pitch"} if index == 0 else {})
        asked = {"role": "user", "content": [{"type": "audio", "path": f"{index}.wav"}]}
        lines.append(json.dumps({"messages": [asked, {"role": "assistant", "content": [target]}]}))
    (folder / "sounds.jsonl").write_text("\n".join(lines) + "\n")


def sections() -> dict[str, Any]:
    window = {"source": "csv_windows", "path": "waves.csv", "context_length": 24, "horizon": 4, "stride": 40}
    windows = {"demand": window | {"head": "demand", "columns": ["sine"]}, "wind": window | {"head": "wind"}}
    sounds = {"source": "chat", "path": "sounds.jsonl"}
    mlp = {"type": "mlp", "expansion": 1}
    return {
        "modalities": {
            "audio": {"encoder": TINY_WAVLM, "adapter": mlp},
            "series": {"encoder": {"type": "wavenet", "hidden_size": 8, "num_layers": 3}, "adapter": mlp},
        },
        "heads": {
            "talk": {"type": "lm"},
            "pitch": {"type": "label", "labels": ["low", "high"]},
            "demand": {"type": "forecast", "horizon": 4},
            "wind": {"type": "forecast", "horizon": 6, "statistics": "last"},
        },
        "data": {"train": [sounds, *windows.values()], "batch_size": 12},
        "phases": [
            {
                "name": "pretrain",
                "train": ["encoder", "adapter", "backbone", "heads"],
                "lr": 3e-3,
                "steps": 6,
                "log_every": 1,
            }
        ],
        "evaluation": {
            "pitch": {"task": {"type": "label"}, "data": sounds, "baseline_data": sounds},
            "words": {
                "task": {"type": "label", "metrics": [{"type": "exact_match"}, {"type": "error_rate"}]},
                "data": sounds,
            },
            "demand": {"task": {"type": "forecast"}, "data": windows["demand"]},
            "wind": {"task": {"type": "forecast", "metrics": [{"type": "mae"}]}, "data": windows["wind"]},
        },
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_strangers_head_task_and_metric_work_end_to_end(tiny_manifest: Callable[..., Path], tmp_path: Path) -> None:
    manifest = tiny_manifest(**sections())
    write_data(manifest.parent)
    install(tmp_path / "site")
    tests = tmp_path / "test_shop.py"
    tests.write_text(textwrap.dedent(TESTS))
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}

    def call(*command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{command} ends with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def modrwkv(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return call(str(Path(sys.executable).with_name("modrwkv")), *arguments, code=code)

    call(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests))
    checked = modrwkv("check", str(manifest)).stdout
    assert "  pitch: label, answers queries about audio" in checked
    modrwkv("train", str(manifest), "--run", "run", "--quiet", "--device", "cpu")
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = {name for line in logged for name in line if name.startswith("loss/")}
    assert trained == {"loss/talk", "loss/pitch", "loss/demand", "loss/wind"}

    table = modrwkv("evaluate", "run", "--quiet", "--device", "cpu").stdout
    tasks = json.loads((tmp_path / "run" / "results.json").read_text())["tasks"]
    rate = tasks["pitch"]["metrics"]["error_rate"]
    assert rate["baselines"] == {"commonest label": 500.0}
    assert (rate["text"]["commonest label"], rate["higher_is_better"], rate["unit"]) == ("500 ‰", False, "‰")
    assert set(tasks["pitch"]["groups"]) == {"of low", "of high"}
    words = tasks["words"]["metrics"]
    assert words["exact_match"]["score"] == pytest.approx(1 - words["error_rate"]["score"] / 1000)
    assert list(tasks["wind"]["metrics"]) == ["mae"]
    assert tasks["demand"]["metrics"]["mse"]["baselines"].keys() == {"repeat last"}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for shown in (
        "error_rate, lower is better",
        "500 ‰",
        "loss curves of the heads demand, pitch, talk, wind",
        "forecast of 4 points",
        "spectrogram",
    ):
        assert shown in page, f"the report does not show {shown}"
    assert "error_rate (lower is better)" in table

    series = str(manifest.parent / "waves.csv")
    refused = modrwkv("forecast", "run", "--series", series, "--horizon", "9", "--device", "cpu", code=2).stderr
    assert "several heads that forecast: demand, wind" in refused
    assert "--head" in refused
    answered = modrwkv("forecast", "run", "--series", series, "--horizon", "9", "--head", "wind", "--device", "cpu")
    assert len(answered.stdout.splitlines()) == 10  # a heading, because there are two columns
    assert (
        "no head 'pitch' that can forecast"
        in modrwkv(
            "forecast", "run", "--series", series, "--horizon", "9", "--head", "pitch", "--device", "cpu", code=2
        ).stderr
    )
