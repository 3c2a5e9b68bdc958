"""The contract of modalities."""

from __future__ import annotations

import pickle
from abc import abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.plugin import PLUGIN_API, ModalitySpec
from modrwkv_core.testing.registration import PluginContract, load

__all__ = ["ModalityContract"]


class ModalityContract(PluginContract):
    """A modality; a subclass sets ``plugin`` and ``name`` and says what media to try.

    Attributes:
        name: The modality's name.
    """

    kind: ClassVar = "modality"

    name: ClassVar[str]

    @abstractmethod
    def media(self, folder: Path) -> Sequence[Any]:
        """Return media that decode to a signal: files written to ``folder``, bytes, arrays, signals."""

    def bad_media(self, folder: Path) -> Sequence[Any]:
        """Return media that must be refused, beside a missing and an empty file."""
        return ()

    @property
    def spec(self) -> ModalitySpec:
        """The modality's record."""
        specs = [spec for spec in import_module(self.plugin).modrwkv_modalities() if spec.name == self.name]
        assert len(specs) == 1, f"{self.plugin} registers the modality {self.name!r} {len(specs)} times, not once"
        spec: ModalitySpec = specs[0]
        return spec

    def modality(self) -> Modality[Any]:
        """Construct it."""
        modality: Modality[Any] = load(self.spec.implementation)()
        return modality

    def test_record_leads_to_the_class(self) -> None:
        """The record has a summary, the API's number and well-formed suffixes, and names a modality.

        Remedy: let the ``ModalitySpec`` name a class that derives from ``Modality``.
        """
        spec = self.spec
        assert spec.summary, f"{self.name} has no summary for listings"
        assert spec.api == PLUGIN_API, f"{self.name} is written for API {spec.api}, this core has {PLUGIN_API}"
        wrong = [suffix for suffix in spec.suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
        assert not wrong, f"suffixes of {self.name} need a dot and lower case: {', '.join(wrong)}"
        assert issubclass(load(spec.implementation), Modality), f"{spec.implementation} is not a Modality"

    def test_media_decode_to_signals(self, tmp_path: Path) -> None:
        """Media decode to signals that pickle and pass through ``decode`` again; in a worker's copy as well.

        Remedy: return a signal as it is after checking it, and keep no state that does not pickle.
        """
        modality = self.modality()
        copy = pickle.loads(pickle.dumps(modality))
        media = self.media(tmp_path)
        assert media, f"{type(self).__name__}.media gives nothing to test with"
        for medium in media:
            signal = modality.decode(medium)
            content = pickle.dumps(signal)
            assert pickle.dumps(copy.decode(medium)) == content, f"a pickled {self.name} decodes {medium!r} differently"
            assert pickle.dumps(modality.decode(signal)) == content, f"{self.name} changes its own signal"

    def test_bad_media_are_refused(self, tmp_path: Path) -> None:
        """What cannot be decoded is a ``DataError``, and a file is named in it.

        Remedy: turn whatever the decoder raises into a ``DataError`` that names the file.
        """
        modality = self.modality()
        suffix = self.spec.suffixes[0] if self.spec.suffixes else ""
        empty, absent = tmp_path / f"empty{suffix}", tmp_path / f"absent{suffix}"
        empty.write_bytes(b"")
        for medium in (empty, absent, b"", *self.bad_media(tmp_path)):
            message = self._refusal(modality, medium)
            assert message is not None, f"{self.name} decodes bad media: {medium!r}"
            if isinstance(medium, Path):
                assert medium.name in message, f"the error of {self.name} does not name {medium.name}: {message}"

    def _refusal(self, modality: Modality[Any], medium: Any) -> str | None:
        try:
            modality.decode(medium)
        except DataError as error:
            return str(error)
        return None
