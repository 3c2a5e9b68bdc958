"""What ``plugins new`` can write. Imports nothing heavy: the command line offers these kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["SCAFFOLDS", "Scaffold"]


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What the templates in the folder of its name begin with.

    Attributes:
        label: What prose calls the kind.
        summary: One line for listings.
        requires: Distributions that the code imports, besides modrwkv.
        kind: The kind that it registers, where another scaffold has that name.
    """

    label: str
    summary: str
    requires: tuple[str, ...] = ("torch>=2.6",)
    kind: str | None = None


SCAFFOLDS: Final[dict[str, Scaffold]] = {
    "encoder": Scaffold("encoder", "one vector for each stretch of a signal", ("numpy>=1.26", "torch>=2.6")),
    "compressor": Scaffold("compressor", "the mean of neighbouring features, through a linear layer"),
    "adapter": Scaffold("adapter", "two linear layers"),
    "backbone": Scaffold(
        "backbone",
        "gated linear recurrences with a state of one vector a layer",
        ("modrwkv-kernels", "safetensors>=0.4", "torch>=2.6"),
    ),
    "head": Scaffold("head", "one number for a signal"),
    "transcript_head": Scaffold("transcript head", "the words of a medium, by a linear layer and CTC", kind="head"),
    "tokenizer": Scaffold("tokenizer", "a table of characters, and bytes for all others", ()),
    "source": Scaffold("source", "questions and answers in JSON Lines", ()),
    "task": Scaffold("task", "answers to questions, in words", ()),
    "metric": Scaffold("metric", "F1 of the words that two texts share", ()),
    "optimizer": Scaffold("optimizer", "stochastic gradient descent with momentum"),
    "scheduler": Scaffold("scheduler", "a straight line down", ()),
    "finetuning": Scaffold("fine-tuning method", "biases alone learn", ()),
    "augmentation": Scaffold("augmentation", "a stretch of each signal set to zero", ("numpy>=1.26",)),
    "modality": Scaffold("modality", "measurements over time", ("numpy>=1.26",)),
    "logger": Scaffold("logger", "a line of text for each event of a run", ()),
    "command": Scaffold("command", "print the latest metrics of a run", ("click>=8.1",)),
    "preset": Scaffold("preset", "a small backbone and two phases", ()),
}
"""By kind: those of :data:`modrwkv_core.plugin.KINDS`, a second sort of heads, and what else a plugin registers."""
