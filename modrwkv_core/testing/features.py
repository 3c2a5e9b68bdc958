"""The contracts of compressors and adapters, which both map features to features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Adapter, Compressor
from modrwkv_core.interfaces.config import AdapterConfig, CompressorConfig, GridCompressorConfig
from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.values import Features
from modrwkv_core.testing.neural import SAME, NeuralContract, assert_near
from modrwkv_core.testing.registration import load

__all__ = ["AdapterContract", "CompressorContract", "assert_features"]


def assert_features(features: Features, lengths: Sequence[int], dim: int, dtype: torch.dtype, name: str) -> None:
    """Assert that ``features`` have these lengths, this dim and dtype, and zeros after each item."""
    found = features.lengths
    assert (found.dtype, found.device.type) == (torch.int64, "cpu"), f"{name}: lengths must be int64 on the CPU"
    assert found.tolist() == list(lengths), f"{name} gives lengths {found.tolist()}, out_length says {list(lengths)}"
    shape = [len(lengths), max(lengths), dim]
    assert list(features.values.shape) == shape, (
        f"{name} gives values {list(features.values.shape)}, the configuration says {shape}"
    )
    assert features.values.dtype == dtype, f"{name} in {dtype} gives {features.values.dtype}"
    assert not features.values[~features.mask()].any(), f"{name} leaves something after the items: pad with zeros"


def _middle(lengths: Sequence[int]) -> int:
    return lengths[(len(lengths) - 1) // 2]


class _FeatureContract(NeuralContract):
    """Features in, features out.

    Attributes:
        in_dim: Width of the features to try it with.
        lengths: It is tried with items of these lengths, rising; by default with every length up to 40.
    """

    in_dim: ClassVar[int] = 24
    lengths: ClassVar[Sequence[int]] = range(1, 41)

    def lengths_for(self, config: Any) -> Sequence[int]:
        """Lengths to try ``config`` with, rising."""
        return self.lengths

    @abstractmethod
    def dim_of(self, config: Any) -> int:
        """Width that the configuration promises."""

    def given(self, lengths: Sequence[int], dtype: torch.dtype = torch.float32, device: str = "cpu") -> Features:
        """Make features of these lengths; an item's do not depend on the others."""
        values = torch.zeros(len(lengths), max(lengths), self.in_dim)
        for row, length in enumerate(lengths):
            generator = torch.Generator().manual_seed(length)
            values[row, :length] = torch.randn(length, self.in_dim, generator=generator)
        return Features(values.to(device, dtype), torch.tensor(lengths)).with_grids(lengths)

    def outputs(self, module: Any, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
        """Run on an item of middle length and on the longest one."""
        lengths = self.lengths_for(module.config)
        return self.mapped(module, [_middle(lengths), lengths[-1]], dtype, device).packed()

    def mapped(
        self, module: Any, lengths: Sequence[int], dtype: torch.dtype = torch.float32, device: str = "cpu"
    ) -> Features:
        """Run on items of these lengths and check the form of the features."""
        features: Features = module(self.given(lengths, dtype, device))
        expected = [module.config.out_length(length) for length in lengths]
        assert_features(features, expected, self.dim_of(module.config), dtype, self.name)
        return features

    def test_dims_and_lengths_are_those_of_the_configuration(self, settings: Mapping[str, Any]) -> None:
        """``out_length`` says what forward gives for every length, those too short to give anything included.

        Remedy: make ``out_dim`` and ``out_length`` of the configuration say what ``forward`` gives.
        """
        module = self.made(settings)
        for length in self.lengths_for(module.config):
            self.mapped(module, [length])

    def test_batch_equals_items_alone(self, settings: Mapping[str, Any]) -> None:
        """An item's features do not depend on its neighbours or on padding.

        Remedy: mask padding wherever positions mix: attention, convolution, normalization, means.
        """
        module = self.made(settings)
        rising = self.lengths_for(module.config)
        lengths = [_middle(rising), rising[0], *reversed(rising[-2:])]
        alone = torch.cat([self.mapped(module, [length]).packed() for length in lengths])
        together = self.mapped(module, lengths).packed()
        assert_near(together, alone, SAME, f"{self.name}: a batch differs from its items alone")


class CompressorContract(_FeatureContract):
    """A compressor; a subclass sets ``plugin``, ``name`` and ``configs``.

    A compressor of grids is tried with :attr:`grids` instead of :attr:`lengths`.

    Attributes:
        grids: Items of one grid and of several, of rising length; among them tall, broad and tiny ones.
    """

    kind: ClassVar = "compressor"
    config_base: ClassVar = CompressorConfig
    interface: ClassVar = Compressor

    grids: ClassVar[Sequence[GridLength]] = (
        GridLength((1, 1)),
        GridLength((2, 1)),
        GridLength((1, 3)),
        GridLength((2, 2)),
        GridLength((1, 7)),
        GridLength((3, 3), (1, 1)),
        GridLength((3, 5)),
        GridLength((6, 3)),
        GridLength((4, 8)),
        GridLength((8, 8), (1, 1), (8, 8), (2, 9)),
    )

    def lengths_for(self, config: Any) -> Sequence[int]:
        """Lengths to try ``config`` with, rising: grids for a compressor of grids."""
        return self.grids if isinstance(config, GridCompressorConfig) else self.lengths

    def test_grids_are_compressed_one_by_one(self, settings: Mapping[str, Any]) -> None:
        """A compressor of grids gives an item of several what it gives each; features without one are refused.

        Remedy: derive from ``GridCompressor``, which cuts items into their grids.
        """
        module = self.made(settings)
        if not isinstance(module.config, GridCompressorConfig):
            return
        item = self.grids[-1]
        given = self.given([item])
        pieces, begin = [], 0
        for grid in item.grids:
            end = begin + grid.rows * grid.columns
            piece = Features(given.values[:, begin:end], torch.tensor([end - begin]))
            pieces.append(module(piece.with_grids([GridLength(grid)])).packed())
            begin = end
        together = self.mapped(module, [item]).packed()
        assert_near(together, torch.cat(pieces), SAME, f"{self.name}: grids of one item are mixed")
        for call in (lambda: module.config.out_length(item + 1), lambda: module(replace(given, grids=None))):
            try:
                call()
            except ComponentError:
                continue
            raise AssertionError(f"{self.name} accepts features without a grid")

    def build(self, config: Any) -> nn.Module:
        """Construct the compressor."""
        compressor: nn.Module = load(self.spec.implementation)(config, self.in_dim)
        return compressor

    def dim_of(self, config: Any) -> int:
        """Ask the configuration."""
        dim: int = config.out_dim(self.in_dim)
        return dim


class AdapterContract(_FeatureContract):
    """An adapter; a subclass sets ``plugin``, ``name`` and ``configs``.

    Attributes:
        out_dim: Hidden size of the backbone to try it with.
    """

    kind: ClassVar = "adapter"
    config_base: ClassVar = AdapterConfig
    interface: ClassVar = Adapter

    out_dim: ClassVar[int] = 16

    def build(self, config: Any) -> nn.Module:
        """Construct the adapter."""
        adapter: nn.Module = load(self.spec.implementation)(config, self.in_dim, self.out_dim)
        return adapter

    def dim_of(self, config: Any) -> int:
        """The backbone's."""
        return self.out_dim
