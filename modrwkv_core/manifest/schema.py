"""The manifest: what one file says about a model, its data, its training and its evaluation.

Parts of the model have dotted names (``image.encoder``, ``backbone``, ``heads.lm``). Where parts are listed, each word
of such a name stands for all parts that have it: ``adapter`` for those of all modalities, ``image`` for a whole
pipeline, ``heads`` for all heads.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from modrwkv_core.interfaces.config import AdapterConfig, CompressorConfig, EncoderConfig
from modrwkv_core.interfaces.paths import ManifestPath
from modrwkv_core.manifest.sections import Name, Section, refusal
from modrwkv_core.manifest.unions import (
    AdapterSection,
    AugmentationSection,
    BackboneSection,
    CompressorSection,
    EncoderSection,
    FinetuningSection,
    HeadSection,
    ModalityName,
    OptimizerSection,
    SchedulerSection,
    SourceSection,
    TaskSection,
    TokenizerSection,
)

__all__ = ["VALID_LOSS", "DataSection", "EarlyStopping", "Evaluation", "Manifest", "ModalityConfig", "Phase", "Plugins"]

_BATCH_SIZE = 16
"""Conversations of a batch, unless something else ends it."""

FileName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


VALID_LOSS: Final = "valid_loss"
"""The metric that is the weighted sum of all heads' losses on ``data.valid``."""


def _world() -> Any:
    return {"type": "world"}


def _language_model() -> Any:
    return {"lm": {"type": "lm"}}


def _adamw() -> Any:
    return {"type": "adamw"}


def _cosine() -> Any:
    return {"type": "cosine"}


def _full() -> Any:
    return {"type": "full"}


ModalityComponentKind: TypeAlias = Literal["encoder", "compressor", "adapter"]


class ModalityConfig(Section):
    """The way of one modality's signals into the token stream."""

    encoder: EncoderSection
    """Turns a signal into feature vectors."""

    compressor: CompressorSection | None = None
    """Shortens the sequence of feature vectors; null leaves it as it is."""

    adapter: AdapterSection
    """Maps feature vectors to the hidden size of the backbone."""

    augmentations: tuple[AugmentationSection, ...] = ()
    """Random changes of signals and features in training, in this order; validation, evaluation and inference see the
    data as they are."""

    def components(self) -> Iterator[tuple[ModalityComponentKind, EncoderConfig | CompressorConfig | AdapterConfig]]:
        """Yield the components with their kinds, in the order in which signals pass them."""
        yield "encoder", self.encoder
        if self.compressor is not None:
            yield "compressor", self.compressor
        yield "adapter", self.adapter


class FeatureCacheSection(Section):
    """Where the features of frozen encoders are kept, for later epochs, phases and runs."""

    path: ManifestPath
    """A folder, which any number of runs may share."""

    max_bytes: int = Field(default=50 * 2**30, ge=2**20)
    """Size above which the features that were not used for longest are removed."""


