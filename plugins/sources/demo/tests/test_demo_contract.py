from pathlib import Path

from modrwkv_core.testing import SourceContract
from modrwkv_core.testing.import_cost import HEAVY, import_in_subprocess


class Synthesized(SourceContract):
    plugin = "modrwkv_demo.plugin"

    def write(self, folder: Path) -> None:
        """The data ship with packages, or are synthesized."""


class TestDigitsQa(Synthesized):
    name = "digits_qa"
    configs = ({"part": "test", "turns": 4},)


class TestKeypadTones(Synthesized):
    name = "keypad_tones"
    configs = ({"count": 5}, {"count": 3, "part": "test", "max_keys": 1})


class TestMeasuredSeries(Synthesized):
    name = "measured_series"
    configs = ({"part": "test", "series": ["sunspots"], "context_length": 32, "horizon": 8},)


class TestNeedle(Synthesized):
    name = "needle"
    configs = (
        {"count": 4},
        {"count": 3, "part": "test", "media": "image", "items": 5, "min_items": 2, "needles": 3, "questions": 2},
        {"count": 3, "media": "audio", "items": 3},
    )


del Synthesized  # pytest would collect it


def test_configuration_never_loads_torch() -> None:
    assert not import_in_subprocess("modrwkv_demo.config").packages & (HEAVY | {"sklearn", "statsmodels"})
