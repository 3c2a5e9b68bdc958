from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modrwkv_core.interfaces.component import Adapter, Compressor
from modrwkv_core.interfaces.config import AdapterConfig, CompressorConfig, GridCompressorConfig
from modrwkv_core.interfaces.grid_compressor import GridCompressor
from modrwkv_core.interfaces.grids import Grid, GridLength
from modrwkv_core.interfaces.values import Features
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import AdapterContract, CompressorContract

Broken = Callable[[type[Any]], set[str]]


class ToyAdapterConfig(AdapterConfig):
    type: Literal["toy"] = "toy"


class ToyAdapter(Adapter[ToyAdapterConfig]):
    def __init__(self, config: ToyAdapterConfig, in_dim: int, out_dim: int) -> None:
        super().__init__(config, in_dim, out_dim)
        self.linear = nn.Linear(in_dim, out_dim)

    def forward(self, features: Features) -> Features:
        return features.with_values(self.values(features))

    def values(self, features: Features) -> Tensor:
        return self.linear(features.values)


class Unmasked(ToyAdapter):
    def forward(self, features: Features) -> Features:
        return Features(self.values(features), features.lengths)


class AcrossTheBatch(ToyAdapter):
    def values(self, features: Features) -> Tensor:
        values = super().values(features)
        return values - values.mean(dim=(0, 1))


class TooWide(ToyAdapter):
    def values(self, features: Features) -> Tensor:
        return super().values(features).repeat(1, 1, 2)


class DeadWeight(ToyAdapter):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unused = nn.Linear(2, 2)


class Frozen(ToyAdapter):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.requires_grad_(False)


class LooseTensor(ToyAdapter):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.scale = torch.ones(1)

    def values(self, features: Features) -> Tensor:
        return super().values(features) * self.scale.to(features.values)


class UnsavedBuffer(ToyAdapter):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.register_buffer("scale", torch.randn(self.out_dim), persistent=False)

    def values(self, features: Features) -> Tensor:
        return super().values(features) * self.scale


class OwnDice(ToyAdapter):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        noise = np.random.default_rng().normal(size=self.linear.weight.shape)
        self.linear.weight.data = torch.from_numpy(noise).float()


class Restless(ToyAdapter):
    def values(self, features: Features) -> Tensor:
        return nn.functional.dropout(super().values(features), 0.5, training=True)


class SingleOnly(ToyAdapter):
    def values(self, features: Features) -> Tensor:
        return super().values(features).float()


class Exploding(ToyAdapter):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        nn.init.constant_(self.linear.bias, float("inf"))


class ToyAdapterContract(AdapterContract):
    plugin = __name__
    name = "toy"
    implementation = "ToyAdapter"

    @property
    def spec(self) -> ComponentSpec:
        return ComponentSpec(
            api=1,
            kind="adapter",
            name="toy",
            summary="a linear map",
            config=f"{__name__}:ToyAdapterConfig",
            implementation=f"{__name__}:{self.implementation}",
        )


@pytest.mark.parametrize(
    ("adapter", "failures"),
    [
        (ToyAdapter, set()),
        (DeadWeight, {"gradients_reach_every_parameter"}),
        (Frozen, {"gradients_reach_every_parameter"}),
        (LooseTensor, {"tensors_move_with_the_module"}),
        (UnsavedBuffer, {"saved_weights_are_the_whole_component"}),
        (AcrossTheBatch, {"batch_equals_items_alone"}),
    ],
)
def test_one_mistake_fails_its_check_and_no_other(broken: Broken, adapter: type[Any], failures: set[str]) -> None:
    class Contract(ToyAdapterContract):
        implementation = adapter.__name__

    assert broken(Contract) == failures


