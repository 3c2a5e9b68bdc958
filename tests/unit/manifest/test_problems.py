"""Every mistake in a manifest is told with its file and line, its path, what is wrong and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modrwkv_core.errors import ComponentError, ManifestError, PluginError
from modrwkv_core.manifest import load_manifest
from modrwkv_core.plugin import PresetSpec
from modrwkv_core.registry import Registry
from modrwkv_core.registry.lifecycle import LifecycleHooks

NOT_A_MANIFEST = "it begins with `modrwkv: 1`"


@pytest.mark.parametrize(
    ("before", "after", "message", "hint"),
    [
        ("name: toy", "nmae: toy", "toy.yaml:2: nmae: unknown key", "did you mean 'name'?"),
        (
            "type: eye, hidden_size: 8",
            "type: eye, hidden_sise: 8",
            "toy.yaml:6: modalities.image.encoder.hidden_sise: unknown key",
            "did you mean 'hidden_size'?",
        ),
        ("    lr: 1e-3", "    rate: 1", "toy.yaml:18: phases.0.rate: unknown key", "known keys: name, train, lr"),
        ("lr: 1e-3", "lr: fast", "toy.yaml:18: phases.0.lr: input should be a valid number", None),
        ("lr: 1e-3", "lr: -1", "toy.yaml:18: phases.0.lr: input should be greater than 0 (got -1)", None),
        ("lr: 1e-3", "lr: .nan", "toy.yaml:18: phases.0.lr: input should be", None),
        ("    lr: 1e-3\n", "", "toy.yaml:16: phases.0.lr: required, but missing", None),
        ("backbone: {type: backbone, hidden_size: 16}\n", "", "toy.yaml:1: backbone: required, but missing", None),
        ("modrwkv: 1", "modrwkv: 2", "toy.yaml:1: modrwkv: input should be 1 (got 2)", None),
        ("name: toy", "name: a/b", "toy.yaml:2: name: string should match pattern", None),
        (
            "type: eye,",
            "type: eya,",
            "toy.yaml:6: modalities.image.encoder.type: unknown encoder 'eya'",
            "did you mean eye",
        ),
        (
            "type: eye,",
            "type: whisper,",
            "toy.yaml:6: modalities.image.encoder.type: encoder 'whisper' is provided by modrwkv-whisper",
            "pip install modrwkv-whisper",
        ),
        (
            "type: eye, hidden_size: 8",
            "hidden_size: 8",
            "toy.yaml:6: modalities.image.encoder.type: required, but missing",
            "type: one of ear, eye",
        ),
        (
            "{type: screw}",
            "{type: [screw]}",
            "toy.yaml:8: modalities.image.adapter.type: must be the name of a component, not ['screw']",
            "type: one of glue, screw",
        ),
        (
            "{type: screw}",
            "screw",
            "toy.yaml:8: modalities.image.adapter: must be a mapping that says its type, not 'screw'",
            "{type: glue}",
        ),
        (
            "source: files, path",
            "path",
            "toy.yaml:14: data.train.0.source: required, but missing",
            "source: one of files, numbers",
        ),
        ("{type: ear}", "{type: ear, rate: 8000}", "toy.yaml:10: modalities.audio.encoder: hears at 16000", "16000"),
        (
            "    adapter: {type: screw}",
            "    adapter:",
            "toy.yaml:8: modalities.image.adapter: must be a mapping",
            "glue",
        ),
        (
            "\n    task: {type: exam}\n    data: {source: numbers}",
            " 3",
            "toy.yaml:25: evaluation.sums: must be a mapping of keys to values, not 3",
            None,
        ),
        ("  image:", "  imgae:", "toy.yaml:5: modalities.imgae: unknown modality 'imgae'", "did you mean image"),
        ("    epochs: 1", "    steps: 2\n    epochs: 1", "toy.yaml:16: phases.0: a phase lasts", None),
        ("    epochs: 1\n", "", "toy.yaml:16: phases.0: a phase lasts", None),
        (
            "train: [compressor, adapter]",
            "train: [compressor, adaptor]",
            "toy.yaml:17: phases.0.train.1: the model has no part 'adaptor'",
            "did you mean 'adapter'?",
        ),
        (
            "train: [compressor, adapter]",
            "train: [audio.compressor]",
            "toy.yaml:17: phases.0.train.0: the model has no part 'audio.compressor'",
            "did you mean",
        ),
        (
            "train: [compressor, adapter]",
            "train: [everything]",
            "toy.yaml:17: phases.0.train.0: the model has no part 'everything'",
            "its parts: image.encoder, image.compressor, image.adapter, audio.encoder, audio.adapter, backbone",
        ),
        ("train: [compressor, adapter]", "train: []", "toy.yaml:17: phases.0.train: list should have", None),
        ("name: finetune", "name: align", "toy.yaml:20: phases.1.name: two phases are called 'align'", "of its own"),
        (
            "    epochs: 1",
            "    epochs: 1\n    lr_multipliers: {backbone: 0.1}",
            "toy.yaml:20: phases.0.lr_multipliers.backbone: 'backbone' does not learn in this phase",
            "what learns: image.compressor, image.adapter, audio.adapter",
        ),
        (
            "    epochs: 1",
            "    epochs: 1\n    lr_multipliers: {adapter: 0.1, image: 2}",
            "toy.yaml:20: phases.0.lr_multipliers.image: 'image.adapter' has two factors",
            "name each part once",
        ),
        ("evaluation:", "plugins: {allow: 3}\nevaluation:", "toy.yaml:24: plugins.allow: input should be", None),
        ("evaluation:", "plugins: {alow: [x]}\nevaluation:", "toy.yaml:24: plugins.alow: unknown key", "'allow'"),
        ("name: toy", "name: toy\nname: toy", "toy.yaml:3: the key 'name' is given twice", "remove"),
        ("name: toy", "name: [toy", "toy.yaml:3: not valid YAML", "quotes"),
    ],
)
def test_one_mistake(load, text, before, after, message, hint):
    assert before in text
    with pytest.raises(ManifestError) as caught:
        load(text=text.replace(before, after, 1))
    assert caught.value.message.startswith(message), caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint is None if hint is None else hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "toy.yaml:1: the manifest is empty"),
        ("# only a remark\n", "toy.yaml:1: the manifest is empty"),
        ("- 1\n", "toy.yaml:1: a manifest is a mapping of keys to values, not a list"),
        ("modrwkv\n", "toy.yaml:1: a manifest is a mapping of keys to values, not a single value"),
    ],
)
def test_what_is_no_manifest(load, text, message):
    with pytest.raises(ManifestError) as caught:
        load(text=text)
    assert (caught.value.message, caught.value.hint) == (message, NOT_A_MANIFEST)


def test_a_missing_file():
    with pytest.raises(ManifestError, match=r"none\.yaml: there is no such file"):
        load_manifest("none.yaml", environ={})


def test_all_mistakes_are_told_at_once(load, text):
    text = text.replace("hidden_size: 8", "hidden_sise: 8").replace("1e-3", "fast")
    with pytest.raises(ManifestError) as caught:
        load("seed=-1", text=text, environ={"MODRWKV__DATA__WORKERS": "many"})
    places = [line.partition(": ")[0] for line in caught.value.message.splitlines()]
    assert places == ["command line", "toy.yaml:6", "environment variable MODRWKV__DATA__WORKERS", "toy.yaml:18"]
    assert "(did you mean 'hidden_size'?)" in caught.value.message


def test_the_registrys_and_the_components_own_errors_are_chained(load, text):
    with pytest.raises(ManifestError) as caught:
        load(text=text.replace("type: eye", "type: eya"))
    assert isinstance(caught.value.__cause__, PluginError)
    with pytest.raises(ManifestError) as caught:
        load(text=text.replace("{type: ear}", "{type: ear, rate: 8000}"))
    assert isinstance(caught.value.__cause__, ComponentError)
    assert "(encoder/ear)" in str(caught.value)


class TestExtends:
    def test_files_are_laid_on_what_they_extend(self, write, toys, text):
        write(text, "shared/base.yaml")
        write("extends: base.yaml\nseed: 4\nname: middle", "shared/middle.yaml")
        write("modrwkv: 1\nextends: [shared/middle.yaml]\nmodalities: {audio: {adapter: {type: screw}}}")
        loaded = load_manifest("toy.yaml", ["phases.align.lr=5"], registry=toys, environ={})
        assert (loaded.manifest.seed, loaded.manifest.name) == (4, "middle")
        assert loaded.manifest.modalities["audio"].adapter.type == "screw"
        assert loaded.manifest.phases[0].lr == 5
        assert loaded.provenance["seed"] == "shared/middle.yaml:2"
        assert loaded.provenance["backbone.type"] == "shared/base.yaml:3"
        assert loaded.provenance["modalities.audio.adapter.type"] == "toy.yaml:3"

    def test_later_bases_win(self, write, toys, text):
        write("seed: 1", "one.yaml")
        write("seed: 2", "two.yaml")
        write(f"extends: [one.yaml, two.yaml]\n{text}")
        assert load_manifest("toy.yaml", registry=toys, environ={}).manifest.seed == 2

    def test_presets_are_named(self, write, toys, text, monkeypatch):
        package = write("", "toy_presets/__init__.py").parent
        write("seed: 9\nmodalities: {audio: {adapter: {brand: pva}}}", "toy_presets/paper.yaml")
        monkeypatch.syspath_prepend(package.parent.resolve())
        preset = PresetSpec(api=1, name="paper", summary="", resource="toy_presets:paper.yaml")
        plugins = [replace(plugin, presets=(preset,)) for plugin in toys.plugins]
        registry = Registry(plugins, LifecycleHooks(None), prefer={})
        loaded = load_manifest(write(f"extends: paper\n{text}"), registry=registry, environ={})
        assert loaded.manifest.seed == 9
        assert loaded.provenance["seed"] == "preset paper:1"
        assert loaded.manifest.modalities["audio"].adapter.brand == "uhu"

    @pytest.mark.parametrize(
        ("extends", "message", "hint"),
        [
            ("none.yaml", "toy.yaml:1: extends: none.yaml: there is no such file", None),
            ("[3]", "toy.yaml:1: extends: must be presets or files, not 3", None),
            ("toy.yaml", "toy.yaml:1: extends: 'toy.yaml' extends itself", None),
            ("papr", "toy.yaml:1: extends: unknown preset 'papr'", ""),
            (
                "absent",
                "toy.yaml:1: extends: its file modrwkv_core:no/such.yaml cannot be read",
                "reinstall toys",
            ),
            ("bad.yaml", "toy.yaml:1: extends: bad.yaml:1: a manifest is a mapping", NOT_A_MANIFEST),
            ("circle.yaml", "circle.yaml:1: extends: 'toy.yaml' extends itself", None),
        ],
    )
    def test_what_cannot_be_extended(self, write, toys, text, extends, message, hint):
        write("- 1", "bad.yaml")
        write("extends: toy.yaml", "circle.yaml")
        with pytest.raises(ManifestError) as caught:
            load_manifest(write(f"extends: {extends}\n{text}"), registry=toys, environ={})
        assert caught.value.message.startswith(message), caught.value.message
        assert caught.value.hint is None if hint is None else hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("~no_such_user_here/x", "there is no home folder of ~no_such_user_here"),
        ('"a\\0b"', "holds a NUL byte"),
        ("x" * 300, "is too long"),
        ("/".join(["x" * 200] * 30), "is too long"),
    ],
)
@pytest.mark.parametrize(
    ("key", "suffix"),
    [("data.train.0.path", ""), ("modalities.image.encoder.checkpoint", ""), ("extends", ".yaml"), ("data_root", "")],
)
def test_a_path_that_no_file_has_is_told_with_its_place(toys, text, write, key, suffix, path, words):
    path = path[:-1] + suffix + '"' if path.endswith('"') else path + suffix
    manifest = f"extends: {path}\n{text}" if key == "extends" else text
    overrides = [] if key == "extends" else [f"{key}={path}"]
    with pytest.raises(ManifestError) as caught:
        load_manifest(write(manifest), overrides, registry=toys, environ={})
    assert words in str(caught.value)
    assert key in str(caught.value) or "command line" in str(caught.value)


@pytest.mark.parametrize(
    "override",
    ["data.train.0.repeat=.inf", "data.train.0.repeat=1e18", "seed=18446744073709551616", "data.workers=1000000000"],
)
def test_absurd_numbers_are_refused(load, override):
    with pytest.raises(ManifestError, match="command line"):
        load(override)
