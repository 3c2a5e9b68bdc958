"""Checkpoints in the layouts of ModRWKV's authors become runs: the same arithmetic, refusals by name, training on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv1d, layer_norm, linear, relu

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.backbones.rwkv7.fla import to_fla
from modrwkv_core.cli.main import run_program
from modrwkv_core.errors import CheckpointError, ManifestError
from modrwkv_core.inference.loading import load
from modrwkv_core.interfaces.values import Features
from modrwkv_core.interop.importing import import_run
from modrwkv_core.manifest import load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training.loop import train

Manifest = Callable[..., Path]
Tensors = dict[str, Tensor]

WIDTH, FEATURES, VOCAB = 64, 8, 320
"""Hidden size of the backbone, width of the features of the tiny manifest's encoder, rows of the embedding."""

RANKS = {"decay_low_rank_dim": 8, "a_low_rank_dim": 10, "v_low_rank_dim": 6, "gate_low_rank_dim": 12}


def backbone() -> Tensors:
    torch.manual_seed(0)
    model = RWKV7(RWKV7Config(num_layers=2, hidden_size=WIDTH, **RANKS), VOCAB)
    return {name: (tensor + torch.randn_like(tensor) / 20).bfloat16() for name, tensor in model.state_dict().items()}


def random(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    torch.manual_seed(1)
    return {name: torch.randn(shape).bfloat16() for name, shape in shapes.items()}


def perceptron(names: str, hidden: int, inputs: int = FEATURES) -> dict[str, tuple[int, ...]]:
    return {
        f"{names}.0.weight": (hidden, inputs),
        f"{names}.0.bias": (hidden,),
        f"{names}.2.weight": (WIDTH, hidden),
        f"{names}.2.bias": (WIDTH,),
    }


NORM = {"pre_norm.weight": (WIDTH,), "pre_norm.bias": (WIDTH,)}


def under(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def picture(weights: Tensors, names: str, x_LD: Tensor) -> Tensor:
    """The authors' adapter of images, as its own code computes it."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    if "conv.weight" in w:
        x_LD = conv1d(x_LD.T, w["conv.weight"], stride=2).T
    y = linear(x_LD, w[f"{names}.0.weight"], w[f"{names}.0.bias"])
    y = linear(relu(y), w[f"{names}.2.weight"], w[f"{names}.2.bias"])
    return y + layer_norm(y, (WIDTH,), w["pre_norm.weight"], w["pre_norm.bias"])


def sound(weights: Tensors, x_LD: Tensor) -> Tensor:
    """The authors' adapter of sound, as its own code computes it."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    x = conv1d(x_LD.T, w["conv.weight"], w["conv.bias"], stride=2, padding=2).T
    y = relu(linear(x, w["proj.0.weight"], w["proj.0.bias"]))
    return linear(y, w["proj.2.weight"], w["proj.2.bias"])


def old_picture() -> tuple[Tensors, Callable[[Tensor], Tensor]]:
    adapter = random(perceptron("proj", 2 * WIDTH) | NORM)
    unused = {"blocks.0.att.v0": torch.ones(1, 1, WIDTH), "blocks.0.att.v1": torch.ones(WIDTH, 6)}
    tensors = backbone() | unused | under("modality.world_encoder.adapter.", adapter)
    return tensors, lambda x: picture(adapter, "proj", x)


def old_sound() -> tuple[Tensors, Callable[[Tensor], Tensor]]:
    hidden = 2 * WIDTH
    shapes = perceptron("proj", hidden, hidden) | {"conv.weight": (hidden, FEATURES, 3), "conv.bias": (hidden,)}
    adapter = random(shapes)
    return backbone() | under("modality.world_encoder.adapter.", adapter), lambda x: sound(adapter, x)


def new_picture() -> tuple[Tensors, Callable[[Tensor], Tensor]]:
    adapter = random(perceptron("mlp", 4 * WIDTH) | NORM)
    return under("llm.", backbone()) | under("proj.", adapter), lambda x: picture(adapter, "mlp", x)


def new_picture_with_convolution() -> tuple[Tensors, Callable[[Tensor], Tensor]]:
    adapter = random(perceptron("mlp", 4 * WIDTH) | NORM | {"conv.weight": (FEATURES, FEATURES, 3)})
    return under("llm.", backbone()) | under("proj.", adapter), lambda x: picture(adapter, "mlp", x)


def exported(adapter: Tensors) -> Tensors:
    names = {name.replace("model.", "model.llm.", 1): tensor for name, tensor in to_fla(backbone()).items()}
    return names | under("model.proj.", adapter)


def hub_picture() -> tuple[Tensors, Callable[[Tensor], Tensor]]:
    adapter = random(perceptron("mlp", 4 * WIDTH) | NORM)
    return exported(adapter), lambda x: picture(adapter, "mlp", x)


def rwkv_vl() -> tuple[Tensors, Callable[[Tensor], Tensor]]:
    adapter = random(perceptron("mlp", 4 * WIDTH) | NORM)
    return exported(under("main.", adapter)), lambda x: picture(adapter, "mlp", x)


LAYOUTS = [old_picture, old_sound, new_picture, new_picture_with_convolution, hub_picture, rwkv_vl]


@pytest.fixture
def manifest(tiny_manifest: Manifest) -> Path:
    """A manifest that names an encoder and what to train on; backbone and adapter are not in it."""
    path = tiny_manifest()
    document = yaml.safe_load(path.read_text())
    del document["backbone"], document["modalities"]["series"]["adapter"]
    document["phases"][0]["train"] = ["adapter", "heads"]
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def saved(tensors: Tensors, path: Path) -> str:
    torch.save(tensors, path)
    return str(path)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_an_imported_model_computes_what_the_authors_code_computes(
    layout: Callable[[], tuple[Tensors, Callable[[Tensor], Tensor]]], manifest: Path, tmp_path: Path
) -> None:
    tensors, arithmetic = layout()
    import_run(saved(tensors, tmp_path / "authors.pth"), manifest, tmp_path / "run")
    model = load(tmp_path / "run", device="cpu").model.double()
    embedder = model.embedders["series"]
    x_LD = torch.randn(21, FEATURES, dtype=torch.float64)
    features = Features(x_LD[None], torch.tensor([21]))
    with torch.no_grad():
        if embedder.compressor is not None:
            features = embedder.compressor(features)
        adapted = embedder.adapter(features).packed()
        torch.testing.assert_close(adapted, arithmetic(x_LD), rtol=0, atol=1e-9)

        saved_backbone = {name: tensor.double() for name, tensor in backbone().items()}
        expected = RWKV7(
            RWKV7Config(
                num_layers=2,
                hidden_size=WIDTH,
                decay_low_rank_dim=8,
                a_low_rank_dim=10,
                v_low_rank_dim=6,
                gate_low_rank_dim=12,
            ),
            VOCAB,
        )
        expected.double().load_state_dict(saved_backbone)
        torch.testing.assert_close(model.backbone(adapted[None])[0], expected(adapted[None])[0], rtol=0, atol=1e-12)


def test_an_imported_run_answers_and_is_trained_on(manifest: Path, tmp_path: Path) -> None:
    tensors, _ = old_picture()
    run = RunFolder(tmp_path / "run")
    import_run(saved(tensors, tmp_path / "authors.pth"), manifest, run.path)
    assert len(load(run.path, device="cpu").generate("Say yes 2 times.", max_tokens=3)) <= 12
    assert list(json.loads(run.lock.read_text())["weights"]) == ["imported/authors.pth"]
    train(load_manifest(run.manifest), run.path, resume=True, device="cpu", progress_bar=False)
    trained = read_tensors(run.latest() / "series.adapter.safetensors")
    begun = tensors["modality.world_encoder.adapter.proj.0.weight"].float()
    difference = (trained["mlp.0.weight"] - begun).abs().max()
    assert 0 < difference < 0.05, "training went on from the imported adapter"
    assert run.latest().name == "step-00000010"


def test_the_command_imports(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved(new_picture()[0], tmp_path / "authors.pth")
    assert run_program(["convert", source, str(tmp_path / "run"), "--manifest", str(manifest)]) == 0
    assert f"imported: {tmp_path / 'run'}, rwkv7 of hidden size {WIDTH}" in capsys.readouterr().out
    assert run_program(["convert", source, str(tmp_path / "run"), "--manifest", str(manifest)]) == 2
    assert "already exists" in capsys.readouterr().err


def siglip_tower() -> Any:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(2)
    sizes = {"image_size": 32, "patch_size": 16, "hidden_size": FEATURES, "num_hidden_layers": 1}
    return SiglipVisionModel(SiglipVisionConfig(**sizes, num_attention_heads=2, intermediate_size=16))


def image_manifest(manifest: Path, hidden_size: int = FEATURES) -> Path:
    document = yaml.safe_load(manifest.read_text())
    sizes = {
        "image_size": 32,
        "patch_size": 16,
        "hidden_size": hidden_size,
        "num_layers": 1,
        "num_heads": 2,
        "intermediate_size": 16,
    }
    encoder = {"type": "siglip2", "init": "scratch", "resample": "bilinear", **sizes}
    document["modalities"] = {"image": {"encoder": encoder}}
    document["heads"] = {"lm": {"type": "lm"}}
    manifest.write_text(yaml.safe_dump(document, sort_keys=False))
    return manifest


@pytest.mark.parametrize("prefix", ["modality.world_encoder.model.", "encoder.model."])
def test_a_trained_encoder_is_taken_along(prefix: str, manifest: Path, tmp_path: Path) -> None:
    tensors = (old_picture if prefix.startswith("modality") else new_picture)()[0]
    tower = siglip_tower()
    weights = {name.removeprefix("vision_model."): tensor for name, tensor in tower.state_dict().items()}
    source = saved(tensors | under(prefix, weights), tmp_path / "authors.pth")
    import_run(source, image_manifest(manifest), tmp_path / "run")
    stored = read_tensors(RunFolder(tmp_path / "run").latest() / "image.encoder.safetensors")
    assert torch.equal(stored["model.embeddings.patch_embedding.weight"], weights["embeddings.patch_embedding.weight"])


def test_a_trained_encoder_of_another_kind_is_refused(manifest: Path, tmp_path: Path) -> None:
    tensors = new_picture()[0] | under("encoder.model.", random({"conv1.weight": (4, 4)}))
    source = saved(tensors, tmp_path / "authors.pth")
    with pytest.raises(CheckpointError, match=r"reads no pretrained weights"):
        import_run(source, manifest, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"trained encoder of .* is not that of the manifest"):
        import_run(source, image_manifest(manifest), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_encoder_of_another_width_is_refused(manifest: Path, tmp_path: Path) -> None:
    source = saved(new_picture()[0], tmp_path / "authors.pth")
    with pytest.raises(CheckpointError, match=r"reads features of dimension 8, but the encoder 'siglip2' .* has 12"):
        import_run(source, image_manifest(manifest, hidden_size=12), tmp_path / "run")


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("proj.mlp.2.bias"), r"has an unknown layout; its tensors: mlp\.0\.bias, mlp\.0\.weight"),
        (without("llm.blocks.1.att.k_a"), r"missing: blocks\.1\.att\.k_a"),
        (lambda tensors: tensors | {"llm.blocks.1.att.extra": torch.ones(2)}, r"unexpected: blocks\.1\.att\.extra"),
        (lambda tensors: {key: tensors[key] for key in tensors if "proj." not in key}, "holds no adapter"),
        (
            lambda tensors: tensors | under("proj.", random(perceptron("mlp", 100))),
            "perceptron of .* has widths 8, 100, 64",
        ),
        (
            lambda tensors: tensors | {"proj.pre_norm.weight": torch.ones(8), "proj.pre_norm.bias": torch.ones(8)},
            "normalizes what the perceptron reads",
        ),
        (
            lambda tensors: tensors | under("proj.deepstack.0.", random(perceptron("mlp", 64))),
            "DeepStack",
        ),
    ],
    ids=["partial adapter", "partial backbone", "extra", "no adapter", "odd width", "norm before", "deepstack"],
)
def test_what_cannot_be_expressed_is_refused(
    damage: Callable[[Tensors], Tensors], message: str, manifest: Path, tmp_path: Path
) -> None:
    source = saved(damage(new_picture()[0]), tmp_path / "authors.pth")
    with pytest.raises(CheckpointError, match=message):
        import_run(source, manifest, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model_type", [None, "modrwkv", "rwkv7_vl"])
def test_only_the_configuration_tells_where_equal_widths_are_normalized(
    model_type: str | None, manifest: Path, tmp_path: Path
) -> None:
    adapter = random(perceptron("mlp", 4 * WIDTH, WIDTH) | NORM)
    folder = tmp_path / "hub"
    folder.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in exported(adapter).items()}
    save_file(tensors, folder / "model.safetensors")
    if model_type is not None:
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    document = yaml.safe_load(manifest.read_text())
    document["modalities"]["series"]["encoder"]["hidden_size"] = WIDTH
    manifest.write_text(yaml.safe_dump(document, sort_keys=False))
    if model_type == "rwkv7_vl":
        import_run(str(folder), manifest, tmp_path / "run")
        assert RunFolder(tmp_path / "run").latest().name == "step-00000000"
    else:
        with pytest.raises(CheckpointError, match="may normalize before its perceptron"):
            import_run(str(folder), manifest, tmp_path / "run")


def test_one_of_several_modalities_must_be_named(manifest: Path, tmp_path: Path) -> None:
    document = yaml.safe_load(manifest.read_text())
    document["modalities"]["image"] = {
        "encoder": {
            "type": "siglip2",
            "init": "scratch",
            "image_size": 32,
            "num_layers": 1,
            "hidden_size": 12,
            "num_heads": 2,
        },
        "adapter": {"type": "mlp", "expansion": 1},
    }
    manifest.write_text(yaml.safe_dump(document, sort_keys=False))
    source = saved(new_picture()[0], tmp_path / "authors.pth")
    with pytest.raises(ManifestError, match="has 2 modalities of its own: series, image"):
        import_run(source, manifest, tmp_path / "run")
    import_run(source, manifest, tmp_path / "run", modality="series")
    latest = RunFolder(tmp_path / "run").latest()
    assert read_tensors(latest / "image.adapter.safetensors")["mlp.0.weight"].isfinite().all()
    assert (latest / "series.adapter.safetensors").is_file()