class DataSection(Section):
    """Where conversations come from and how they are batched."""

    train: tuple[SourceSection, ...] = Field(min_length=1)
    """Sources to learn from; a phase may name others."""

    valid: tuple[SourceSection, ...] = ()
    """Sources whose loss is measured at the end of each phase, without learning from them."""

    batch_size: int | None = Field(default=None, ge=1, le=2**20)
    """Most conversations for each optimizer step, packed one after the other. Null: 16, or any number where
    ``max_tokens_per_batch`` ends batches."""

    max_tokens_per_batch: int | None = Field(default=None, ge=1)
    """Most tokens for each optimizer step, with all media. Conversations of like length come together. Their lengths
    are measured before training, once for the same data. Null: any number."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Longest conversation allowed, in tokens with all media; a longer one is an error that names it. Null: any."""

    feature_cache: FeatureCacheSection | None = None
    """Keeps the features of encoders that a phase does not train; media that augmentations change are not kept. Null:
    all features are computed when they are needed."""

    workers: int = Field(default=0, ge=0, le=1024)
    """Processes that decode and tokenize; 0 does it in the training process."""

    on_error: Literal["fail", "skip"] = "fail"
    """What a broken record does in training and validation: ``fail`` saves a checkpoint and stops; ``skip`` warns,
    leaves the record out, counts it in the metrics and names it in ``skipped.jsonl``."""

    max_error_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Share of the records read in a phase that may be broken with ``on_error: skip``; more are an error. It counts
    from 1,000 records on, so that by default 10 are left out before."""


class EarlyStopping(Section):
    """The end of a phase whose validations no longer get better."""

    metric: str = VALID_LOSS
    """What is compared: ``valid_loss``, the weighted sum of all heads' losses on ``data.valid``; ``valid/<head>``; or
    ``modality_gain/<modality>``, of which more is better."""

    patience: int = Field(ge=1)
    """Validations in a row, none of them better than the best one, after which the phase ends."""

    min_delta: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """By how much a validation must be better to count."""


class Phase(Section):
    """One stretch of training: what learns, on which data, how fast and for how long."""

    name: Name
    """Names the phase in logs, checkpoints and overrides (``phases.align.lr=...``)."""

    train: tuple[str, ...] = Field(min_length=1)
    """Parts that learn, for example ``[compressor, image.adapter, backbone]``; all others are frozen."""

    lr: float = Field(gt=0.0, allow_inf_nan=False)
    """Highest learning rate; the scheduler says what fraction of it each step takes."""

    epochs: int | None = Field(default=None, ge=1)
    """Length in passes over the data; either this or ``steps``."""

    steps: int | None = Field(default=None, ge=1)
    """Length in optimizer steps; either this or ``epochs``."""

    batch_size: int | None = Field(default=None, ge=1, le=2**20)
    """Most conversations for each optimizer step; null: as in ``data``."""

    max_tokens_per_batch: int | None = Field(default=None, ge=1)
    """Most tokens for each optimizer step; null: as in ``data``."""

    data: tuple[SourceSection, ...] | None = Field(default=None, min_length=1)
    """Sources of this phase; null: ``data.train``."""

    augment: bool = True
    """Whether the modalities' augmentations apply in this phase."""

    finetuning: FinetuningSection = Field(default_factory=_full, validate_default=True)
    """Which parameters of the parts in ``train`` learn."""

    freeze: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Weights of the parts in ``train`` that stay as they are, as globs of their names behind that of the part, for
    example ``[backbone.emb.*, "image.encoder.*layers.[0-5].*"]``."""

    optimizer: OptimizerSection = Field(default_factory=_adamw, validate_default=True)
    """Turns gradients into steps."""

    scheduler: SchedulerSection = Field(default_factory=_cosine, validate_default=True)
    """The learning rate over the phase."""

    lr_multipliers: dict[str, Annotated[float, Field(ge=0.0, allow_inf_nan=False)]] = Field(default={})
    """Factors of the learning rate, by part; no part may be named twice."""

    max_grad_norm: float | None = Field(default=1.0, gt=0.0)
    """Longest gradient, as the L2 norm over all parts that learn; null: any."""

    ema: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Decay of a moving average of the weights that learn, for example 0.999; the phase ends with the average as its
    weights, which are validated. Null: with the weights of the last step."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward and backward pass. In ``bfloat16`` linear and convolutional layers compute with rounded
    copies of their weights; the optimizer and checkpoints keep float32."""

    eval_every: int | None = Field(default=None, ge=1)
    """Optimizer steps between validations on ``data.valid``; null: only at the phase's end. The checkpoint of the best
    validation is kept."""

    early_stopping: EarlyStopping | None = None
    """When the phase ends before its length; needs ``eval_every``. The weights stay those of the last step; the best
    ones are at hand as ``--checkpoint best``. Null: never."""

    emerge_by: int | None = Field(default=None, ge=1)
    """Optimizer steps after which the next validation warns of modalities that the model does not use; null: only the
    one at the phase's end. Needs ``eval_every``."""

    checkpoint_every: int | None = Field(default=None, ge=1)
    """Optimizer steps between checkpoints; null: only at the phase's end."""

    log_every: int = Field(default=10, ge=1)
    """Optimizer steps between logged metrics."""

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("a phase lasts a number of `epochs` or of `steps`: give exactly one")
        return self

    @model_validator(mode="after")
    def _validates_what_it_waits_for(self) -> Self:
        for key in ("early_stopping", "emerge_by"):
            if getattr(self, key) is not None and self.eval_every is None:
                raise ValueError(f"`{key}` looks at validations between steps: give `eval_every`, too")
        return self


