from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ELSEWHERE = {
    "test_entry_point_leads_to_the_plugin",
    "test_entry_module_is_light",
    "test_configuration_never_loads_torch",
}
"""Checks of files and distributions, which the components below are not; test_registration_contract has them."""


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[type[Any]], set[str]]:
    """Run every check of a contract and return the names of those that fail, by their assertions only."""

    def run(contract: type[Any]) -> set[str]:
        failed = {}
        for name, check in inspect.getmembers(contract, inspect.isfunction):
            if not name.startswith("test_") or name in ELSEWHERE:
                continue
            wanted = inspect.signature(check).parameters
            for settings in contract.configs if "settings" in wanted else [None]:
                arguments = {"settings": settings, "tmp_path": tmp_path}
                try:
                    check(contract(), **{key: value for key, value in arguments.items() if key in wanted})
                except AssertionError as failure:
                    failed[name.removeprefix("test_")] = str(failure)
        assert all(failed.values()), f"failures without a message: {failed}"
        return set(failed)

    return run
