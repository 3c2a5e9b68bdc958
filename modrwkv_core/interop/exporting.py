"""A run's backbone for other inference engines: what they can run of it, and what they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modrwkv_core.data.templates import TEMPLATES
from modrwkv_core.errors import CheckpointError
from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.interop.backbone import backbone_of_run, sizes_of, write_backbone
from modrwkv_core.interop.gguf import OutType, write_gguf
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.model.build import build
from modrwkv_core.model.run import RunFolder, load_run_manifest

__all__ = ["Engine", "Exported", "export_run"]

Engine = Literal["gguf", "hf"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        summary: One line about the model.
        left_out: What the run has and the target has not, each with what follows from that.
    """

    summary: str
    left_out: tuple[str, ...]


def export_run(
    run: Path, target: Path, engine: Engine, *, checkpoint: str = "last", out_type: OutType = "auto"
) -> Exported:
    """Write the language model of a run for another engine.

    Args:
        run: The run's folder. What fine-tuning added to the backbone is merged into its weights.
        target: A ``.gguf`` file for llama.cpp (``gguf``), or a folder for transformers with flash-linear-attention
            (``hf``).
        engine: Which.
        checkpoint: See :meth:`~modrwkv_core.model.run.RunFolder.select`.
        out_type: Type of the matrices in a GGUF file; see :func:`~modrwkv_core.interop.gguf.write_gguf`.

    Raises:
        CheckpointError: The run has no checkpoint or no language model, the engine cannot express it, or ``target``
            exists.
        ModRWKVError: The package ``gguf`` is missing.
        WriteError: ``target`` cannot be written.
    """
    folder = RunFolder(run)
    loaded = load_run_manifest(folder)
    if not any(isinstance(head, LanguageModelConfig) for head in loaded.manifest.heads.values()):
        raise CheckpointError(
            f"the model of {run} has no head of type lm, and other engines know no other",
            hint="add one to `heads` in the manifest and train again",
        )
    backbone = backbone_of_run(folder, checkpoint)
    tensors = backbone.weights()
    sizes = sizes_of(tensors, str(run))
    if engine == "gguf":
        tokenizer = build(loaded.registry, "tokenizer", loaded.manifest.tokenizer.type, loaded.manifest.tokenizer)
        template = TEMPLATES[loaded.manifest.chat_template]
        written = write_gguf(tensors, sizes, tokenizer, template, target, out_type, name=loaded.manifest.name)
        form = f"matrices in {written}"
    else:
        write_backbone(tensors, target, "fla")
        form = str(backbone.emb.weight.dtype).removeprefix("torch.")
    millions = sum(tensor.numel() for tensor in tensors.values()) / 1e6
    model = f"RWKV-7, {sizes.num_layers} layers of hidden size {sizes.hidden_size}, {millions:.1f} million parameters"
    return Exported(f"{model}, {form}", tuple(_left_out(loaded, engine, has_state=backbone.initial_state is not None)))


def _left_out(loaded: LoadedManifest, engine: Engine, *, has_state: bool) -> Iterator[str]:
    manifest = loaded.manifest
    for name, pipeline in manifest.modalities.items():
        kinds = ", ".join(kind for kind, _ in pipeline.components())
        yield f"modality {name} ({kinds}): the exported model takes text only"
    for name, head in manifest.heads.items():
        if not isinstance(head, LanguageModelConfig):
            yield f"head {name} ({head.type}): only the next token is predicted"
    if has_state:
        yield "the trained initial state: conversations begin with zeros there, which weakens a state-tuned model"
    if engine == "hf":
        yield "the tokenizer: load it with modrwkv, or from a repository of the Hub that has it"
