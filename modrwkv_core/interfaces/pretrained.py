"""Pretrained checkpoints: Hugging Face model ids, local folders in the same layout, single weight files.

Encoders read sizes from a checkpoint's configuration files and weights from its tensors; this module finds both and
loads tensors strictly. Torch, safetensors and huggingface_hub are imported inside the functions that need them, so that
configuration classes may use this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modrwkv_core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["load_strictly", "load_tensors", "published_file", "published_json", "weight_files"]

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def published_file(reference: str, *names: str) -> Path | None:
    """Find the first file of ``names`` that a checkpoint has.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file (then its folder is searched).
        names: File names in order of preference. Of a model id, what the local cache holds is preferred to what would
            have to be downloaded.

    Returns:
        The file's path, or None if the checkpoint has none of them.

    Raises:
        CheckpointError: There is no such checkpoint, or the hub cannot be reached.
    """
    path = Path(reference)
    if path.is_file():
        path = path.parent
    if path.is_dir():
        return next((path / name for name in names if (path / name).is_file()), None)
    if path.is_absolute():
        raise CheckpointError(f"checkpoint {reference} does not exist")
    return _hub_file(reference, names)


def published_json(reference: str, *names: str) -> dict[str, Any]:
    """Read the first JSON file of ``names`` that a checkpoint has.

    Raises:
        CheckpointError: There is none, or it does not hold a JSON object.
    """
    file = published_file(reference, *names)
    if file is None:
        raise CheckpointError(f"checkpoint {reference} has no {' or '.join(names)}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is damaged: it does not hold a JSON object")
    return content


def load_tensors(reference: str, ignore: Sequence[str] = ()) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint: safetensors or PyTorch's format, in one file or in shards.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file.
        ignore: Names that are left out, with shell wildcards (``text_model.*``).

    Returns:
        Tensors by name, on the CPU, in the checkpoint's dtype.

    Raises:
        CheckpointError: Weights are missing or damaged.
    """
    from modrwkv_core.tensors import read_tensors

    tensors: dict[str, Tensor] = {}
    for file in weight_files(reference):
        tensors |= read_tensors(file, ignore=ignore)
    return tensors


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], reference: str) -> None:
    """Load ``tensors`` into ``module`` if they are exactly those that it has.

    Args:
        module: Receives them; its device and dtype stay as they are.
        tensors: By the names of the module's state dict.
        reference: Where they come from, for the message.

    Raises:
        CheckpointError: Tensors are missing, unexpected or of another shape; nothing has been loaded then.
    """
    from modrwkv_core.tensors import load_state_dict

    hint = "check that the manifest names the right checkpoint and gives no sizes that contradict it"
    load_state_dict(module, tensors, f"checkpoint {reference}", hint=hint)


def _hub_file(repository: str, names: Sequence[str]) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for cached in (True, False):
        for name in names:
            try:
                return Path(hf_hub_download(repository, name, local_files_only=cached))
            except LocalEntryNotFoundError as error:
                if not cached:
                    raise CheckpointError(
                        f"{' or '.join(names)} of {repository} is not in the local cache and the hub cannot be reached",
                        hint=f"run `hf download {repository}` where there is a network, or name a local folder "
                        "(a path that does not begin with . / or ~ must exist to be taken for one)",
                    ) from error
            except EntryNotFoundError:
                continue
            except (HFValidationError, HfHubHTTPError, OSError) as error:
                raise CheckpointError(
                    f"{repository} is neither a local path nor a model that the hub gives us: {error}",
                    hint="check the spelling; a gated model needs `hf auth login`",
                ) from error
    return None


def weight_files(reference: str) -> list[Path]:
    """Find the files that hold a checkpoint's tensors, all shards of them.

    Raises:
        CheckpointError: There are none, or a shard is missing.
    """
    path = Path(reference)
    file = path if path.is_file() else published_file(reference, *_WEIGHTS)
    if file is None:
        raise CheckpointError(f"checkpoint {reference} has no weights: none of {', '.join(_WEIGHTS)}")
    if file.suffix != ".json":
        return [file]
    names = sorted(set(published_json(reference, file.name).get("weight_map", {}).values()))
    shards = {name: published_file(reference, name) for name in names}
    absent = [name for name, shard in shards.items() if shard is None]
    if absent or not names:
        raise CheckpointError(f"checkpoint {reference} is incomplete: {', '.join(absent) or 'its index names no file'}")
    return [shard for shard in shards.values() if shard is not None]
