"""What holds for every plugin: a light entry module, and records that lead to real classes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ValidationError

from modrwkv_core.manifest.unions import Components, tag_key
from modrwkv_core.plugin import PLUGIN_API, ComponentSpec, Kind
from modrwkv_core.registry import Registry, discover
from modrwkv_core.testing.import_cost import HEAVY, foreign_modules, import_in_subprocess

__all__ = ["ComponentContract", "PluginContract"]


class Metafunc(Protocol):
    """The part of pytest's object that the contracts use."""

    fixturenames: list[str]

    def parametrize(self, argnames: str, argvalues: Sequence[Any], *, ids: Sequence[str]) -> None:
        """Run the test once for each value."""


def load(reference: str) -> Any:
    """Import what ``"module:attribute"`` names."""
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


@cache
def installed() -> Registry:
    """Return all that is installed."""
    return discover()


class PluginContract:
    """The entry module of a plugin.

    Attributes:
        plugin: Its name, as in the entry point.
    """

    plugin: ClassVar[str]

    def test_entry_point_leads_to_the_plugin(self) -> None:
        """The distribution declares the module in the entry-point group ``modrwkv``.

        Remedy: declare it under ``[project.entry-points.modrwkv]`` in pyproject.toml and install the distribution anew.
        """
        values = [entry.value for entry in entry_points(group="modrwkv")]
        assert self.plugin in values, (
            f'no installed distribution has an entry point for {self.plugin}: add `name = "{self.plugin}"` to '
            "[project.entry-points.modrwkv] and install again"
        )

    def test_entry_module_is_light(self) -> None:
        """Importing the entry module loads nothing but what plugins may load then, and prints nothing.

        Remedy: name classes in strings (``"package.module:Class"``) and import nothing heavy in ``plugin.py`` or the
        package's ``__init__.py``.
        """
        imported = import_in_subprocess(self.plugin)
        foreign = foreign_modules(imported, self.plugin)
        assert not foreign, (
            f"{self.plugin} imports {', '.join(foreign[:8])}: an entry module may import the standard library, pluggy "
            "and modrwkv_core.plugin only; name everything else in strings"
        )
        assert not imported.output, f"importing {self.plugin} prints {imported.output!r}"


class ComponentContract(PluginContract):
    """Registration and configuration of one component.

    Attributes:
        kind: Its kind; the subclasses set it.
        name: The word that manifests write after ``type:``.
        configs: Settings to test it with, as a manifest would give them; small sizes.
    """

    kind: ClassVar[Kind]
    config_base: ClassVar[type[BaseModel]]
    interface: ClassVar[type[Any]]

    name: ClassVar[str]
    configs: ClassVar[Sequence[Mapping[str, Any]]] = ({},)

    def pytest_generate_tests(self, metafunc: Metafunc) -> None:
        """Run tests with an argument ``settings`` for each of :attr:`configs`."""
        if "settings" in metafunc.fixturenames:
            ids = [", ".join(f"{key}={value}" for key, value in c.items()) or "defaults" for c in self.configs]
            metafunc.parametrize("settings", self.configs, ids=ids)

    @property
    def spec(self) -> ComponentSpec:
        """The component's record."""
        specs = [
            spec
            for spec in import_module(self.plugin).modrwkv_components()
            if (spec.kind, spec.name) == (self.kind, self.name)
        ]
        assert len(specs) == 1, f"{self.plugin} registers {self.kind} {self.name!r} {len(specs)} times, not once"
        spec: ComponentSpec = specs[0]
        return spec

    def config(self, settings: Mapping[str, Any]) -> Any:
        """Validate ``settings``; their sections may name any installed component."""
        return load(self.spec.config).model_validate(dict(settings), context={"components": Components(installed())})

    def test_record_leads_to_the_classes(self) -> None:
        """The record has a summary and the API's number, and names a configuration and an implementation.

        Remedy: let the strings of the ``ComponentSpec`` name classes that derive from the kind's interface.
        """
        spec = self.spec
        assert spec.summary, f"{self.name} has no summary for listings"
        assert spec.api == PLUGIN_API, f"{self.name} is written for API {spec.api}, this core has {PLUGIN_API}"
        for reference, base in ((spec.config, self.config_base), (spec.implementation, self.interface)):
            found = load(reference)
            assert issubclass(found, base), f"{reference} is not a {base.__name__}"
        key = tag_key(self.kind)
        default = load(spec.config).model_fields[key].default
        assert default == self.name, f"`{key}` of {spec.config} is {default!r} by default, not {self.name!r}"

    def test_configuration_never_loads_torch(self) -> None:
        """Validating a manifest must not cost seconds.

        Remedy: keep ``config.py`` free of torch; import it in the implementation only.
        """
        module = self.spec.config.partition(":")[0]
        heavy = sorted(import_in_subprocess(module).packages & HEAVY)
        assert not heavy, f"{module} imports {', '.join(heavy)}: keep configuration apart from implementation"

    def test_configuration_refuses_unknown_keys_and_other_types(self, settings: Mapping[str, Any]) -> None:
        """A misspelt key is an error, and so is another component's ``type``.

        Remedy: keep the base's ``model_config`` and narrow ``type`` to ``Literal["its-name"]``.
        """
        for wrong in ({"no_such_key": 1}, {tag_key(self.kind): "no-such-name"}):
            try:
                self.config({**settings, **wrong})
            except ValidationError:
                continue
            raise AssertionError(f"the configuration of {self.name} accepts {wrong}")

    def test_configuration_is_frozen(self, settings: Mapping[str, Any]) -> None:
        """A component's configuration cannot be changed after construction.

        Remedy: keep the base's ``model_config``.
        """
        config = self.config(settings)
        try:
            setattr(config, tag_key(self.kind), "other")
        except ValidationError:
            return
        raise AssertionError(f"the configuration of {self.name} can be changed: derive it from ComponentConfig")

    def test_configuration_keys_are_documented(self) -> None:
        """Each key has a docstring below it, which editors and the reference show.

        Remedy: write a docstring under each field.
        """
        fields = load(self.spec.config).model_fields
        bare = [key for key, field in fields.items() if key != tag_key(self.kind) and not field.description]
        assert not bare, f"keys of {self.name} without a docstring: {', '.join(bare)}"

    def test_configuration_survives_manifest_and_pickle(self, settings: Mapping[str, Any]) -> None:
        """A run writes configurations into its manifest and sends them to loader workers.

        Remedy: use types that pydantic writes to JSON and reads back, and no state beside the fields.
        """
        config = self.config(settings)
        again = self.config(config.model_dump(mode="json"))
        assert again == config, f"written to a manifest and read again, {config!r} becomes {again!r}"
        assert pickle.loads(pickle.dumps(config)) == config, f"pickled and read again, {config!r} differs"