@pytest.mark.parametrize(
    ("adapter", "failure"),
    [
        (Unmasked, "batch_equals_items_alone"),
        (TooWide, "dims_and_lengths_are_those_of_the_configuration"),
        (OwnDice, "seed_decides_the_weights"),
        (Restless, "evaluation_repeats_itself"),
        (SingleOnly, "dtypes"),
        (Exploding, "outputs_are_finite"),
    ],
)
def test_a_mistake_that_shows_in_many_places_fails_its_check_too(
    broken: Broken, adapter: type[Any], failure: str
) -> None:
    class Contract(ToyAdapterContract):
        implementation = adapter.__name__

    assert failure in broken(Contract)


def test_parameters_named_as_unreached_are_excused(broken: Broken) -> None:
    class Contract(ToyAdapterContract):
        implementation = "DeadWeight"
        unreached = frozenset({"unused.weight", "unused.bias"})

    assert broken(Contract) == set()


class PairsConfig(CompressorConfig):
    type: Literal["pairs"] = "pairs"

    rounding: Literal["down", "up"] = "down"
    """What the configuration says of an odd feature at the end."""

    def out_length(self, length: int) -> int:
        return length // 2 if self.rounding == "down" else (length + 1) // 2


class Pairs(Compressor[PairsConfig]):
    """Sums pairs of features and drops an odd one at the end, whatever the configuration says."""

    def forward(self, features: Features) -> Features:
        lengths = features.lengths // 2
        values = features.values[:, : 2 * int(lengths.max())].unflatten(1, (-1, 2)).sum(dim=2)
        return Features(values, lengths).with_values(values)


class PairsContract(CompressorContract):
    plugin = __name__
    name = "pairs"
    spec = ComponentSpec(  # type: ignore[assignment]
        api=1,
        kind="compressor",
        name="pairs",
        summary="sums of two",
        config=f"{__name__}:PairsConfig",
        implementation=f"{__name__}:Pairs",
    )


def test_a_compressor_that_keeps_the_contract_passes(broken: Broken) -> None:
    assert broken(PairsContract) == set()


def test_a_length_that_the_configuration_counts_wrongly_is_found_out() -> None:
    with pytest.raises(AssertionError, match=r"pairs gives lengths \[0\], out_length says \[1\]"):
        PairsContract().test_dims_and_lengths_are_those_of_the_configuration({"rounding": "up"})


class ColumnsConfig(GridCompressorConfig):
    type: Literal["columns"] = "columns"

    def out_grid(self, grid: Grid) -> Grid:
        return Grid(1, grid.columns)


class Columns(GridCompressor[ColumnsConfig]):
    """Sums columns."""

    def compress(self, x_GRCD: Tensor) -> Tensor:
        return x_GRCD.sum(dim=1, keepdim=True)


class MixedGrids(Columns):
    """Adds to each grid what all grids have in common."""

    def forward(self, features: Features) -> Features:
        compressed = super().forward(features)
        means = features.with_values(features.values).values.sum(dim=1) / features.lengths[:, None].to(features.values)
        return compressed.with_values(compressed.values + means[:, None])


class Guessing(Columns):
    """Takes features without a grid for one row."""

    def forward(self, features: Features) -> Features:
        if features.grids is None:
            features = features.with_grids([GridLength((1, length)) for length in features.lengths.tolist()])
        return super().forward(features)


@pytest.mark.parametrize(
    ("implementation", "failures"),
    [
        ("Columns", set()),
        ("MixedGrids", {"grids_are_compressed_one_by_one"}),
        ("Guessing", {"grids_are_compressed_one_by_one"}),
    ],
)
def test_compressors_of_grids(broken: Broken, implementation: str, failures: set[str]) -> None:
    spec = ComponentSpec(
        api=1,
        kind="compressor",
        name="columns",
        summary="sums of columns",
        config=f"{__name__}:ColumnsConfig",
        implementation=f"{__name__}:{implementation}",
    )
    settings = {"plugin": __name__, "name": "columns", "spec": spec}
    assert broken(type("Contract", (CompressorContract,), settings)) == failures
