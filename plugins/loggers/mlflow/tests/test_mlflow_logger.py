from __future__ import annotations

from pathlib import Path

import pytest

from modrwkv_core.testing import LoggerContract

# SQLAlchemy's, about MLflow's own tables.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database for the module: MLflow takes long to make one."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


class TestMlflow(LoggerContract):
    plugin = "modrwkv_mlflow.plugin"

    @pytest.fixture(autouse=True)
    def local(self, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")

    def test_the_run_holds_parameters_metrics_and_scores(self, tmp_path: Path) -> None:
        from mlflow.tracking import MlflowClient

        folder = tmp_path / "mine"
        folder.mkdir()
        self.run(folder)
        client = MlflowClient()
        experiment = client.get_experiment_by_name(tmp_path.name)
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
        assert run.data.params["phases.0.lr"] == "0.001"
        assert run.data.params["backbone.type"] == "rwkv7"
        history = client.get_metric_history(run.info.run_id, "loss/lm")
        assert [(metric.step, metric.value) for metric in history] == [(1, 2.5), (2, 2.5)]
        assert run.data.metrics["valid/lm"] == 2.0
        assert run.data.metrics["evaluation/tones/accuracy"] == 0.5
        self.run(folder, RuntimeError("stopped"))
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FAILED"

    def test_an_evaluation_of_an_unknown_run_says_why_it_is_not_logged(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="was trained without MLFLOW_TRACKING_URI"):
            self.call("modrwkv_evaluated", run=tmp_path, step=1, metrics={"tones/accuracy": 1.0})

    def test_nothing_is_written_without_the_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        self.run(tmp_path / "mine")
        assert [path.name for path in (tmp_path / "mine").iterdir()] == ["checkpoints"]
