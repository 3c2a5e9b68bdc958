"""Configuration classes: what a manifest may say about a component, and what can be computed without weights.

Every component has one configuration class, a frozen pydantic model that refuses unknown keys. It answers the
questions of the wiring check (widths and lengths) from configuration alone, so that a pipeline that cannot work is
refused before anything heavy is imported. This module never imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
)

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.grids import Grid, GridLength, grids_of
from modrwkv_core.interfaces.reading_order import ReadingOrder, reading_order
from modrwkv_core.interfaces.sections import ComponentSection

__all__ = [
    "AdapterConfig",
    "AugmentationConfig",
    "BackboneConfig",
    "ComponentConfig",
    "CompressorConfig",
    "EncoderConfig",
    "FinetuningConfig",
    "ForecastHeadConfig",
    "GridCompressorConfig",
    "HeadConfig",
    "MetricConfig",
    "Metrics",
    "OptimizerConfig",
    "QueryHeadConfig",
    "SchedulerConfig",
    "SourceConfig",
    "TaskConfig",
    "TokenHeadConfig",
    "TokenizerConfig",
    "TranscriptHeadConfig",
    "build_sections",
    "encoder_sections",
]


class ComponentConfig(BaseModel):
    """Base of all configuration classes. A subclass narrows ``type`` to ``Literal["its-name"]`` with that default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    type: str

    def resolved(self) -> Self:
        """Return a copy that holds all that is needed to rebuild the component without outside files.

        A component that reads sizes from a pretrained checkpoint fills them in here; the run's manifest records the
        result, so that a run loads where the checkpoint is absent.
        """
        return self

    @classmethod
    def known_models(cls) -> Sequence[str]:
        """Return the names of the models that the component knows, for ``modrwkv plugins info NAME --list``."""
        return ()


class EncoderConfig(ComponentConfig, ABC):
    """Configuration of an encoder: media items to feature vectors."""

    @property
    @abstractmethod
    def out_dim(self) -> int:
        """Width of a feature vector."""

    @abstractmethod
    def out_length(self, length: int) -> int:
        """Number of feature vectors for an item of ``length`` (the unit is that of the processor's ``MediaItem``).

        A :class:`~modrwkv_core.interfaces.grids.GridLength` if the vectors form grids of rows and columns.
        """

    @property
    def typical_length(self) -> int | None:
        """Length of an ordinary item, for the wiring check and its examples; None if items have no usual length.

        If features form grids, those of this length must, too: compressors of grids are refused otherwise.
        """
        return None

    @property
    def fixed_length(self) -> int | None:
        """Length of every item, if the processor brings all signals to one size; None if it depends on the signal.

        Lengths of records are then known without decoding their media.
        """
        return None

    @property
    def other_modalities(self) -> Sequence[str]:
        """Modalities of the media that the processor's ``parts`` holds beside its own; the manifest must have them."""
        return ()


def encoder_sections(config: EncoderConfig) -> dict[str, EncoderConfig | Mapping[str, EncoderConfig]]:
    """Return the configurations of the encoders that one is made of, by the names of its fields.

    A field holds one, or several by names of the manifest's choice.
    """
    return {
        name: value
        for name, value in config
        if isinstance(value, EncoderConfig)
        or (isinstance(value, Mapping) and value and all(isinstance(each, EncoderConfig) for each in value.values()))
    }


def build_sections(config: EncoderConfig, build: Callable[[EncoderConfig], Any]) -> dict[str, Any]:
    """Return what ``build`` makes of each configuration in :func:`encoder_sections`, as constructors receive it."""
    return {
        name: build(section)
        if isinstance(section, EncoderConfig)
        else {key: build(each) for key, each in section.items()}
        for name, section in encoder_sections(config).items()
    }


class CompressorConfig(ComponentConfig, ABC):
    """Configuration of a compressor: a sequence of features to a shorter one."""

    def out_dim(self, in_dim: int) -> int:
        """Width of the compressed features for features of width ``in_dim``."""
        return in_dim

    @abstractmethod
    def out_length(self, length: int) -> int:
        """Number of compressed features for ``length`` features; 0 if the sequence is too short."""


class GridCompressorConfig(CompressorConfig, ABC):
    """Configuration of a compressor that works on rows and columns: grids of features to smaller grids."""

    order: ReadingOrder = "rows"
    """How each compressed grid is read: by ``rows``, by ``columns``, as a ``snake`` that turns at the end of each row;
    ``bidirectional`` reads rows, then the same backwards, twice as many vectors; ``cross`` reads rows and columns, then
    both backwards, four times as many."""

    @abstractmethod
    def out_grid(self, grid: Grid) -> Grid:
        """Rows and columns that a grid of features becomes; zeros if it is too small."""

    def out_length(self, length: int) -> int:
        """Number of compressed features for ``length`` features, with their grids if they are read by rows.

        Raises:
            ComponentError: The features form no grids.
        """
        grids = grids_of(length)
        if grids is None and length > 0:
            raise ComponentError(
                f"{length} features have no grid of rows and columns",
                component=f"compressor/{self.type}",
                hint="use an encoder whose features have one, without class tokens, or a compressor that needs none",
            )
        after = [self.out_grid(grid) for grid in grids or ()]
        if self.order == "rows":
            return GridLength(*after)
        return sum(len(reading_order(self.order, grid)) for grid in after)


