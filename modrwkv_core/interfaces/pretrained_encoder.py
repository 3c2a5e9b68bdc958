"""The base of encoders with pretrained weights.

A subclass builds its network and says which tensors of a checkpoint belong to it::

    class MyEncoder(PretrainedEncoder[MyConfig]):
        prefixes = ("vision_model.",)
        unused = ("text_model.*", "head.*")

        def __init__(self, config: MyConfig) -> None:
            super().__init__(config)
            self.model = MyNetwork(config.hidden_size)
"""

from __future__ import annotations

from abc import ABC
from typing import TypeVar

from torch import nn

from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.pretrained_component import PretrainedComponent
from modrwkv_core.interfaces.pretrained_config import PretrainedEncoderConfig

__all__ = ["PretrainedEncoder"]

PretrainedConfigT = TypeVar("PretrainedConfigT", bound=PretrainedEncoderConfig)


class PretrainedEncoder(PretrainedComponent, Encoder[PretrainedConfigT], ABC):
    """An encoder whose network a checkpoint of others can fill: all of it, or nothing.

    Attributes:
        config: The configuration.
        model: The network; the subclass's constructor sets it.
    """

    config: PretrainedConfigT
    model: nn.Module

    def network(self) -> nn.Module:
        """Return :attr:`model`."""
        return self.model