class Parallel(Section):
    """How training uses several devices. The result does not depend on it, but for rounding."""

    strategy: Literal["replicate", "shard"] = "replicate"
    """``replicate``: every device holds the whole model, and gradients are summed. ``shard``: weights, gradients and
    optimizer state are shared out over the devices (FSDP2), for models that do not fit one of them."""

    micro_batch_size: int | None = Field(default=None, ge=1)
    """Conversations that a device computes at once; gradients of the rest of its share of the batch are accumulated.
    Null: its whole share."""

    max_tokens_per_micro_batch: int | None = Field(default=None, ge=1)
    """Most tokens that a device computes at once. Null: its whole share."""


class Evaluation(Section):
    """One task and the data that it asks about."""

    task: TaskSection
    """What is asked and how answers are scored."""

    data: SourceSection
    """Held-out conversations."""

    baseline_data: SourceSection | None = None
    """Training data that the baselines may learn from, with which the model is compared."""


class Plugins(Section):
    """Which of the installed plugins this manifest uses."""

    allow: tuple[str, ...] | None = None
    """Distributions that may be loaded, besides modrwkv itself; null: all that are installed."""

    disable: tuple[str, ...] = ()
    """Distributions that are not loaded."""

    prefer: dict[str, str] = Field(default={})
    """Which distribution provides a name that several claim: ``{encoder/siglip2: modrwkv-siglip2}``."""


