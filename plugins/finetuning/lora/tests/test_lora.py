from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from modrwkv_lora.config import LoRAConfig
from modrwkv_lora.finetuning import LoRAFinetuning
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Adapter, Component, Encoder
from modrwkv_core.interfaces.config import AdapterConfig, EncoderConfig
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.testing.fakes import FakeBackbone, FakeBackboneConfig


class ToyEncoderConfig(EncoderConfig):
    type: Literal["toy"] = "toy"

    @property
    def out_dim(self) -> int:
        return 4

    def out_length(self, length: int) -> int:
        return length


class ToyAdapterConfig(AdapterConfig):
    type: Literal["toy"] = "toy"


class ToyEncoder(Encoder[ToyEncoderConfig]):
    """One layer is called; of the other, as in WavLM's attention, only the weight is read."""

    def __init__(self) -> None:
        super().__init__(ToyEncoderConfig())
        self.called = nn.Linear(6, 5)
        self.read = nn.Linear(5, 4)

    def forward(self, items: Sequence[MediaItem]) -> Features:
        values = torch.stack([item.tensors["x"] for item in items])
        hidden = F.linear(self.called(values).tanh(), self.read.weight, self.read.bias)
        return Features(hidden, torch.full((len(items),), hidden.shape[1]))


class ToyAdapter(Adapter[ToyAdapterConfig]):
    def __init__(self) -> None:
        super().__init__(ToyAdapterConfig(), 4, 3)
        self.linear = nn.Linear(4, 3)

    def forward(self, features: Features) -> Features:
        return features.with_values(self.linear(features.values))


def method(**settings: Any) -> LoRAFinetuning:
    return LoRAFinetuning(LoRAConfig(**settings))


def encoder() -> ToyEncoder:
    torch.manual_seed(0)
    return ToyEncoder()


def outputs(part: ToyEncoder) -> Tensor:
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1))
    values: Tensor = part([MediaItem({"x": each}, 3) for each in x]).values
    return values


def disturb(part: Component, names: set[str]) -> None:
    with torch.no_grad():
        for name, parameter in part.named_parameters():
            if name in names:
                parameter.add_(0.3 * torch.randn_like(parameter))


def test_a_prepared_part_computes_the_same_and_only_low_rank_matrices_learn() -> None:
    part, lora = encoder(), method(rank=2)
    before = outputs(part)
    lora.prepare(part)
    assert torch.equal(outputs(part), before)
    shapes = {name: list(each.shape) for name, each in part.named_parameters() if name in lora.trainable(part)}
    assert sorted(shapes.values()) == sorted([[2, 6], [5, 2], [2, 5], [4, 2]])
    assert lora.frozen(part) | lora.trainable(part) == {name for name, _ in part.named_parameters()}


def test_updates_are_those_of_the_paper_also_where_a_weight_is_read() -> None:
    part, lora = encoder(), method(rank=2, alpha=6.0)
    weights = {name: layer.weight.detach().clone() for name, layer in part.named_children()}
    lora.prepare(part)
    disturb(part, lora.trainable(part))
    judge = encoder()
    parameters = dict(part.named_parameters())
    for name, layer in judge.named_children():
        a, b = (parameters[f"{name}.lora_{kind}.default.weight"].detach() for kind in "AB")
        layer.weight.data = weights[name] + 6.0 / 2 * b @ a
    torch.testing.assert_close(outputs(part), outputs(judge))
    outputs(part).square().sum().backward()
    assert all(parameters[name].grad.abs().max() > 0 for name in lora.trainable(part))


def test_merging_gives_what_peft_gives() -> None:
    part, lora = encoder(), method(rank=2)
    lora.prepare(part)
    disturb(part, lora.trainable(part))
    expected = outputs(part)
    tuned = {name: each for name, each in part.state_dict().items() if ".lora_" in name}
    lora.merge(part)
    torch.testing.assert_close(outputs(part), expected)
    plain = nn.ModuleDict(dict(encoder().named_children()))
    wrapped = get_peft_model(plain, LoraConfig(r=2, lora_alpha=32.0, target_modules=["called", "read"]))
    wrapped.load_state_dict({f"base_model.model.{name}": each for name, each in tuned.items()}, strict=False)
    judge = wrapped.merge_and_unload().state_dict()
    merged = part.state_dict()
    assert merged.keys() == judge.keys() == encoder().state_dict().keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, judge[name])


def test_dropout_acts_only_while_training() -> None:
    part, lora = encoder(), method(rank=2, dropout=0.5)
    lora.prepare(part)
    disturb(part, lora.trainable(part))
    part.train()
    assert not torch.equal(outputs(part), outputs(part))
    part.eval()
    assert torch.equal(outputs(part), outputs(part))


def test_the_output_projection_is_left_alone_unless_it_is_named() -> None:
    plain, named = (FakeBackbone(FakeBackboneConfig()) for _ in range(2))
    by_default, everything = method(), method(targets=["*"])
    by_default.prepare(plain)
    everything.prepare(named)
    assert {name.split(".")[0] for name in by_default.trainable(plain)} == {"input"}
    assert {name.split(".")[0] for name in everything.trainable(named)} == {"input", "head"}
    disturb(named, everything.trainable(named))
    hidden = torch.randn(1, named.hidden_size)
    torch.testing.assert_close(hidden @ named.output_weight.mT, named.logits(hidden))


def test_parts_that_are_neither_backbone_nor_encoder_learn_in_full() -> None:
    adapter, lora = ToyAdapter(), method()
    before = copy.deepcopy(adapter.state_dict())
    lora.prepare(adapter)
    lora.merge(adapter)
    assert lora.trainable(adapter) == {"linear.weight", "linear.bias"} == before.keys()
    assert lora.frozen(adapter) == set()


def test_targets_without_a_layer_are_refused() -> None:
    with pytest.raises(ComponentError, match=r"no linear layer that matches blocks\.\*"):
        method(targets=["blocks.*"]).trainable(encoder())


def test_a_later_phase_may_add_layers_but_not_change_ranks() -> None:
    part = encoder()
    method(rank=2, targets=["called"]).prepare(part)
    first = {name: each.clone() for name, each in part.state_dict().items() if "lora" in name}
    both = method(rank=2)
    both.prepare(part)
    assert {name.split(".")[0] for name in both.trainable(part)} == {"called", "read"}
    assert all(torch.equal(each, part.state_dict()[name]) for name, each in first.items())
    with pytest.raises(ComponentError, match="called has rank 2 and alpha 32"):
        method(rank=3, targets=["called"]).prepare(part)
