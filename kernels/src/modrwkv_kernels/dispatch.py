"""Which kernel serves a call: the one place that decides it, for every operation, and says why.

An operation has several implementations in order of preference, each with rules. A rule looks at a request and returns
why the implementation cannot serve it, or None. One implementation of every operation serves everything: plain torch,
or for `decode` the model's own forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from modrwkv_kernels.capability import amx_unavailable_reason, native_unavailable_reason, triton_unavailable_reason
from modrwkv_kernels.native import HEAD_SIZES

__all__ = [
    "Dispatch",
    "Request",
    "available_backends",
    "disabled_kernels",
    "explain_dispatch",
    "request_for",
    "select",
    "unavailable_reason",
]


@dataclass(frozen=True)
class Request:
    """What decides which implementation serves a call.

    Args:
        device: Where the tensors are.
        dtype: Element type of the first input.
        head_size: Width of one head.
        chunk_size: Tokens per chunk of the recurrence when the caller asked for a certain number.
        hidden_size: Width of a token.
        tokens: Tokens multiplied at once by a linear layer.
        outputs: Outputs of a linear layer.
        sparse: Whether many inputs of a linear layer are zeros.
        mixed: Whether the inputs have several dtypes.
        grad: Whether autograd must see the call.
    """

    device: torch.device
    dtype: torch.dtype
    head_size: int = 64
    chunk_size: int | None = None
    hidden_size: int = 64
    tokens: int = 1
    outputs: int = 64
    sparse: bool = False
    mixed: bool = False
    grad: bool = False


Rule = Callable[[Request], str | None]


def _compiled(request: Request) -> str | None:
    if request.device.type != "cpu":
        return "it takes tensors in CPU memory"
    return native_unavailable_reason()


def _compiled_recurrence(request: Request) -> str | None:
    # 16-bit inputs are converted.
    return f"it computes in float32, not {request.dtype}" if request.dtype == torch.float64 else None


def _float32(request: Request) -> str | None:
    return "it takes float32 tensors only" if request.mixed or request.dtype != torch.float32 else None


def _no_grad(request: Request) -> str | None:
    return "it has no gradient" if request.grad else None


def _triton(request: Request) -> str | None:
    if request.dtype not in (torch.bfloat16, torch.float16, torch.float32):
        return f"it computes in float32, not {request.dtype}"
    return triton_unavailable_reason(request.device)


def _heads_of(*sizes: int) -> Rule:
    def rule(request: Request) -> str | None:
        return None if request.head_size in sizes else f"it takes heads of {sizes}, not {request.head_size}"

    return rule


def _chunks_of(*sizes: int) -> Rule:
    def rule(request: Request) -> str | None:
        if request.chunk_size is None or request.chunk_size in sizes:
            return None
        return f"it takes chunks of {sizes} tokens, not {request.chunk_size}"

    return rule


def _no_chunks(request: Request) -> str | None:
    if request.chunk_size is None:
        return None
    return f"it computes token by token and has no chunks, but chunk_size={request.chunk_size} was asked for"


def _hidden_multiple_of_16(request: Request) -> str | None:
    return None if request.hidden_size % 16 == 0 else "it takes hidden sizes that are multiples of 16"


def _matrix_multiple_of(block: int) -> Rule:
    def rule(request: Request) -> str | None:
        if request.hidden_size % block == request.outputs % block == 0:
            return None
        return f"it takes matrices whose sides are multiples of {block}"

    return rule


# Numbers of tokens are compared alone and never shown: compilers do not know those that vary.
def _up_to_8_tokens(request: Request) -> str | None:
    return None if 1 <= request.tokens <= 8 else "it takes 1 to 8 tokens"


def _from_32_tokens(request: Request) -> str | None:
    return None if request.tokens >= 32 else "it takes 32 tokens or more"


def _from_64_tokens(request: Request) -> str | None:
    return None if request.tokens >= 64 else "it takes 64 tokens or more"


def _sparse_inputs(request: Request) -> str | None:
    return None if request.sparse else "it takes inputs that the caller declares sparse"


def _amx(request: Request) -> str | None:
    return amx_unavailable_reason()


_STAGE = (_compiled, _float32, _no_grad)
_OPERATIONS: dict[str, dict[str, tuple[Rule, ...]]] = {
    "wkv7": {
        "cpu": (_compiled, _compiled_recurrence, _heads_of(*HEAD_SIZES)),
        "triton": (_heads_of(32, 64), _chunks_of(16, 32), _triton),
        "torch": (),
        "reference": (_no_chunks,),
    },
    "token_shift_mix": {"cpu": (*_STAGE, _hidden_multiple_of_16), "triton": (_triton,), "torch": ()},
    "fused_k_update": {"cpu": (*_STAGE, _heads_of(*HEAD_SIZES)), "triton": (_triton,), "torch": ()},
    "gate_output": {"cpu": (*_STAGE, _heads_of(*HEAD_SIZES)), "triton": (_triton,), "torch": ()},
    "relu_squared": {"triton": (_triton,), "torch": ()},
    "linear_cross_entropy": {"triton": (_triton,), "torch": ()},
    "linear": {
        "few": (*_STAGE, _up_to_8_tokens, _matrix_multiple_of(32)),
        "amx": (*_STAGE, _amx, _from_32_tokens, _matrix_multiple_of(32)),
        "sparse": (*_STAGE, _sparse_inputs, _from_64_tokens, _matrix_multiple_of(16)),
        "torch": (),
    },
    "decode": {
        "cpu": (_compiled, _compiled_recurrence, _heads_of(*HEAD_SIZES)),
        "triton": (_heads_of(32, 64), _triton),
        "forward": (),
    },
}
_disabled: set[str] = set()


@dataclass(frozen=True)
class Dispatch:
    """The outcome of a choice.

    Args:
        chosen: Name of the implementation that serves the call.
        reasons: For every implementation, in order of preference, None when it can serve the call, or why it cannot.
    """

    chosen: str
    reasons: dict[str, str | None]

    def __str__(self) -> str:
        lines = [
            f"{'*' if name == self.chosen else ' '} {name:<10} "
            f"{'available' if reason is None else f'unavailable: {reason}'}"
            for name, reason in self.reasons.items()
        ]
        return "\n".join(lines)


def unavailable_reason(operation: str, backend: str, request: Request) -> str | None:
    """Why an implementation of an operation cannot serve a request, or None when it can."""
    if backend in _disabled:
        return "it is disabled by `disabled_kernels`"
    for rule in _OPERATIONS[operation][backend]:
        reason = rule(request)
        if reason is not None:
            return reason
    return None


def select(operation: str, request: Request, backend: str = "auto") -> str:
    """Name of the implementation that serves a request.

    Raises:
        ValueError: The named implementation does not exist or cannot serve the request.
    """
    names = _OPERATIONS[operation]
    if backend == "auto":
        return next(name for name in names if unavailable_reason(operation, name, request) is None)
    if backend not in names:
        listed = ", ".join(repr(name) for name in names)
        raise ValueError(f"there is no backend {backend!r}; choose 'auto' or one of {listed}")
    reason = unavailable_reason(operation, backend, request)
    if reason is not None:
        raise ValueError(f"backend {backend!r} is unavailable here: {reason}")
    return backend


def request_for(
    first: Tensor, *others: Tensor | None, head_size: int = 64, tokens: int = 1, outputs: int = 64, sparse: bool = False
) -> Request:
    """The request of a call with these tensors, the first of which is `[..., hidden]`."""
    given = [first, *(x for x in others if x is not None)]
    return Request(
        first.device,
        first.dtype,
        head_size=head_size,
        hidden_size=first.shape[-1],
        tokens=tokens,
        outputs=outputs,
        sparse=sparse,
        mixed=any(x.dtype != first.dtype for x in given),
        grad=torch.is_grad_enabled() and any(x.requires_grad for x in given),
    )


def explain_dispatch(
    backend: str = "auto",
    *,
    operation: str = "wkv7",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    head_size: int = 64,
    chunk_size: int | None = None,
) -> Dispatch:
    """Say which implementation would serve a call and why each of the others could not.

    Args:
        backend: ``"auto"`` or the name of an implementation.
        operation: `wkv7`, one of the functions around it, or `decode`.
        device: Where the tensors are.
        dtype: Element type of the inputs.
        head_size: Width of one head.
        chunk_size: As for :func:`modrwkv_kernels.wkv7`.

    Raises:
        ValueError: There is no such operation, or the named implementation does not exist or cannot serve the call.
    """
    if operation not in _OPERATIONS:
        raise ValueError(f"there is no operation {operation!r}; choose one of {', '.join(_OPERATIONS)}")
    request = Request(torch.device(device), dtype, head_size, chunk_size)
    reasons = {name: unavailable_reason(operation, name, request) for name in _OPERATIONS[operation]}
    return Dispatch(select(operation, request, backend), reasons)


def available_backends(device: torch.device | str = "cpu") -> tuple[str, ...]:
    """Names of the `wkv7` backends for float32 calls on a device, in the order in which "auto" prefers them."""
    return tuple(name for name, reason in explain_dispatch(device=device).reasons.items() if reason is None)


@contextmanager
def disabled_kernels(*names: str) -> Iterator[None]:
    """Leave implementations out of the choice within a `with` block, to measure or test the others.

    Args:
        names: Such as ``"triton"``, for all operations; not those that serve everything.
    """
    added = set(names) - _disabled
    _disabled.update(added)
    try:
        yield
    finally:
        _disabled.difference_update(added)
