from modrwkv_core.testing.import_cost import HEAVY, import_in_subprocess
from modrwkv_core.testing.registration import PluginContract


class TestDatasets(PluginContract):
    plugin = "modrwkv_datasets.plugin"


def test_configuration_never_loads_torch() -> None:
    assert not import_in_subprocess("modrwkv_datasets.config").packages & HEAVY
