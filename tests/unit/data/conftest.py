"""A modality without files, heavy libraries or weights: a sound is a list of numbers."""

from typing import Any, Literal

import numpy as np
import pytest
import torch

from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.tokenizers.bytes import BytesTokenizer
from modrwkv_core.data.tokenizers.config import BytesConfig
from modrwkv_core.errors import ComponentError, DataError
from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.config import AdapterConfig, CompressorConfig, EncoderConfig, QueryHeadConfig
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.preprocessor import MediaPreprocessor
from modrwkv_core.interfaces.values import MediaItem


class ListModality(Modality[Any]):
    def decode(self, media: Any) -> Any:
        values = np.asarray(media, dtype=np.float32)
        if values.size and values.min() < 0:
            raise DataError("negative numbers", hint="use others")
        return values


class ListEncoderConfig(EncoderConfig):
    type: Literal["list"] = "list"

    @property
    def out_dim(self) -> int:
        return 1

    def out_length(self, length: int) -> int:
        return length


class ListProcessor(Processor[ListEncoderConfig, Any]):
    def __call__(self, signal: Any) -> MediaItem:
        if signal.ndim != 1:
            raise ComponentError("a list of lists", component="encoder/list")
        return MediaItem({"values": torch.from_numpy(signal)}, len(signal))


class HalvingConfig(CompressorConfig):
    type: Literal["halving"] = "halving"

    def out_length(self, length: int) -> int:
        return length // 2


class PlainAdapterConfig(AdapterConfig):
    type: Literal["plain"] = "plain"


class MoodConfig(QueryHeadConfig):
    """Of sounds: ``calm`` or ``wild``."""

    type: Literal["mood"] = "mood"

    modality: str = "sound"

    def prepare(self, signal: Any, target: Any) -> tuple[Any, Any]:
        if target not in ("calm", "wild", None):
            raise DataError(f"no mood: {target}")
        return signal * 10, target


def pipeline(name: str, compressor: CompressorConfig | None) -> MediaPreprocessor:
    config = ListEncoderConfig()
    return MediaPreprocessor(name, ListModality(), ListProcessor(config), config, compressor, PlainAdapterConfig())


@pytest.fixture
def encoder() -> ConversationEncoder:
    """Bytes, two modalities (sounds are halved, images are not), the language model and a head about sounds."""
    pipelines = {"sound": pipeline("sound", HalvingConfig()), "image": pipeline("image", None)}
    return ConversationEncoder(
        BytesTokenizer(BytesConfig()), pipelines, {"lm": LanguageModelConfig(), "mood": MoodConfig()}
    )


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's own cache out of the tests."""
    monkeypatch.setenv("MODRWKV_CACHE", str(tmp_path_factory.mktemp("cache")))
