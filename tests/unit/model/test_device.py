"""Devices that users name."""

from __future__ import annotations

from pathlib import Path

import pytest

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.loading import load
from modrwkv_core.model.device import choose_device

UNUSABLE = r"cannot be used: .+(.|\n)*this machine has cpu"


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99", "", "cpu\0", "meta"])
def test_a_device_that_is_not_there_or_does_not_compute_is_an_error(name: str) -> None:
    with pytest.raises(ModRWKVError, match=UNUSABLE):
        choose_device(name)


def test_the_cpu_can_always_be_chosen() -> None:
    assert choose_device("cpu") == "cpu"


def test_no_run_is_loaded_for_a_device_that_does_not_compute(tmp_path: Path) -> None:
    with pytest.raises(ModRWKVError, match=UNUSABLE):
        load(tmp_path, device="meta")
