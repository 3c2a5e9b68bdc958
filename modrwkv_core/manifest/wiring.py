"""Whether neighbouring components fit, from their configurations alone: no weights, no torch.

The check follows every modality from encoder to backbone on dimensions and lengths. Adapters are built between the two
that they find, so what remains to be checked is which signals an encoder reads, whether an item leaves any tokens, and
whether the backbone has a row for each id of the tokenizer.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from modrwkv_core.errors import ModRWKVError, PluginError, WiringError
from modrwkv_core.interfaces.config import (
    AugmentationConfig,
    ComponentConfig,
    EncoderConfig,
    GridCompressorConfig,
    HeadConfig,
    QueryHeadConfig,
    TokenHeadConfig,
    TranscriptHeadConfig,
)
from modrwkv_core.interfaces.grids import grids_of
from modrwkv_core.interfaces.guard import Origin, guard, length_after
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.manifest.schema import ModalityConfig
from modrwkv_core.plugin import Kind

__all__ = ["Link", "ModalityShapes", "check_wiring"]

_LARGEST = 2**24
"""Above every width and vocabulary there is: a model of this size would not fit any machine."""

_EXAMPLES = (100, 1_000, 10_000, 100_000)
_PROBES = tuple(2**power for power in range(25))


@dataclass(frozen=True, slots=True)
class Link:
    """One component of a pipeline.

    Attributes:
        kind: ``encoder``, ``compressor`` or ``adapter``.
        name: The component's name.
        width: Width of the vectors that it gives.
        lengths: How many vectors it gives for each of the chain's ``items``.
    """

    kind: Kind
    name: str
    hidden_size: int
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModalityShapes:
    """A modality's way into the token stream.

    Attributes:
        modality: Its name.
        items: Lengths of example items, in the unit of the encoder's processor: the encoder's usual length, or several.
        links: Encoder, compressor if there is one, adapter. The last one's lengths are numbers of tokens.
    """

    modality: str
    items: tuple[int, ...]
    links: tuple[Link, ...]


def check_wiring(loaded: LoadedManifest) -> tuple[ModalityShapes, ...]:
    """Check that the manifest's components fit and return the chain of each modality.

    Raises:
        WiringError: Two components do not fit; the message says where the manifest names them, and names both.
    """
    manifest = loaded.manifest
    with _located(loaded, "backbone"):
        backbone = manifest.backbone
        hidden_size = _dim(loaded, "backbone", backbone, "in_dim", lambda: backbone.in_dim)
        with guard(_origin(loaded, "backbone", backbone), "fixed_vocab_size"):
            rows = backbone.fixed_vocab_size
    with _located(loaded, "tokenizer"):
        tokenizer = manifest.tokenizer
        ids = _dim(loaded, "tokenizer", tokenizer, "vocab_size", lambda: tokenizer.vocab_size)
        if rows is not None and ids > rows:
            raise WiringError(
                f"{_called(loaded, 'tokenizer', manifest.tokenizer)} has {ids} ids, but the embedding of "
                f"{_called(loaded, 'backbone', manifest.backbone)} has {rows} rows",
                hint="use the tokenizer that the backbone was trained with, or a backbone with more rows",
            )
    chains = tuple(_chain(loaded, name, pipeline, hidden_size) for name, pipeline in manifest.modalities.items())
    for name, head in manifest.heads.items():
        with _located(loaded, f"heads.{name}"):
            _check_head(loaded, head)
    return chains


def _check_head(loaded: LoadedManifest, head: HeadConfig) -> None:
    match head:
        case TokenHeadConfig():
            return
        case QueryHeadConfig() | TranscriptHeadConfig():
            if head.modality not in loaded.manifest.modalities:
                does = "answers queries about" if isinstance(head, QueryHeadConfig) else "transcribes"
                raise WiringError(
                    f"{_called(loaded, 'head', head)} {does} {head.modality}, but the model has these "
                    f"modalities: {', '.join(loaded.manifest.modalities) or 'none'}",
                    hint=f"add modalities.{head.modality}, or leave the head out",
                )
        case _:
            raise WiringError(
                f"{_called(loaded, 'head', head)} does not say whether it predicts tokens, answers queries or "
                "transcribes media",
                hint="derive its configuration from TokenHeadConfig, QueryHeadConfig or TranscriptHeadConfig",
            )


def _chain(loaded: LoadedManifest, modality: str, pipeline: ModalityConfig, hidden_size: int) -> ModalityShapes:
    path = f"modalities.{modality}"
    with _located(loaded, f"{path}.encoder"):
        _refuse_other_signals(loaded, modality, pipeline)
        _refuse_missing_modalities(loaded, pipeline.encoder)
        encoder, compressor = pipeline.encoder, pipeline.compressor
        widths = {"encoder": _dim(loaded, "encoder", encoder, "out_dim", lambda: encoder.out_dim)}
    if compressor is not None:
        with _located(loaded, f"{path}.compressor"):
            in_dim = widths["encoder"]
            call = f"out_dim({in_dim})"
            widths["compressor"] = _dim(loaded, "compressor", compressor, call, lambda: compressor.out_dim(in_dim))
            if isinstance(compressor, GridCompressorConfig):
                _refuse_features_without_grid(loaded, encoder, compressor)
    widths["adapter"] = hidden_size
    for index, augmentation in enumerate(pipeline.augmentations):
        with _located(loaded, f"{path}.augmentations.{index}"):
            _refuse_augmentation_of_others(loaded, modality, augmentation)
    with _located(loaded, path):
        check_non_empty(loaded, pipeline)
        usual = _typical_length(loaded, encoder)
        items = _EXAMPLES if usual is None else (usual,)
        lengths = [_lengths(loaded, pipeline, item) for item in items]
    links = tuple(
        Link(kind, config.type, widths[kind], tuple(counts[index] for counts in lengths))
        for index, (kind, config) in enumerate(pipeline.components())
    )
    return ModalityShapes(modality, items, links)


def _refuse_other_signals(loaded: LoadedManifest, modality: str, pipeline: ModalityConfig) -> None:
    encoder = pipeline.encoder
    reads = loaded.components["encoder", encoder.type].spec.modality
    if reads != modality:
        others = loaded.registry.components("encoder")
        fitting = [other.spec.name for other in others if other.spec.modality == modality]
        raise WiringError(
            f"{_called(loaded, 'encoder', encoder)} reads '{reads}', but stands under the modality '{modality}'",
            hint=f"encoders of '{modality}': {', '.join(fitting) or 'none is installed'}",
        )


def _refuse_missing_modalities(loaded: LoadedManifest, encoder: EncoderConfig) -> None:
    with guard(_origin(loaded, "encoder", encoder), "other_modalities"):
        others = encoder.other_modalities
    for other in others:
        if other not in loaded.manifest.modalities:
            raise WiringError(
                f"{_called(loaded, 'encoder', encoder)} also reads {other}, but the model has these modalities: "
                f"{', '.join(loaded.manifest.modalities)}",
                hint=f"add modalities.{other}, or set {encoder.type} to read no {other}",
            )


def _refuse_augmentation_of_others(loaded: LoadedManifest, modality: str, augmentation: AugmentationConfig) -> None:
    changes = loaded.components["augmentation", augmentation.type].spec.modality
    if changes not in (None, modality):
        others = [other.spec for other in loaded.registry.components("augmentation")]
        fitting = [other.name for other in others if other.modality in (None, modality)]
        raise WiringError(
            f"{_called(loaded, 'augmentation', augmentation)} changes '{changes}', but stands under the modality "
            f"'{modality}'",
            hint=f"augmentations for '{modality}': {', '.join(fitting) or 'none is installed'}",
        )


def _refuse_features_without_grid(
    loaded: LoadedManifest, encoder: EncoderConfig, compressor: GridCompressorConfig
) -> None:
    usual = _typical_length(loaded, encoder)
    count = length_after(encoder, _EXAMPLES[0] if usual is None else usual, _origin(loaded, "encoder", encoder))
    if grids_of(count) is not None:
        return
    fitting = _compressors_without_grid(loaded)
    close = difflib.get_close_matches(compressor.type, fitting, n=1)
    meant = f"did you mean '{close[0]}'? " if close else ""
    features = "features" if usual is None else f"{count} features"
    raise WiringError(
        f"{_called(loaded, 'compressor', compressor)} works on rows and columns, but the {features} of "
        f"{_called(loaded, 'encoder', encoder)} have no grid",
        hint=f"{meant}compressors that need no grid: {', '.join(fitting) or 'none is installed'}; or let the encoder "
        "leave out what is not part of its grid, such as class tokens",
    )


def _compressors_without_grid(loaded: LoadedManifest) -> list[str]:
    names = []
    for name in loaded.registry.names("compressor"):
        try:
            if not issubclass(loaded.registry.config_class("compressor", name), GridCompressorConfig):
                names.append(name)
        except PluginError:  # a broken one is no remedy
            continue
    return names


def check_non_empty(loaded: LoadedManifest, pipeline: ModalityConfig) -> None:
    """Refuse a pipeline that gives no token for an item of the encoder's usual length, or for any item at all."""
    usual = _typical_length(loaded, pipeline.encoder)
    items = _PROBES if usual is None else (usual,)
    if any(_lengths(loaded, pipeline, item)[-1] > 0 for item in items):
        return
    counts = _lengths(loaded, pipeline, items[-1])
    silent = next(index for index, count in enumerate(counts) if count <= 0)
    components = [_called(loaded, kind, config) for kind, config in pipeline.components()]
    item = f"an item of {'its usual ' if usual is not None else ''}length {items[-1]}"
    if silent == 0:
        raise WiringError(f"{components[0]} gives no features for {item}")
    raise WiringError(
        f"{components[silent]} leaves nothing of the {counts[silent - 1]} features that {components[silent - 1]} gives "
        f"for {item}",
        hint="compress less, or let the encoder give more features",
    )