class AdapterConfig(ComponentConfig, ABC):
    """Configuration of an adapter: features to vectors of the backbone's hidden size."""

    def out_length(self, length: int) -> int:
        """Number of vectors for ``length`` features."""
        return length


class BackboneConfig(ComponentConfig, ABC):
    """Configuration of a backbone: the recurrent backbone."""

    @property
    @abstractmethod
    def in_dim(self) -> int:
        """Hidden size of the backbone, which adapters must produce."""

    @property
    @abstractmethod
    def fixed_vocab_size(self) -> int | None:
        """Rows of the embedding that the weights fix; None if the tokenizer decides (from scratch)."""


class HeadConfig(ComponentConfig, ABC):
    """Configuration of a head: hidden vectors to predictions.

    A head's configuration derives from :class:`TokenHeadConfig`, :class:`QueryHeadConfig` or
    :class:`TranscriptHeadConfig`, which say what supervises the head. Models, sources and sessions look heads up by
    that; the names that a manifest gives them are free.
    """

    loss_weight: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    """Factor of this head's loss in the sum that training minimizes."""


class TokenHeadConfig(HeadConfig, ABC):
    """Configuration of a head that predicts the next token, supervised by the words of the assistant's turns."""


class TranscriptHeadConfig(HeadConfig, ABC):
    """Configuration of a head that transcribes media, supervised by the words of the assistant that follow them.

    A medium's words are those before the next medium, of whatever modality.
    """

    modality: str
    """Modality of the media that the head transcribes."""


class QueryHeadConfig(HeadConfig, ABC):
    """Configuration of a head that answers queries about a signal, supervised by the targets of records.

    A subclass gives ``modality`` a default, or narrows it to the ones that the head can be asked about.
    """

    modality: str
    """Modality that the head answers queries about: a query is about the latest signal of it before the query."""

    def prepare(self, signal: Any, target: Any) -> tuple[Any, Any]:
        """Check a query's signal and target and return them as the head uses them.

        Runs in loader workers, where errors still name the record, so check here and not in the head. The result must
        be picklable.

        Args:
            signal: What the modality decoded.
            target: The target as the record gives it; None asks for a prediction.

        Raises:
            DataError: The head cannot use the signal or the target.
        """
        return signal, target


class ForecastHeadConfig(QueryHeadConfig, ABC):
    """Configuration of a head that continues a series.

    Its predictions are arrays ``[horizon, channels]``, or a :class:`~modrwkv_core.interfaces.forecast.Forecast` where
    it also gives quantiles.
    """

    modality: Literal["series"] = "series"
    """Modality that the head answers queries about."""

    horizon: int = Field(default=96, ge=1)
    """Points that one query predicts."""

    context_length: int | None = Field(default=None, ge=1)
    """Latest points of a longer series that a forecast is made from; by default all of them."""

    channels: int = Field(default=1, ge=1)
    """Measurements at each point."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the quantiles that the head gives; by default none, it gives points only."""
        return ()


class TokenizerConfig(ComponentConfig, ABC):
    """Configuration of a tokenizer."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """One more than the largest id, special ids included."""


class SourceConfig(BaseModel, ABC):
    """Configuration of a data source. A subclass narrows ``source`` to ``Literal["its-name"]`` with that default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    source: str

    repeat: float = Field(default=1.0, gt=0.0, le=10_000.0)
    """How often an epoch reads each record; 0.25 reads another quarter of them every epoch."""


class MetricConfig(ComponentConfig, ABC):
    """Configuration of a metric."""


Metrics: TypeAlias = Annotated[
    tuple[Annotated[SerializeAsAny[MetricConfig], ComponentSection("metric")], ...], Field(min_length=1)
]
"""The metrics of a task; the first is the one that counts most."""


class TaskConfig(ComponentConfig, ABC):
    """Configuration of an evaluation task. A subclass gives ``metrics`` a default."""

    metrics: Metrics
    """What predictions are scored by, the most important first."""

    head: str | None = None
    """Name of the head that is asked; by default the only one that can answer."""

    batch_size: int = Field(default=32, ge=1)
    """Samples that the model is asked at a time."""

    save_predictions: bool = True
    """Whether ``predictions.jsonl`` holds each prediction with its truth; without, it holds what metrics make of them,
    which is all that ``modrwkv compare`` needs. All windows of a long table at a long horizon take gigabytes."""

    examples: int = Field(default=6, ge=0)
    """Samples that the report shows, drawn at random with a fixed seed."""

    errors: int = Field(default=6, ge=0)
    """Wrong predictions that the report shows, drawn like that; where right and wrong are a matter of degree, the
    worst."""


class OptimizerConfig(ComponentConfig, ABC):
    """Configuration of an optimizer."""

    weight_decay: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Decay of the large matrices: each step shrinks them by the learning rate times this."""


class SchedulerConfig(ComponentConfig, ABC):
    """Configuration of a learning-rate schedule."""


class FinetuningConfig(ComponentConfig, ABC):
    """Configuration of a fine-tuning method."""


class AugmentationConfig(ComponentConfig, ABC):
    """Configuration of an augmentation: random changes of training data that leave their meaning alone."""

    probability: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the signals that it changes; each is drawn anew in every epoch."""