class Manifest(Section):
    """One model, its data, its training and its evaluation."""

    modrwkv: Literal[1]
    """Version of the manifest's format."""

    name: FileName
    """Names the run."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of all random numbers: fresh weights, order of the data, augmentations, dropout."""

    data_root: ManifestPath = Field(default=Path(), validate_default=True)
    """Folder that the paths of data are resolved against. In a file it is resolved against the manifest's folder, which
    is also the default; ``MODRWKV_DATA`` and ``data_root=`` on the command line set it from the working directory."""

    tokenizer: TokenizerSection = Field(default_factory=_world, validate_default=True)
    """Turns text into ids."""

    chat_template: Literal["modrwkv", "world", "g1"] = "modrwkv"
    """How the turns of conversations become text: ``modrwkv`` as in the published ModRWKV models, ``world`` as in the
    data of RWKV's language models, ``g1`` the same for models that think before they answer."""

    backbone: BackboneSection
    """The recurrent backbone."""

    modalities: dict[ModalityName, ModalityConfig] = Field(default={})
    """Kinds of signal that the model takes besides text, by name."""

    heads: dict[Name, HeadSection] = Field(default_factory=_language_model, validate_default=True, min_length=1)
    """Kinds of answer that the model gives, by name."""

    data: DataSection
    """Where conversations come from and how they are batched."""

    phases: tuple[Phase, ...] = Field(min_length=1)
    """Training, one phase after the other."""

    parallel: Parallel = Parallel()
    """How training uses several devices."""

    evaluation: dict[Name, Evaluation] = Field(default={})
    """What ``modrwkv evaluate`` evaluates a trained run on, by name."""

    plugins: Plugins = Plugins()
    """Which of the installed plugins this manifest uses."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Dotted names of all parts of the model, in the order in which signals pass them."""
        return (
            *(f"{name}.{kind}" for name, pipeline in self.modalities.items() for kind, _ in pipeline.components()),
            "backbone",
            *(f"heads.{name}" for name in self.heads),
        )

    def select(self, words: Iterable[str]) -> tuple[str, ...]:
        """Return the parts that ``words`` name, in the order of :attr:`parts`."""
        wanted = set(words)
        return tuple(part for part in self.parts if wanted & _words(part))

    def batch_limits(self, phase: Phase) -> tuple[int | None, int | None]:
        """Return the most conversations and the most tokens of a batch in ``phase``; None allows any number."""
        size = phase.batch_size or self.data.batch_size
        tokens = phase.max_tokens_per_batch or self.data.max_tokens_per_batch
        return size if size or tokens else _BATCH_SIZE, tokens

    def longest_conversation(self, phase: Phase) -> int | None:
        """Return the most tokens that a conversation may have in ``phase``; None allows any number."""
        _, tokens = self.batch_limits(phase)
        limits = (self.data.max_tokens, tokens, self.parallel.max_tokens_per_micro_batch)
        return min((limit for limit in limits if limit is not None), default=None)

    def learning_rates(self, phase: Phase) -> dict[str, float]:
        """Return the highest learning rate of each part that learns in ``phase``."""
        rates = {}
        for part in self.select(phase.train):
            factors = [factor for word, factor in phase.lr_multipliers.items() if word in _words(part)]
            assert len(factors) <= 1, "validation refuses a part with two factors"
            rates[part] = phase.lr * factors[0] if factors else phase.lr
        return rates

    def resolved(self) -> Self:
        """Return a copy whose parts hold all that is needed to rebuild them without outside files."""
        modalities = {
            name: pipeline.model_copy(update={kind: config.resolved() for kind, config in pipeline.components()})
            for name, pipeline in self.modalities.items()
        }
        return self.model_copy(
            update={
                "tokenizer": self.tokenizer.resolved(),
                "backbone": self.backbone.resolved(),
                "modalities": modalities,
                "heads": {name: head.resolved() for name, head in self.heads.items()},
            }
        )

    @model_validator(mode="after")
    def _names_what_exists(self) -> Self:
        names = [phase.name for phase in self.phases]
        problems = [
            refusal(("phases", index, "name"), name, f"two phases are called '{name}'", "give each a name of its own")
            for index, name in enumerate(names)
            if name in names[:index]
        ]
        for index, phase in enumerate(self.phases):
            problems += self._problems_of_parts(phase, ("phases", index))
            problems += self._problems_of_early_stopping(phase, ("phases", index, "early_stopping"))
        if problems:
            raise ValidationError.from_exception_data("Manifest", problems)
        return self

    def _problems_of_parts(self, phase: Phase, path: tuple[str, int]) -> Iterator[InitErrorDetails]:
        for position, word in enumerate(phase.train):
            if not self.select([word]):
                problem = f"the model has no part '{word}'"
                yield refusal((*path, "train", position), word, problem, self._nearest_part(word))
        trained = self.select(phase.train)
        scaled: set[str] = set()
        for word in phase.lr_multipliers:
            parts = set(self.select([word])) & set(trained)
            if not parts:
                hint = f"what learns: {', '.join(trained)}"
                yield refusal((*path, "lr_multipliers", word), word, f"'{word}' does not learn in this phase", hint)
            for part in sorted(parts & scaled):
                hint = "name each part once, for example by its dotted name"
                yield refusal((*path, "lr_multipliers", word), word, f"'{part}' has two factors", hint)
            scaled |= parts

    def _problems_of_early_stopping(self, phase: Phase, path: tuple[str, int, str]) -> Iterator[InitErrorDetails]:
        if (section := phase.early_stopping) is None:
            return
        if not self.data.valid:
            yield refusal(path, section, "there is nothing to validate on", "add `data.valid`")
        known = [VALID_LOSS, *(f"valid/{name}" for name in self.heads)]
        known += [f"modality_gain/{name}" for name in self.modalities]
        if section.metric not in known:
            problem = f"no validation measures '{section.metric}'"
            yield refusal((*path, "metric"), section.metric, problem, f"it measures {', '.join(known)}")

    def _nearest_part(self, word: str) -> str:
        close = difflib.get_close_matches(word, sorted(set().union(*map(_words, self.parts))), n=1)
        return f"did you mean '{close[0]}'?" if close else f"its parts: {', '.join(self.parts)}"


def _words(part: str) -> set[str]:
    return {part, *part.split(".")}
