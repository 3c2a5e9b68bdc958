"""AISHELL-1 for lmms-eval: Mandarin speech, scored by the characters.

Source: Bu et al., AISHELL-1: An Open-Source Mandarin Speech Corpus and A Speech Recognition Baseline, O-COCOSDA 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import datasets
from lmms_eval.tasks.librispeech.utils import compute_wer, remove_sp

_RECORDINGS: Final = Path("data_aishell/wav/test")
_LANGUAGE: Final = "zh"


def aishell1_process_docs(dataset: datasets.Dataset) -> datasets.Dataset:
    """Return the test set: of the transcripts of all sets, those whose recordings are in its folder."""

    def document(line: Mapping[str, str]) -> dict[str, str]:
        # A line is "BAC009S0764W0121 words and words"; the speaker is S0764.
        name, _, words = line["text"].partition(" ")
        return {"id": name, "gt": words.strip(), "audio": str(_RECORDINGS / name[6:11] / f"{name}.wav")}

    documents = dataset.map(document, remove_columns=["text"])
    return documents.filter(lambda one: Path(one["audio"]).is_file())


def aishell1_doc_to_audio(doc: Mapping[str, Any]) -> list[str]:
    """Return the recording's path."""
    return [doc["audio"]]


def aishell1_doc_to_text(doc: Mapping[str, Any], lmms_eval_specific_kwargs: Mapping[str, str]) -> str:
    """Ask in Mandarin what lmms-eval's task of LibriSpeech asks in English."""
    words = "请识别这段语音,只输出识别的内容:"
    return f"{lmms_eval_specific_kwargs['pre_prompt']}{words}{lmms_eval_specific_kwargs['post_prompt']}"


def aishell1_process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the true transcript and the predicted one."""
    return {"cer": (doc["gt"], results[0])}


def aishell1_cer(results: Sequence[tuple[str, str]]) -> float:
    """Return the character errors per cent, over all recordings together, normalized as lmms-eval does Chinese."""
    truths, predictions = zip(*results, strict=True)
    without_spaces = [[remove_sp(text, _LANGUAGE) for text in texts] for texts in (truths, predictions)]
    return 100 * float(compute_wer(*without_spaces, _LANGUAGE))
