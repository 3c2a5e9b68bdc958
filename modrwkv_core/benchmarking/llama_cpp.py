"""llama.cpp (PyPI xllamacpp) with the weights of ours, as a baseline on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.benchmarking.baselines import MissingBaselineError, require
from modrwkv_core.data.templates import MODRWKV
from modrwkv_core.data.tokenizers.config import WorldConfig
from modrwkv_core.data.tokenizers.world import WorldTokenizer
from modrwkv_core.interop.gguf import OutType, write_gguf

__all__ = ["LLAMA_CPP", "LlamaCpp"]

LLAMA_CPP: Final[dict[str, OutType]] = {"llama.cpp, bf16": "bf16", "llama.cpp, q8_0": "q8_0"}
"""Names of the baseline, and how it stores matrices."""

BYTES: Final[dict[OutType, float]] = {"bf16": 2.0, "q8_0": 34 / 32}
"""Bytes of a weight; 32 of q8_0 share a scale of 16 bits."""


class LlamaCpp:
    """A model in llama.cpp, asked through the queue of its server, without HTTP; one request a call.

    It uses as many threads as torch, and caches no prompts.

    Args:
        model: The model, on the CPU.
        folder: Where its GGUF file is written.
        out_type: How matrices are stored.
        sequences: Most sequences decoded together.
        tokens: Longest sequence.

    Raises:
        MissingBaselineError: xllamacpp or gguf is not installed, or the model computes on a GPU.
    """

    def __init__(self, model: RWKV7, folder: Path, out_type: OutType, *, sequences: int, tokens: int) -> None:
        if model.emb.weight.device.type != "cpu":
            raise MissingBaselineError("it is measured on CPUs only")
        xllamacpp = require("xllamacpp", "xllamacpp")
        require("gguf", "gguf")
        path = folder / f"{out_type}.gguf"
        if not path.exists():
            tokenizer = WorldTokenizer(WorldConfig())
            write_gguf(model.weights(), model.sizes, tokenizer, MODRWKV, path, out_type, name="benchmark")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = sequences * tokens
        params.n_batch = params.n_ubatch = max(tokens, sequences)
        params.n_parallel = sequences
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
        params.n_ctx_checkpoints = params.cache_ram_mib = 0
        params.verbosity = -1
        self._server = xllamacpp.Server(params)

    def generate(self, prompts: Sequence[Sequence[int]], tokens: int) -> None:
        """Read prompts and decode ``tokens`` greedily after each, all of them together."""
        request: dict[str, Any] = {
            "prompt": [list(prompt) for prompt in prompts],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
        }
        answers = self._server.handle_completions(request)["choices"]
        assert [answer["finish_reason"] for answer in answers] == ["length"] * len(prompts), answers