def _lengths(loaded: LoadedManifest, pipeline: ModalityConfig, item: int) -> list[int]:
    """Numbers of vectors after each component, for an item of length ``item``."""
    counts: list[int] = []
    for kind, config in pipeline.components():
        counts.append(length_after(config, counts[-1] if counts else item, _origin(loaded, kind, config)))
    return counts


def _typical_length(loaded: LoadedManifest, encoder: EncoderConfig) -> int | None:
    with guard(_origin(loaded, "encoder", encoder), "typical_length"):
        return encoder.typical_length


def _dim(loaded: LoadedManifest, kind: Kind, config: ComponentConfig, call: str, ask: Callable[[], int]) -> int:
    """Ask a configuration for a width or a size."""
    origin = _origin(loaded, kind, config)
    with guard(origin, call):
        found = ask()
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= _LARGEST:
        raise WiringError(
            f"{_called(loaded, kind, config)} has a {call} of {found!r}",
            component=origin.component,
            distribution=origin.distribution,
            hint=f"it must be a whole number from 1 to {_LARGEST}; look at the sizes in the manifest",
        )
    return found


def _origin(loaded: LoadedManifest, kind: Kind, config: ComponentConfig) -> Origin:
    return loaded.components[kind, config.type].origin


def _called(loaded: LoadedManifest, kind: Kind, config: ComponentConfig) -> str:
    return f"{kind} '{config.type}' ({loaded.components[kind, config.type].distribution})"


@contextmanager
def _located(loaded: LoadedManifest, path: str) -> Iterator[None]:
    """Begin the message of an error with the place of ``path`` in the manifest."""
    try:
        yield
    except ModRWKVError as error:
        place = f"{loaded.provenance.get(path, 'default')}: {path}"
        raise WiringError(
            f"{place}: {error.message}", component=error.component, distribution=error.distribution, hint=error.hint
        ) from error
