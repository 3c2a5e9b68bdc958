"""The command of lm-evaluation-harness with the model ``modrwkv``.

Releases of the harness up to 0.4.13 do not look for models of installed packages. Later ones do, so that ``lm_eval``
itself knows the model, by the same entry point.
"""

from __future__ import annotations

import lm_eval.models  # noqa: F401  # registers the harness's own models; it does so only once
from lm_eval.__main__ import cli_evaluate
from lm_eval.api.registry import model_registry

if __name__ == "__main__":
    if "modrwkv" not in model_registry:
        model_registry.register("modrwkv", target="modrwkv_eval.language_model:ModRWKVLM")
    cli_evaluate()
