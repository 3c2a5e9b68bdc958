"""How lmms-eval finds the model by the name ``modrwkv``; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest

__all__ = ["lmms_eval_manifest"]

_MODULE: Final = "modrwkv_eval.multimodal_model"


def lmms_eval_manifest() -> ModelManifest:
    """Return what lmms-eval registers: a class for conversations and, for ``--force_simple``, one for prompts."""
    # The harness's package of models, when it is imported, calls this function.
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="modrwkv", chat_class_path=f"{_MODULE}.ModRWKVChat", simple_class_path=f"{_MODULE}.ModRWKVSimple"
    )
