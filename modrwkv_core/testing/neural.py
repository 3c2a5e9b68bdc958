"""What holds for every component that is a module: seeds, gradients, dtypes, devices, saved weights.

A subclass says how to build the component and what to run it on; one tensor stands for all that it computes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from unittest import SkipTest

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from modrwkv_core.testing.registration import ComponentContract

__all__ = ["NeuralContract", "assert_near"]

SAME: Final = 1e-4
"""Largest difference of two float32 results that are equal in exact arithmetic, relative to the largest value."""

BFLOAT16: Final = 0.1
"""The same for a result in bfloat16, which has 8 bits, against one in float32."""

DISTURBANCE: Final = 0.05
"""Standard deviation of what is added to the weights."""


def assert_near(actual: Tensor, expected: Tensor, tolerance: float, message: str) -> None:
    """Assert that two tensors agree within ``tolerance`` times the largest magnitude of ``expected``."""
    assert actual.shape == expected.shape, f"{message}: shape {list(actual.shape)} instead of {list(expected.shape)}"
    if expected.numel() == 0:
        return
    actual, expected = actual.detach().double().cpu(), expected.detach().double().cpu()
    difference, largest = (actual - expected).abs().max().item(), expected.abs().max().item()
    assert difference <= tolerance * max(largest, 1e-12), (
        f"{message}: the largest difference is {difference:.2e}, the largest value {largest:.2e}"
    )


class NeuralContract(ComponentContract):
    """A component with weights.

    Attributes:
        unreached: Parameters that may have no gradient, by name.
    """

    unreached: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def build(self, config: Any) -> nn.Module:
        """Construct the component with fresh weights."""

    @abstractmethod
    def outputs(self, module: Any, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
        """Run ``module`` on fixed inputs and return all that it computed; check its form."""

    def fresh(self, settings: Mapping[str, Any], seed: int = 0) -> Any:
        """Construct the component from ``settings`` under ``seed``, for evaluation."""
        torch.manual_seed(seed)
        return self.build(self.config(settings)).eval()

    def made(self, settings: Mapping[str, Any], seed: int = 0) -> Any:
        """Construct the component and disturb its weights, as training does.

        Matrices that begin as zeros, which are common before a residual sum, would hide everything after them.
        """
        module = self.fresh(settings, seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(DISTURBANCE * torch.randn_like(parameter))
        return module

    def test_outputs_are_finite(self, settings: Mapping[str, Any]) -> None:
        """Fresh weights compute finite numbers.

        Remedy: look at the initialization, and at divisions by what may be zero.
        """
        assert torch.isfinite(self.outputs(self.fresh(settings))).all(), f"fresh {self.name} computes NaN or infinity"

    def test_seed_decides_the_weights(self, settings: Mapping[str, Any]) -> None:
        """The same ``torch.manual_seed`` gives the same weights; runs can be repeated.

        Remedy: draw weights from torch's global generator, never from another source of randomness.
        """
        first, second = (self.fresh(settings).state_dict() for _ in range(2))
        for name, value in first.items():
            assert torch.equal(value, second[name]), f"{name} differs between two constructions under one seed"

    def test_evaluation_repeats_itself(self, settings: Mapping[str, Any]) -> None:
        """In eval mode the same input gives the same output.

        Remedy: use randomness, such as dropout, only while ``self.training``.
        """
        module = self.made(settings)
        assert_near(self.outputs(module), self.outputs(module), 0.0, f"{self.name} in eval mode gives two answers")

    def test_gradients_reach_every_parameter(self, settings: Mapping[str, Any]) -> None:
        """No parameter is dead weight, and none is frozen: phases decide what trains.

        Remedy: remove unused layers, ``detach``, ``no_grad`` and ``requires_grad_(False)``; list parameters that cannot
        have a gradient in ``unreached``.
        """
        module = self.made(settings)
        outputs = self.outputs(module)
        if next(module.parameters(), None) is None:
            return
        assert outputs.requires_grad, f"the outputs of {self.name} carry no gradient"
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(outputs.shape, generator=generator).to(outputs)
        torch.autograd.backward((outputs * weights).sum())
        dead = [
            name
            for name, parameter in module.named_parameters()
            if name not in self.unreached and (parameter.grad is None or not parameter.grad.abs().max() > 0)
        ]
        assert not dead, f"parameters of {self.name} without a gradient: {', '.join(dead)}"

    def test_tensors_move_with_the_module(self, settings: Mapping[str, Any]) -> None:
        """Every tensor is a parameter or a buffer; a plain attribute would stay on the old device.

        Remedy: ``self.register_buffer(name, tensor)``.
        """
        loose = [
            f"{path or type(child).__name__}.{name}"
            for path, child in self.made(settings).named_modules()
            for name, value in vars(child).items()
            if isinstance(value, Tensor)
        ]
        assert not loose, f"tensors that are neither parameters nor buffers: {', '.join(loose)}; use register_buffer"

    def test_dtypes(self, settings: Mapping[str, Any]) -> None:
        """The component works in float64 and bfloat16 after ``.to(dtype)``, with the same results.

        Remedy: cast inputs to the dtype of the weights and create no tensor of a fixed one.
        """
        expected = self.outputs(self.made(settings))
        for dtype, tolerance in ((torch.float64, SAME), (torch.bfloat16, BFLOAT16)):
            actual = self.outputs(self.made(settings).to(dtype), dtype)
            assert_near(actual, expected, tolerance, f"{self.name} in {dtype} differs from float32")

    def test_devices(self, settings: Mapping[str, Any]) -> None:
        """The component works on a GPU with the same results; without a GPU, no tensor of its own stays on the CPU.

        Remedy: create tensors on the device of the inputs, ``torch.zeros(..., device=x.device)``.
        """
        if not torch.cuda.is_available():
            self._follow_to_another_device(settings)
            return
        expected = self.outputs(self.made(settings))
        with torch.backends.cudnn.flags(allow_tf32=False):
            actual = self.outputs(self.made(settings).to("cuda"), device="cuda")
        assert_near(actual, expected, 10 * SAME, f"{self.name} on cuda differs from the CPU")

    def _follow_to_another_device(self, settings: Mapping[str, Any]) -> None:
        """Run on the device ``meta``, which has shapes but no values, as far as that goes."""
        module = self.made(settings).to("meta")
        finished: list[bool] = []
        module.register_forward_hook(lambda *_: finished.append(True))
        try:
            self.outputs(module, device="meta")
        except RuntimeError as error:
            if "expected device" in str(error):
                raise AssertionError(f"{self.name} mixes devices: {error}") from error
            if not finished:
                raise SkipTest(f"{self.name} asks a tensor for its values, so only a GPU shows: {error}") from error

    def test_saved_weights_are_the_whole_component(self, settings: Mapping[str, Any]) -> None:
        """Another instance that loads the state dict from safetensors computes the same.

        Remedy: keep all that decides the outputs in the configuration, parameters and buffers.
        """
        module, other = self.made(settings), self.made(settings, seed=1)
        saved = save({name: value.contiguous() for name, value in module.state_dict().items()})
        other.load_state_dict(load(saved))
        assert_near(self.outputs(other), self.outputs(module), 0.0, f"{self.name} loaded from its weights differs")
