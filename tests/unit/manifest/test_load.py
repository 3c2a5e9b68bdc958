from __future__ import annotations

import json
import sys

import pytest

from modrwkv_core.errors import ManifestError
from modrwkv_core.manifest import digest, dump_manifest, load_manifest, manifest_from_dict
from modrwkv_core.manifest.document import parse


def test_a_manifest_is_read_with_its_components_configurations(load):
    manifest = load().manifest
    image = manifest.modalities["image"]
    assert (image.encoder.type, image.encoder.out_dim, image.compressor.size, image.adapter.turns) == ("eye", 8, 2, 1.0)
    assert manifest.modalities["audio"].compressor is None
    assert manifest.backbone.in_dim == 16
    assert [phase.lr for phase in manifest.phases] == [1e-3, 2e-5]
    assert (manifest.phases[0].epochs, manifest.phases[0].steps) == (1, None)
    assert manifest.phases[0].optimizer.type == "adamw"
    assert manifest.phases[0].optimizer.weight_decay == 0.0
    assert (manifest.phases[0].scheduler.type, manifest.phases[0].finetuning.type) == ("cosine", "full")


def test_defaults_are_the_world_tokenizer_and_the_language_model_head(load):
    manifest = load().manifest
    assert manifest.tokenizer.type == "world"
    assert {name: head.type for name, head in manifest.heads.items()} == {"lm": "lm"}
    assert manifest.seed == 0


def test_parts_have_dotted_names(load):
    assert load().manifest.parts == (
        "image.encoder",
        "image.compressor",
        "image.adapter",
        "audio.encoder",
        "audio.adapter",
        "backbone",
        "heads.lm",
    )


def test_the_loaded_manifest_knows_whose_components_it_uses(load):
    components = load().components
    assert components["encoder", "eye"].distribution == "toys"
    assert components["encoder", "eye"].version == "1.2"
    assert ("task", "exam") in components
    assert ("source", "numbers") in components
    assert ("adapter", "screw") in components
    assert len(components) == 14


def test_only_named_components_are_imported(load, text, monkeypatch):
    module = sys.modules[type(load().manifest.backbone).__module__]
    monkeypatch.delattr(module, "NumbersConfig")
    assert not load(text=text.partition("evaluation:")[0]).manifest.evaluation
    with pytest.raises(ManifestError, match="NumbersConfig"):
        load()


def test_data_lie_below_the_data_root_which_is_the_manifests_folder(load, tmp_path):
    manifest = load().manifest
    assert manifest.data_root == tmp_path
    assert manifest.data.train[0].path == tmp_path / "talks.jsonl"


def test_a_data_root_in_the_file_is_meant_from_the_files_folder(write, toys, tmp_path, text):
    write("data_root: corpora\n" + text, "deep/toy.yaml")
    manifest = load_manifest("deep/toy.yaml", registry=toys, environ={}).manifest
    assert manifest.data.train[0].path == tmp_path / "deep" / "corpora" / "talks.jsonl"


@pytest.mark.parametrize(
    ("overrides", "environ"),
    [(["data_root=corpora"], {}), ([], {"MODRWKV_DATA": "corpora"}), ([], {"MODRWKV__DATA_ROOT": "corpora"})],
)
def test_a_data_root_typed_in_a_shell_is_meant_from_the_working_directory(write, toys, tmp_path, overrides, environ):
    write(name="deep/toy.yaml")
    loaded = load_manifest("deep/toy.yaml", overrides, registry=toys, environ=environ)
    assert loaded.manifest.data.train[0].path == tmp_path / "corpora" / "talks.jsonl"


def test_weights_lie_beside_the_manifest(write, toys, tmp_path, text):
    write(text.replace("hidden_size: 16}", "weights: w.pth}"), "deep/toy.yaml")
    manifest = load_manifest("deep/toy.yaml", registry=toys, environ={}).manifest
    assert manifest.backbone.weights == tmp_path / "deep" / "w.pth"


def test_a_dumped_manifest_loads_back_equal_from_anywhere(load, toys, tmp_path):
    manifest = load("seed=3", "phases.align.lr_multipliers={image.adapter: 0.5}").manifest
    text = dump_manifest(manifest)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "run.yaml").write_text(text)
    assert load_manifest(other / "run.yaml", registry=toys, environ={}).manifest == manifest
    assert manifest_from_dict(parse(text, "run").plain(), other, registry=toys).manifest == manifest


