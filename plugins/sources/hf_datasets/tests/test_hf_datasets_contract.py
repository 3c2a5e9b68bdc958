from pathlib import Path

import datasets

from modrwkv_core.testing import SourceContract
from modrwkv_core.testing.import_cost import HEAVY, import_in_subprocess


class TestHfDataset(SourceContract):
    plugin = "modrwkv_hf_datasets.plugin"
    name = "hf_dataset"
    configs = (
        {"path": "saved", "question": "asked", "answer": "said"},
        {"path": "*.parquet", "conversation": "talk"},
        {"path": "*.parquet", "conversation": "talk", "streaming": True},
    )

    def write(self, folder: Path) -> None:
        talk = [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "It."}]
        rows = {"asked": ["a?", "b?", "c?"], "said": ["a", "b", "c"], "talk": [talk] * 3}
        dataset = datasets.Dataset.from_dict(rows)
        dataset.save_to_disk(str(folder / "saved"))
        dataset.to_parquet(str(folder / "0.parquet"))
        dataset.to_parquet(str(folder / "1.parquet"))


def test_configuration_never_loads_torch() -> None:
    assert not import_in_subprocess("modrwkv_hf_datasets.config").packages & HEAVY
