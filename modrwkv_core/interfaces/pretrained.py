"""Pretrained checkpoints: Hugging Face model ids, local folders in the same layout, single weight files.

Encoders read sizes from a checkpoint's configuration files and weights from its tensors; this module finds both. It
imports torch only to read tensors, so that configuration classes may use it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from modrwkv_core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["checkpoint_file", "checkpoint_json", "load_strictly", "load_tensors", "weight_files"]

_WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".bin")
_MAX_JSON_BYTES: Final = 64 * 2**20


def checkpoint_file(reference: str, *names: str) -> Path | None:
    """Find the first file of ``names`` that a checkpoint has.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file (then its folder is searched).
        names: File names in order of preference. For a model id, files in the local cache are preferred to files that
            must be downloaded.

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
        raise CheckpointError(f"checkpoint {reference} does not exist", hint="check the path")
    return _hub_file(reference, names)


def checkpoint_json(reference: str, *names: str) -> dict[str, Any]:
    """Read the first JSON file of ``names`` that a checkpoint has.

    Raises:
        CheckpointError: There is none, or it does not hold a JSON object.
    """
    file = checkpoint_file(reference, *names)
    if file is None:
        raise CheckpointError(
            f"checkpoint {reference} has no {' or '.join(names)}", hint="copy the file beside the weights"
        )
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise CheckpointError(f"{file} is too large for a configuration", hint="check that it is the right file")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{file} is damaged: {error}", hint="fetch the file again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is damaged: it does not hold a JSON object", hint="fetch the file again")
    return content


def weight_files(reference: str) -> list[Path]:
    """Find the files that hold a checkpoint's tensors: a single one, or all shards.

    Raises:
        CheckpointError: There are none, or a shard is missing.
    """
    path = Path(reference)
    if path.suffix in _SUFFIXES and not path.exists():
        raise CheckpointError(f"there is no checkpoint {reference}", hint="check the path; nothing is downloaded")
    file = path if path.is_file() else checkpoint_file(reference, *_WEIGHTS)
    if file is None:
        raise CheckpointError(
            f"checkpoint {reference} has no weights: none of {', '.join(_WEIGHTS)}",
            hint="name the weight file itself if it has another name",
        )
    if file.suffix != ".json":
        return [file]
    index = checkpoint_json(reference if not path.is_file() else str(path.parent), file.name).get("weight_map")
    if not isinstance(index, dict) or not index or not all(_is_file_name(name) for name in index.values()):
        raise CheckpointError(
            f"{file} is damaged: its weight_map is not a mapping to file names", hint="fetch it again"
        )
    names = sorted(set(index.values()))
    shards = {name: checkpoint_file(reference, name) for name in names}
    absent = [name for name, shard in shards.items() if shard is None]
    if absent:
        raise CheckpointError(
            f"checkpoint {reference} is incomplete: {', '.join(absent)} is missing", hint="fetch the missing files"
        )
    return [shard for shard in shards.values() if shard is not None]


def load_tensors(
    reference: str, choose: Callable[[Collection[str]], Mapping[str, str]] | None = None
) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint: safetensors or PyTorch's format, in one file or in shards.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file.
        choose: Receives all names of the checkpoint and returns the names to read, each with a new name. By default all
            tensors are read.

    Returns:
        Tensors by name, on the CPU, in the checkpoint's dtype. What wrappers add to names (``module.``, ``_orig_mod.``)
        is removed.

    Raises:
        CheckpointError: Weights are missing or damaged.
    """
    from modrwkv_core.storage.tensor_shapes import read_shapes, unwrapped_names
    from modrwkv_core.storage.tensors import read_tensors

    files = {file: read_shapes(file).keys() for file in weight_files(reference)}
    plain = unwrapped_names([name for names in files.values() for name in names], reference)
    chosen = {name: name for name in plain.values()} if choose is None else choose(plain.values())
    twice = sorted(name for name, count in Counter(chosen.values()).items() if count > 1)
    if twice:
        raise CheckpointError(
            f"checkpoint {reference} holds {len(twice)} tensors twice under different prefixes, such as {twice[0]}",
            hint="name a checkpoint of one model",
        )
    tensors: dict[str, Tensor] = {}
    for file, names in files.items():
        wanted = [name for name in names if plain[name] in chosen]
        if wanted:
            tensors |= {chosen[plain[name]]: tensor for name, tensor in read_tensors(file, wanted).items()}
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
    from modrwkv_core.storage.tensors import load_state_dict

    hint = "check that the manifest names the right checkpoint and gives no sizes that contradict it"
    load_state_dict(module, tensors, f"checkpoint {reference}", hint=hint)


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and PurePosixPath(name).name == name and "\0" not in name


def _hub_file(repository: str, names: tuple[str, ...]) -> Path | None:
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