def test_json_loads_too_with_lines(write, toys, text):
    data = parse(text, "text").plain()
    write(json.dumps(data, indent="\t"), "toy.json")
    loaded = load_manifest("toy.json", registry=toys, environ={})
    assert loaded.manifest.name == "toy"
    assert loaded.provenance["name"] == "toy.json:3"


def test_the_digest_tells_manifests_apart(load):
    first, same, other = load(), load(), load("phases.align.lr=2e-3")
    assert first.digest == same.digest == digest(first.manifest.resolved())
    assert first.digest != other.digest


def test_a_runs_manifest_has_the_digest_of_the_file_it_began_with(load):
    loaded = load()
    run = load(text=dump_manifest(loaded.manifest.resolved()))
    assert run.manifest.backbone.depth == 2
    assert loaded.manifest.backbone.depth is None
    assert run.digest == loaded.digest


def test_the_digest_does_not_depend_on_where_the_data_lie(load):
    here, there = load(), load("data_root=/elsewhere")
    assert here.manifest.data.train[0].path != there.manifest.data.train[0].path
    assert here.digest == there.digest


def test_a_runs_data_can_be_moved(load):
    text = dump_manifest(load("data_root=/elsewhere").manifest)
    moved = load(text=text, environ={"MODRWKV_DATA": "/new"}).manifest
    assert str(moved.data.train[0].path) == "/new/talks.jsonl"


def test_every_value_knows_where_it_comes_from(load):
    provenance = load("phases.align.lr=2e-3", environ={"MODRWKV__SEED": "7"}).provenance
    assert provenance["modalities.image.encoder.hidden_size"] == "toy.yaml:6"
    assert provenance["phases.0.lr"] == "command line"
    assert provenance["phases.0.epochs"] == "toy.yaml:19"
    assert provenance["seed"] == "environment variable MODRWKV__SEED"
    assert "tokenizer" not in provenance


def test_a_former_name_warns_and_is_replaced(load):
    with pytest.warns(FutureWarning, match="now called 'screw'") as warned:
        manifest = load("modalities.audio.adapter={type: bolt, turns: 2}").manifest
    assert len(warned) == 1
    assert manifest.modalities["audio"].adapter.type == "screw"


@pytest.mark.usefixtures("discovered")
class TestClashingNames:
    def test_a_contested_name_is_an_error_that_names_both(self, write):
        with pytest.raises(ManifestError) as caught:
            load_manifest(write(), environ={})
        message = str(caught.value)
        assert message.startswith("toy.yaml:6: modalities.image.encoder.type: ")
        assert "toys" in message
        assert "rivals" in message
        assert "prefer" in message

    def test_plugins_prefer_settles_it(self, write):
        loaded = load_manifest(write(), ["plugins.prefer={encoder/eye: rivals}"], environ={})
        assert loaded.components["encoder", "eye"].distribution == "rivals"

    def test_plugins_disable_settles_it(self, write):
        loaded = load_manifest(write(), ["plugins.disable=[rivals]"], environ={})
        assert loaded.components["encoder", "eye"].distribution == "toys"

    def test_a_qualified_type_settles_it_and_stays_settled(self, write, tmp_path):
        loaded = load_manifest(write(), ["modalities.image.encoder.type=rivals/eye"], environ={})
        assert loaded.manifest.modalities["image"].encoder.type == "eye"
        assert loaded.manifest.modalities["image"].encoder.hidden_size == 8
        assert loaded.registry.component("encoder", "eye").distribution == "rivals"
        again = load_manifest(write(dump_manifest(loaded.manifest), "run.yaml"), environ={})
        assert again.manifest == loaded.manifest
        assert again.components["encoder", "eye"].distribution == "rivals"

    def test_one_name_cannot_be_taken_from_two_distributions(self, write, text):
        text = text.replace("{type: eye, hidden_size: 8}", "{type: toys/eye}").replace("type: ear", "type: rivals/eye")
        with pytest.raises(ManifestError, match=r"toy\.yaml:10: .*taken from toys elsewhere and from rivals here"):
            load_manifest(write(text), environ={})

    def test_a_broken_plugins_component_raises_its_cause(self, write):
        with pytest.raises(ManifestError, match=r"^command line: .*'cracked' cannot be used") as caught:
            load_manifest(write(), ["modalities.image.encoder={type: cracked}"], environ={})
        causes = []
        error: BaseException | None = caught.value
        while error := error.__cause__:
            causes.append(str(error))
        assert "no libbroken" in causes
