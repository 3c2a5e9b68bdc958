"""How the tokens of a call are cut up, and the launches that follow from it.

Triton looks at every argument at every launch to find the binary that fits, which takes longer than a short kernel
runs. Calls of one shape share a plan, and a plan remembers the binaries.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime import driver

from modrwkv_kernels.ragged import block_capacity

__all__ = ["CHUNK", "Plan", "Tuning", "aligned", "running_sums"]

CHUNK = 16
"""Tokens whose inputs are multiplied at once; a block has one or more chunks, and the state at its start is saved."""

# What float32 tiles are multiplied in; bfloat16 tiles are multiplied as they are. float16 cannot hold the factors of
# the chunked form, so its tiles are float32, too.
_PRECISION = {torch.bfloat16: "ieee", torch.float16: "tf32", torch.float32: "tf32x3"}
_SOLVE_PRECISION = {torch.bfloat16: "tf32", torch.float16: "tf32x3", torch.float32: "tf32x3"}
_TYPES = {torch.bfloat16: tl.bfloat16, torch.float32: tl.float32}

# All that a thread can have: left alone, the assembler at times settles for fewer and spills the rest.
_REGISTERS = 255
# How a binary is launched is known of these versions of Triton; others look at every argument.
_KNOWN_TRITON = triton.__version__.startswith("3.6.")
_ALIGNMENT = 16  # bytes
_RUNNING_SUMS: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Launch parameters.

    Args:
        programs: Programs that a scan should have, one of which can carry the state of a head. Where sequences and
            heads are much fewer, time is split; where they are somewhat fewer, states are cut into slices.
        shortest: Blocks that a segment has at least.
        prepare_programs: Programs, of one warp, that prepare chunks, for each multiprocessor.
        prepare_stages: How many chunks' inputs each of them has in flight.
        scan_stages: How many blocks' tiles the chunk scan has in flight in bfloat16; in float32 there is room for one.
        reverse_scan_stages: The same for the reverse scan.
        gradient_warps: Warps of a program that finds the gradients of a block.
        gradient_registers: Registers of each thread of theirs on Hopper: few enough for three programs on a
            multiprocessor. Elsewhere products pass through registers, and a thread has all there are.
        step_values: Width of the slice of a state that one program of a step carries.
    """

    programs: int = 128
    shortest: int = 8
    prepare_programs: int = 8
    prepare_stages: int = 3
    scan_stages: int = 3
    reverse_scan_stages: int = 3
    gradient_warps: int = 4
    gradient_registers: int = 168
    step_values: int = 16


