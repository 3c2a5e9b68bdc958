"""Configurations with sections for other components: an encoder of films that reads their images with another one."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import SerializeAsAny

from modrwkv_core.errors import ManifestError
from modrwkv_core.interfaces.component import Encoder, Processor
from modrwkv_core.interfaces.config import EncoderConfig, encoder_sections
from modrwkv_core.interfaces.sections import ComponentSection
from modrwkv_core.manifest import LoadedManifest, dump_manifest, load_manifest
from modrwkv_core.manifest.json_schema import manifest_schema
from modrwkv_core.manifest.wiring import check_wiring
from modrwkv_core.model.build import build_encoder, build_processor
from modrwkv_core.plugin import ComponentSpec, ModalitySpec
from modrwkv_core.registry import Registry
from modrwkv_core.registry.lifecycle import LifecycleHooks
from modrwkv_core.registry.records import Plugin


class FilmConfig(EncoderConfig):
    type: Literal["film"] = "film"
    frames: int = 4
    eye: Annotated[SerializeAsAny[EncoderConfig], ComponentSection("encoder", modality="image")]

    @property
    def out_dim(self) -> int:
        return self.eye.out_dim

    def out_length(self, length: int) -> int:
        return length * self.eye.out_length(self.eye.typical_length or 1)


class LensConfig(EncoderConfig):
    type: Literal["lens"] = "lens"
    hidden_size: int = 3

    @property
    def out_dim(self) -> int:
        return self.hidden_size

    def out_length(self, length: int) -> int:
        return length


class Film(Encoder, Processor):
    def __init__(self, config: EncoderConfig, **inner: Any) -> None:
        super().__init__(config)
        self.inner = inner

    def forward(self, items: Any) -> Any:
        raise NotImplementedError


class Lens(Encoder, Processor):
    def forward(self, items: Any) -> Any:
        raise NotImplementedError


def plugin(distribution: str, **contents: Any) -> Plugin:
    return Plugin(name=f"{distribution}:x", distribution=distribution, version="1.0", location="/films", **contents)


@pytest.fixture
def films(toys: Registry) -> Registry:
    """The toys, encoders that can be built, and an encoder of films."""

    def encoder(name: str, modality: str, config: str, made: str) -> ComponentSpec:
        here = f"{__name__}:{made}"
        return ComponentSpec(
            api=1,
            kind="encoder",
            name=name,
            summary="of films",
            config=config,
            implementation=here,
            processor=here,
            modality=modality,
        )

    cinema = plugin(
        "cinema",
        components=(
            encoder("film", "film", f"{__name__}:FilmConfig", "Film"),
            encoder("lens", "image", f"{__name__}:LensConfig", "Lens"),
        ),
        modalities=(ModalitySpec(api=1, name="film", summary="films", implementation="toys:Unused"),),
    )
    return Registry((*toys.plugins, cinema), LifecycleHooks(None), {})


@pytest.fixture
def load_film(films: Registry, write: Callable[..., Path], text: str) -> Callable[..., LoadedManifest]:
    """Load the toy manifest with films, whose encoder is given as flow-style YAML."""

    def load(encoder: str, *overrides: str) -> LoadedManifest:
        film = f"  film:\n    encoder: {encoder}\n    adapter: {{type: screw}}\ndata:"
        return load_manifest(write(text.replace("data:", film, 1)), overrides, registry=films, environ={})

    return load


def test_a_section_in_a_configuration_is_validated_by_the_component_that_it_names(
    load_film: Callable[..., LoadedManifest],
) -> None:
    loaded = load_film("{type: film, eye: {type: eye, hidden_size: 5}}", "modalities.film.encoder.eye.patches=9")
    film = loaded.manifest.modalities["film"].encoder
    [(name, eye)] = encoder_sections(film).items()
    assert (name, eye.type, eye.out_dim, film.out_dim) == ("eye", "eye", 5, 5)
    assert loaded.components["encoder", "eye"].distribution == "toys"
    chain = next(chain for chain in check_wiring(loaded) if chain.modality == "film")
    assert chain.links[0].lengths[0] == 9 * chain.items[0]
    assert loaded.provenance["modalities.film.encoder.eye.hidden_size"] == "toy.yaml:13"


def test_the_manifest_is_written_and_read_again(
    load_film: Callable[..., LoadedManifest], films: Registry, write: Callable[..., Path]
) -> None:
    manifest = load_film("{type: film, eye: {type: toys/eye, hidden_size: 5}}").manifest
    again = load_manifest(write(dump_manifest(manifest), "again.yaml"), registry=films, environ={}).manifest
    assert again == manifest
    assert again.plugins.prefer == {"encoder/eye": "toys"}
    film = again.modalities["film"].encoder
    assert pickle.loads(pickle.dumps(film)) == film


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("{type: film}", ["modalities.film.encoder.eye", "required"]),
        ("{type: film, eye: 3}", ["modalities.film.encoder.eye", "must be a mapping that says its type"]),
        (
            "{type: film, eye: {hidden_size: 3}}",
            ["modalities.film.encoder.eye.type", "required", "ear, eye, film, lens"],
        ),
        ("{type: film, eye: {type: eyes}}", ["modalities.film.encoder.eye.type", "did you mean eye"]),
        (
            "{type: film, eye: {type: eye, hidden_sise: 3}}",
            ["modalities.film.encoder.eye.hidden_sise", "did you mean 'hidden_size'"],
        ),
        ("{type: film, eye: {type: eye, hidden_size: x}}", ["modalities.film.encoder.eye.hidden_size", "integer"]),
        ("{type: film, eye: {type: ear}}", ["reads 'audio', but 'image' is to be read here", "eye, lens"]),
    ],
)
def test_mistakes_in_it_are_named_with_their_place(
    load_film: Callable[..., LoadedManifest], encoder: str, expected: list[str]
) -> None:
    with pytest.raises(ManifestError) as caught:
        load_film(encoder)
    assert str(caught.value).startswith("toy.yaml:13")
    for words in expected:
        assert words in str(caught.value)


def test_the_schema_lets_any_encoder_stand_there(films: Registry) -> None:
    schema = manifest_schema(films)
    assert schema["$defs"]["FilmConfig"]["properties"]["eye"] == {"$ref": "#/$defs/encoder"}
    assert "eye" in schema["$defs"]["FilmConfig"]["required"]
    json.dumps(schema)


def test_what_a_component_is_made_of_is_built_first(load_film: Callable[..., LoadedManifest], films: Registry) -> None:
    config = load_film("{type: film, eye: {type: lens, hidden_size: 7}}").manifest.modalities["film"].encoder
    for build in (build_encoder, build_processor):
        film: Any = build(films, config)
        [(name, eye)] = film.inner.items()
        assert film.config is config
        assert isinstance(eye, Lens)
        assert (name, eye.config.out_dim) == ("eye", 7)
