"""Which head of a model is asked, where a caller names one or leaves the choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.interfaces.config import ForecastHeadConfig
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["HeadNames"]


class HeadNames:
    """The names of a model's heads by what they can do.

    All methods return the name that the caller gives, or choose one for None.

    Args:
        model: Has the heads.
        run: The run's folder, for errors.
    """

    def __init__(self, model: MultimodalModel, run: Path) -> None:
        self._model = model
        self._run = run

    def token(self, wanted: str | None) -> str:
        """Return the name of a head that predicts tokens; None chooses the only one.

        Raises:
            ModRWKVError: There is none of this name, or not exactly one.
        """
        return self._chosen(list(self._model.token_heads()), "predict tokens", wanted)

    def forecast(self, wanted: str | None) -> str:
        """Return the name of a head that forecasts; None chooses the only one.

        Raises:
            ModRWKVError: There is none of this name, or not exactly one.
        """
        heads = self._model.query_heads().items()
        return self._chosen(
            [name for name, head in heads if isinstance(head.config, ForecastHeadConfig)], "forecast", wanted
        )

    def transcription(self, modality: str, wanted: str | None) -> str:
        """Return the name of a head that transcribes media of a modality.

        None chooses the only transcript head of the modality, or where there is none, the only head that predicts
        tokens.

        Raises:
            ModRWKVError: There is none of this name, or not exactly one.
        """
        heads = self._model.transcript_heads().items()
        transcribing = [name for name, head in heads if head.config.modality == modality]
        talking = list(self._model.token_heads())
        names = [*transcribing, *talking] if wanted is not None else transcribing or talking
        return self._chosen(names, f"transcribe {modality}", wanted)

    def _chosen(self, names: Sequence[str], what: str, wanted: str | None) -> str:
        if wanted is None and len(names) == 1:
            return names[0]
        if wanted is not None and wanted in names:
            return wanted
        if not names:
            raise ModRWKVError(
                f"the model of {self._run} has no heads that {what}; its heads: {', '.join(self._model.heads)}",
                hint="add one to `heads` in the manifest and train again",
            )
        if wanted is None:
            raise ModRWKVError(
                f"the model of {self._run} has several heads that {what}: {', '.join(names)}",
                hint="name one of them, by `--head` or `head=`",
            )
        raise ModRWKVError(
            f"the model of {self._run} has no head {wanted!r} that can {what}", hint=f"name one of: {', '.join(names)}"
        )
