"""The encoder half of Whisper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers.models.whisper import modeling_whisper

from modrwkv_core.interfaces.pretrained import load_strictly, load_tensors
from modrwkv_core.interfaces.pretrained_encoder import PretrainedEncoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_whisper.config import WhisperConfig
from modrwkv_whisper.ctranslate2_layout import find_ctranslate2, read_encoder

__all__ = ["WhisperEncoder"]

POSITIONS: Final = "embed_positions.weight"


class WhisperEncoder(PretrainedEncoder[WhisperConfig]):
    """Recordings to one vector for every 20 ms.

    The windows of all recordings go through the transformer as one batch. All are of full length and none sees another,
    so nothing is masked.

    Source: Radford et al., Whisper, arXiv 2212.04356, section 2.2.
    """

    prefixes = ("model.encoder.", "encoder.")
    unused = ("model.decoder.*", "decoder.*", "proj_out.weight")

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.model: Any = modeling_whisper.WhisperEncoder(
            transformers.WhisperConfig(
                num_mel_bins=config.mel_bins,
                max_source_positions=config.window,
                d_model=config.hidden_size,
                encoder_layers=config.num_layers,
                encoder_attention_heads=config.num_heads,
                encoder_ffn_dim=config.intermediate_size,
                dropout=config.dropout,
                attention_dropout=config.dropout,
                activation_dropout=config.dropout,
                encoder_layerdrop=0.0,
            )
        ).requires_grad_(True)

    def load_pretrained(self) -> None:
        """Load the checkpoint that the configuration names, if any, in the layout of transformers or CTranslate2.

        Of its positions, those of the configuration's window are taken.

        Raises:
            CheckpointError: Tensors are missing, unexpected or of another shape; nothing has been loaded then.
        """
        checkpoint = self.config.checkpoint
        if checkpoint is None:
            return
        file = self._ctranslate2_file()
        tensors = load_tensors(checkpoint, self.own_names) if file is None else read_encoder(file)
        if POSITIONS in tensors:
            tensors[POSITIONS] = tensors[POSITIONS][: self.config.window]
        load_strictly(self.network(), tensors, checkpoint if file is None else str(file))

    def pretrained_files(self) -> tuple[Path, ...]:
        """Return the checkpoint's weight files."""
        file = self._ctranslate2_file()
        return super().pretrained_files() if file is None else (file,)

    def _ctranslate2_file(self) -> Path | None:
        return None if self.config.checkpoint is None else find_ctranslate2(self.config.checkpoint)

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode recordings: ``values [N, features of the longest, hidden_size]``."""
        windows = [self._windows(item.tensors["mel"]) for item in items]
        encoded = self.model(torch.cat(windows).to(self.model.dtype)).last_hidden_state
        features = [part.flatten(0, 1) for part in encoded.split([len(part) for part in windows])]
        lengths = [self.config.out_length(item.length) for item in items]
        trimmed = [part[:length] for part, length in zip(features, lengths, strict=True)]
        return Features(pad_sequence(trimmed, batch_first=True), torch.tensor(lengths))

    def _windows(self, mel: Tensor) -> Tensor:
        """Cut ``mel [mel bins, frames]`` to ``[windows, mel bins, frames of a window]``; the last frame fills up."""
        frames = 2 * self.config.window
        filled = functional.pad(mel, (0, -mel.shape[1] % frames), mode="replicate")
        return filled.reshape(len(mel), -1, frames).transpose(0, 1)
