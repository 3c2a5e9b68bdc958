"""bfloat16 weights compute what autocast computes, and the model keeps its float32 weights."""

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.training.precision import WorkingWeights


class Mixed(nn.Module):
    """Layers that are cast, and parameters that are not; a layer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.first = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 8))
        self.unused = nn.Linear(3, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.first(self.norm(self.first(self.table(ids)))) * self.scale
        return self.conv(x.mT).float().square().mean()


def steps(model: nn.Module, inputs: list[torch.Tensor], loss: object, weights: WorkingWeights | None) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for each in inputs:
        if weights is None:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value = loss(model, each)
            value.backward()
        else:
            with weights.active():
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    value = loss(model, each)
                value.backward()
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if weights is not None:
            weights.refresh()
        losses.append(value.item())
    return losses


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.booleans())
def test_steps_are_those_of_autocast(seed: int, frozen: bool) -> None:
    torch.manual_seed(seed)
    model = Mixed()
    model.first.requires_grad_(not frozen)
    other = copy.deepcopy(model)
    inputs = [torch.randint(0, 11, (2, 5)) for _ in range(3)]

    def loss(module: nn.Module, ids: torch.Tensor) -> torch.Tensor:
        return module(ids)

    expected = steps(model, inputs, loss, None)
    assert steps(other, inputs, loss, WorkingWeights(other)) == expected
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_backbone_takes_the_steps_of_autocast() -> None:
    torch.manual_seed(0)
    model = RWKV7(RWKV7Config(num_layers=2, hidden_size=64), 40)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    other = copy.deepcopy(model)
    inputs = [torch.randint(0, 40, (1, 17)) for _ in range(3)]

    def loss(module: RWKV7, ids: torch.Tensor) -> torch.Tensor:
        hidden, _ = module(module.embed(ids[:, :-1]))
        return nn.functional.cross_entropy(module.logits(hidden)[0].float(), ids[0, 1:])

    expected = steps(model, inputs, loss, None)
    products = [other.get_parameter(name) for name in sorted(other.product_parameters())]
    assert len(products) == 2 * 11 - 3, "the first layer has no residual values"
    assert steps(other, inputs, loss, WorkingWeights(other, products)) == expected
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_an_error_within_leaves_the_float32_weights() -> None:
    model = Mixed()
    before = copy.deepcopy(model.state_dict())
    weights = WorkingWeights(model)
    try:
        with weights.active():
            assert model.first.weight.dtype == torch.bfloat16
            assert model.norm.weight.dtype == model.table.weight.dtype == torch.float32
            raise KeyError
    except KeyError:
        pass
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
