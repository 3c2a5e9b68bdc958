"""What a manifest may say about ``hf_audio``."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from modrwkv_core.interfaces.pretrained_config import from_checkpoint
from modrwkv_core.interfaces.waveform_config import WaveformEncoderConfig
from modrwkv_hf_audio.pretrained import CONFIG_FILES, KNOWN_CHECKPOINTS

__all__ = ["HFAudioConfig"]


class HFAudioConfig(WaveformEncoderConfig):
    """Features of a recording, one for each stride of the convolutions (20 ms): the last layer of a speech tower.

    The towers are those of transformers with the architecture of wav2vec 2.0: wav2vec 2.0 itself, XLS-R and MMS,
    HuBERT, and data2vec. WavLM has an encoder of its own, ``wavlm``.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. Sizes that are not given are read from the
    checkpoint, or from scratch are those of ``facebook/hubert-base-ls960``. A valid configuration holds all of them, so
    a run no longer needs the checkpoint.

    Source: Baevski et al., wav2vec 2.0, arXiv 2006.11477; Hsu et al., HuBERT, arXiv 2106.07447; Baevski et al.,
    data2vec, arXiv 2202.03555; Pratap et al., MMS, arXiv 2305.13516.
    """

    type: Literal["hf_audio"] = "hf_audio"

    default_checkpoint: ClassVar = "facebook/hubert-base-ls960"
    known_checkpoints: ClassVar = KNOWN_CHECKPOINTS
    config_files: ClassVar = CONFIG_FILES
    other_types: ClassVar = {
        "wavlm": "wavlm",
        "whisper": "whisper",
        "microsoft/wavlm-base": "wavlm",
        "microsoft/wavlm-base-plus": "wavlm",
        "microsoft/wavlm-large": "wavlm",
    }

    architecture: Literal["wav2vec2", "hubert", "data2vec-audio"] = from_checkpoint()
    """The tower by the ``model_type`` of transformers; XLS-R and MMS are ``wav2vec2``."""

    position_layers: int = from_checkpoint(gt=0)
    """Convolutions that encode positions, one after the other; more than one in ``data2vec-audio`` only."""

    projection_norm: bool = from_checkpoint()
    """Normalize what the convolutions give before it is projected; only some of ``hubert`` do not."""

    adapter_dim: int = from_checkpoint(ge=0)
    """Hidden dimension of the adapter behind each layer, as in MMS models for recognition; 0 for no adapters."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        data2vec = self.architecture == "data2vec-audio"
        if data2vec and (self.conv_norm != "layer" or self.norm_first):
            raise ValueError("architecture data2vec-audio has conv_norm: layer and norm_first: false only")
        if self.position_layers > 1 and not data2vec:
            raise ValueError(f"architecture {self.architecture} has one convolution for positions: position_layers: 1")
        if not self.projection_norm and self.architecture != "hubert":
            raise ValueError(f"architecture {self.architecture} has projection_norm: true only")
        if self.adapter_dim and not (self.architecture == "wav2vec2" and self.norm_first):
            raise ValueError("adapter_dim needs architecture: wav2vec2 and norm_first: true")
        return self
