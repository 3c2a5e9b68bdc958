"""The programs that ours are measured against. Each is ready to run, or missing for a stated reason."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modrwkv_core.benchmarking.sizes import HEAD_SIZE, ModelSize

__all__ = [
    "FLA",
    "LLAMA",
    "RWKV_PIP",
    "MissingBaselineError",
    "causal_step",
    "fla_model",
    "fla_module",
    "llama",
    "official_rwkv",
    "official_step",
    "require",
]

RWKV_PIP = "rwkv (PyPI)"
FLA = "flash-linear-attention"
LLAMA = "Llama (transformers)"


class MissingBaselineError(Exception):
    """A baseline cannot be measured here; the message says why."""


def require(module: str, distribution: str) -> Any:
    """Import a module of a baseline.

    Raises:
        MissingBaselineError: ``distribution`` is not installed or cannot be imported.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise MissingBaselineError(f"not installed; pip install {distribution}")
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except Exception as error:  # a baseline may raise anything at import
        raise MissingBaselineError(f"cannot be imported: {type(error).__name__}: {error}") from error


def official_rwkv(checkpoint: Path, strategy: str) -> Any:
    """Load the weights of a ``.pth`` with BlinkDL's package.

    Raises:
        MissingBaselineError: It is not installed or cannot be imported.
    """
    os.environ["RWKV_V7_ON"] = "1"  # read when the module is imported
    module = require("rwkv.model", "rwkv")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return module.RWKV(model=str(checkpoint.with_suffix("")), strategy=strategy)


def fla_module(module: str, device: str) -> Any:
    """Import a module of flash-linear-attention, whose kernels need a GPU.

    Raises:
        MissingBaselineError: It is not installed, or there is no GPU.
    """
    if device == "cpu":
        raise MissingBaselineError("its kernels run on GPUs only")
    return require(module, "flash-linear-attention")


def llama(size: ModelSize, device: str, dtype: torch.dtype) -> Any:
    """Build a random Llama with as many parameters, which computes attention with torch's SDPA.

    Raises:
        MissingBaselineError: transformers is not installed.
    """
    transformers = require("transformers", "transformers")
    with torch.device(device):
        return transformers.LlamaForCausalLM(size.llama_config()).to(dtype)


def official_step(model: Any, prompt: list[int]) -> Callable[[Tensor], Tensor]:
    """Decode token by token with BlinkDL's package: ``[1]`` to logits ``[1, V]``."""
    _, state = model.forward(prompt, None)

    def step(ids: Tensor) -> Tensor:
        nonlocal state
        logits: Tensor
        logits, state = model.forward(int(ids), state)
        return logits[None]

    return step


def fla_model(size: ModelSize, device: str, dtype: torch.dtype) -> Any:
    """Build flash-linear-attention's RWKV-7 of the same sizes with random weights.

    Raises:
        MissingBaselineError: It is not installed, or there is no GPU.
    """
    models = fla_module("fla.models.rwkv7", device)
    sizes = size.config().sizes()
    config = models.RWKV7Config(
        hidden_size=size.hidden_size,
        num_hidden_layers=size.num_layers,
        head_dim=HEAD_SIZE,
        decay_low_rank_dim=sizes.decay_low_rank_dim,
        a_low_rank_dim=sizes.a_low_rank_dim,
        v_low_rank_dim=sizes.v_low_rank_dim,
        gate_low_rank_dim=sizes.gate_low_rank_dim,
        vocab_size=size.vocab_size,
    )
    with torch.device(device):
        return models.RWKV7ForCausalLM(config).to(dtype)


def causal_step(model: Any, batch_size: int, context: int, device: str) -> Callable[[Tensor], Tensor]:
    """Decode token by token after a context, with a model of transformers and its cache: ``[B]`` to ``[B, V]``."""
    model.eval()
    with torch.inference_mode():
        cache = model(torch.ones(batch_size, context, dtype=torch.int64, device=device), use_cache=True).past_key_values

    @torch.inference_mode()
    def step(ids: Tensor) -> Tensor:
        logits: Tensor = model(ids[:, None], past_key_values=cache, use_cache=True).logits
        return logits[:, -1]

    return step
