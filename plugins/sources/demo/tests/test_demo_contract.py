from modrwkv_core.testing.import_cost import HEAVY, import_in_subprocess
from modrwkv_core.testing.registration import PluginContract


class TestDemo(PluginContract):
    plugin = "modrwkv_demo.plugin"


def test_configuration_never_loads_torch() -> None:
    assert not import_in_subprocess("modrwkv_demo.config").packages & (HEAVY | {"sklearn", "statsmodels"})
