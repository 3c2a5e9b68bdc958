"""Which model the names of a checkpoint's tensors belong to. Never imports torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from modrwkv_core.errors import CheckpointError

__all__ = ["check_names", "is_fla"]

_ADAPTER: Final = re.compile(r"(^|[._])lora_[A-Za-z]")
_FORMER: Final = re.compile(r"\.(time_maa_|time_mix_|time_faaaa|time_decay|time_first)")
_OTHER: Final = re.compile(r"\.(self_attn|attention\.query|c_attn|q_proj|mixer)\.")


def is_fla(names: Iterable[str]) -> bool:
    """Return whether the names are those of flash-linear-attention."""
    return any(name.startswith("model.layers.") for name in names)


def check_names(names: Iterable[str], source: object) -> None:
    """Refuse a checkpoint whose names show that it holds something else than an RWKV-7.

    Args:
        names: Those of its tensors.
        source: Where it comes from, for the message.

    Raises:
        CheckpointError: The message says what it holds.
    """
    names = sorted(names)
    adapters = [name for name in names if _ADAPTER.search(name)]
    if adapters:
        raise _foreign(
            source,
            f"{len(adapters)} tensors of a LoRA adapter, such as {adapters[0]}",
            "merge the adapter into its base model with the program that trained it",
        )
    official = "give an official RWKV-7 (x070) checkpoint"
    former = next((name for name in names if _FORMER.search(name)), None)
    if former is not None:
        raise _foreign(source, f"an RWKV-6 or older model: it has {former}", official)
    other = next((name for name in names if _OTHER.search(name) and ".attn." not in name), None)
    if other is not None:
        raise _foreign(source, f"another kind of model: it has {other}", official)


def _foreign(source: object, what: str, hint: str) -> CheckpointError:
    return CheckpointError(f"{source} does not hold an RWKV-7 but {what}", component="backbone/rwkv7", hint=hint)