class Plan:
    """Calls of one shape.

    Attributes:
        sequences: How many there are.
        tokens: Of all packed sequences, or of each item of the batch.
        heads: Number of heads.
        size: Width of a head.
        parts: Chunks of a block.
        blocks: How many numbers blocks take up.
        segment: Tokens of a segment, a multiple of those of a block; more than all tokens when time is not split.
        segments: How many numbers segments take up.
        values: Height of the slice of a state that a program of a scan carries, 16 rows a warp.
        operand: Element type of the tiles that are multiplied.
    """

    def __init__(
        self,
        shape: torch.Size,
        dtype: torch.dtype,
        device: torch.device,
        sequences: int,
        *,
        packed: bool,
        block: int,
        tuning: Tuning,
    ) -> None:
        batch, self.tokens, self.heads, self.size = shape
        self.sequences = sequences
        self.parts = block // CHUNK
        self.blocks = block_capacity(self.tokens, sequences, block, packed=packed)
        # Splitting time costs a second scan: it must make the longest one several times shorter.
        segment = max(-(-batch * self.tokens * self.heads // tuning.programs), tuning.shortest * block)
        self.segment = -(-(segment if 3 * segment <= self.tokens else self.tokens + 1) // block) * block
        self.segments = block_capacity(self.tokens, sequences, self.segment, packed=packed)
        self.values = self.size
        while self.values > CHUNK and 3 * self.scans < 2 * tuning.programs:
            self.values //= 2
        self.operand = torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
        self._tuning = tuning
        self._dtype = dtype
        self._device = device
        self._hopper, multiprocessors = False, 1
        if device.type == "cuda":
            properties = torch.cuda.get_device_properties(device)
            self._hopper, multiprocessors = properties.major == 9, properties.multi_processor_count
        self._prepare_programs = tuning.prepare_programs * multiprocessors
        self._binaries: dict[tuple[object, ...], tuple[Any, list[Any]]] = {}

    @property
    def split(self) -> bool:
        """Whether the time of a sequence is split into segments."""
        return self.segment <= self.tokens

    @property
    def scans(self) -> int:
        """Programs of a scan."""
        return self.segments * self.heads * (self.size // self.values)

    @property
    def chunks(self) -> int:
        """Chunks of all heads."""
        return self.blocks * self.heads * self.parts

    def prepare(self, kernel: Any, *tensors: Tensor | None) -> None:
        """Launch the kernel that prepares all chunks."""
        self._launch(kernel, min(self.chunks, self._prepare_programs), tensors)

    def scan(self, kernel: Any, *tensors: Tensor | None, double: bool = False) -> None:
        """Launch a scan; a `double` one has twice as many state rows."""
        self._launch(kernel, self.scans * (2 if double else 1), tensors)

    def gradients(self, kernel: Any, *tensors: Tensor | None) -> None:
        """Launch the kernel that finds the gradients of all blocks."""
        self._launch(kernel, self.blocks * self.heads, tensors)

    @functools.cached_property
    def _options(self) -> dict[str, object]:
        """Arguments of the kernels that are no tensors, and Triton's options."""
        tuning = self._tuning
        whole = self.operand == torch.bfloat16
        shared = {
            "sequences": self.sequences,
            "tokens": self.tokens,
            "heads": self.heads,
            "N": self.size,
            "OPERAND": _TYPES[self.operand],
        }
        scan = {
            **shared,
            "segment": self.segment,
            "C": CHUNK,
            "PARTS": self.parts,
            "VALUES": self.values,
            "PRECISION": _PRECISION[self._dtype],
            "num_warps": self.values // CHUNK,
        }
        return {
            "prepare_kernel": {
                **shared,
                "total": self.chunks,
                "C": CHUNK,
                "PARTS": self.parts,
                "SOLVE": _SOLVE_PRECISION[self._dtype],
                "STAGES": tuning.prepare_stages,
                "num_warps": 1,
                "maxnreg": _REGISTERS,
            },
            "chunk_scan_kernel": {**scan, "STAGES": tuning.scan_stages if whole else 1},
            "reverse_scan_kernel": {**scan, "STAGES": tuning.reverse_scan_stages if whole else 1},
            "gradient_kernel": {
                **shared,
                "C": self.parts * CHUNK,
                "PRECISION": _PRECISION[self._dtype],
                "num_warps": tuning.gradient_warps,
                "maxnreg": tuning.gradient_registers if self._hopper else _REGISTERS,
            },
        }

    def _launch(self, kernel: Any, programs: int, tensors: tuple[Tensor | None, ...]) -> None:
        """Launch with tensors of this plan's types, aligned, in the order of the kernel's first parameters."""
        if programs == 0:
            return
        name = kernel.__name__
        key = (name, *[tensor is None for tensor in tensors])
        known = self._binaries.get(key)
        if known is not None:
            binary, constants = known
            stream = driver.active.get_current_stream(self._device.index)
            options = (binary.function, binary.packed_metadata, None, None, None)
            # Of tensors Triton would ask the driver again where they are.
            addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
            binary.run(programs, 1, 1, stream, *options, *addresses, *constants)
            return
        named: Any = self._options[name]
        binary = kernel[(programs,)](*tensors, **named)
        if _KNOWN_TRITON and isinstance(kernel, triton.JITFunction):
            self._binaries[key] = (binary, [named[parameter] for parameter in kernel.arg_names[len(tensors) :]])


def running_sums(size: int, operand: torch.dtype, device: torch.device) -> Tensor:
    """Tiles of ones and zeros with which the gradients of a block of `size` tokens are summed, flat.

    The rows of the first two stand for the writes of all tokens and for their reads, each stacked twice, the columns
    for the decays that they come after; a token's second read comes before its own decay. The other two are their
    transposes. They are loaded, because a tile that a kernel makes itself passes to its products element by element.
    """
    found = _RUNNING_SUMS.get((size, operand, device))
    if found is None:
        token, row = torch.arange(2 * size, device=device) % size, torch.arange(size, device=device)
        first = torch.arange(2 * size, device=device) < size
        written = token[:, None] >= row
        read = torch.where(first, token, token - 1)[:, None] >= row
        found = torch.stack([x.flatten() for x in (written, read, written.T, read.T)]).to(operand)
        # What is computed while a CUDA graph is captured exists only when the graph runs.
        if not (found.is_cuda and torch.cuda.is_current_stream_capturing()):
            if found.is_cuda:  # Other streams read it, too.
                torch.cuda.current_stream(device).synchronize()
            _RUNNING_SUMS[size, operand, device] = found
    return found


def aligned(x: Tensor) -> Tensor:
    """A contiguous tensor at an address that vector loads can take."""
    x = x.contiguous()
    return x if x.data_ptr() % _ALIGNMENT == 0 else x.clone()
