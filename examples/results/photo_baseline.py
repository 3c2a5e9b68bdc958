"""Answer questions about photographs by convolutional networks and bags of words, on the records of a manifest.

MODRWKV_DATA=path/to/data python examples/results/photo_baseline.py examples/results/photos.yaml --seeds 0 1 2

Each sees the records of the manifest's phases in the same order and with the same augmentations as the manifest's
model, and chooses among the answers of the training data. There are two for each seed of the weights: ``small`` with
four convolutions, and ``manifest`` with the manifest's image encoder. Prints the accuracy of each for each evaluation
of the manifest as a line of JSON.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from transformers import get_cosine_schedule_with_warmup

from modrwkv_core.data.order import EpochOrder
from modrwkv_core.interfaces.augmentation import LabeledSignal
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.record import Media, Record, Text
from modrwkv_core.interfaces.source import Source
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.manifest.load import LoadedManifest, load_manifest
from modrwkv_core.manifest.schema import Phase
from modrwkv_core.model.assemble import assemble, open_source
from modrwkv_core.model.augmenting import add_augmentations
from modrwkv_core.model.build import build_encoder
from modrwkv_core.model.multimodal import MultimodalModel

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Pixels ``[images, 3, side, side]``; and for each question its image, its bag of words ``[words]`` and its answer."""

WARMUP_STEPS = 50

COLLECTED = 3000
"""Records of each source from which words and answers are collected."""


def pairs(record: Record) -> list[tuple[str, str]]:
    """Return the questions and answers of a record."""
    texts = [part.text for turn in record.turns for part in turn.parts if isinstance(part, Text)]
    return list(zip(texts[::2], texts[1::2], strict=True))


class Reader:
    """Makes a batch of records."""

    def __init__(self, loaded: LoadedManifest, model: MultimodalModel, sources: Sequence[Source[Any]]) -> None:
        self._preprocessor = model.preprocessors["image"]
        self._augmenter = add_augmentations(loaded, model)["image"]
        self.side = loaded.manifest.modalities["image"].encoder.image_size  # type: ignore[attr-defined]
        found = [
            pair for source in sources for nth in range(min(len(source), COLLECTED)) for pair in pairs(source[nth])
        ]
        self.words = {word: nth for nth, word in enumerate(sorted({word for q, _ in found for word in q.split()}))}
        self.answers = {answer: nth for nth, answer in enumerate(sorted({answer for _, answer in found}))}

    def __call__(self, records: Sequence[Record], seeds: Sequence[int] | None = None) -> Batch:
        """Read records; augment their images if there are seeds."""
        pixels, images, words, answers = [], [], [], []
        for row, record in enumerate(records):
            [media] = [part.media for turn in record.turns for part in turn.parts if isinstance(part, Media)]
            signal = self._preprocessor.decode(media)
            if seeds is not None:
                rng = np.random.default_rng([seeds[row], 0])
                signal = self._augmenter.augment(LabeledSignal(signal, ()), rng, lambda: None).signal
            pixels.append(self._preprocessor.process(signal).tensors["pixels"])
            for question, answer in pairs(record):
                images.append(row)
                words += [(len(answers), self.words[word]) for word in question.split()]
                answers.append(self.answers.get(answer, -1))
        bags = torch.zeros(len(answers), len(self.words))
        bags[tuple(torch.tensor(words).T)] = 1
        return torch.stack(pixels), torch.tensor(images), bags, torch.tensor(answers)


class Training(Dataset[Batch]):
    """The batches of a phase, in the order of the manifest's model."""

    def __init__(
        self, sources: Sequence[Source[Any]], phase: Phase, seed: int, batch_size: int, reader: Reader
    ) -> None:
        self._sources, self._phase, self._seed, self._batch_size = sources, phase, seed, batch_size
        self._reader = reader

    def __len__(self) -> int:
        assert self._phase.steps is not None, "the manifest's phases count steps"
        return self._phase.steps

    def __getitem__(self, step: int) -> Batch:
        if step >= len(self):
            raise IndexError(step)
        sizes, repeats = [len(source) for source in self._sources], [source.config.repeat for source in self._sources]
        records = []
        epoch, first = 0, step * self._batch_size
        order = EpochOrder(sizes, repeats, seed=self._seed, phase=self._phase.name, epoch=epoch)
        while first >= len(order):
            first -= len(order)
            epoch += 1
            order = EpochOrder(sizes, repeats, seed=self._seed, phase=self._phase.name, epoch=epoch)
        samples = np.arange(first, min(first + self._batch_size, len(order)))
        for source, record in order.records(samples).tolist():
            records.append(self._sources[source][record])
        seeds = order.seeds(samples).tolist()
        return self._reader(records, seeds)


class SmallTower(nn.Module):
    """Four convolutions of 3 x 3, each normalized and pooled by 2."""

    def __init__(self) -> None:
        super().__init__()
        channels = (3, 32, 64, 128, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return a grid of features ``[images, channels, side, side]``."""
        grid: Tensor = self.layers(functional.interpolate(pixels.float() / 127.5 - 1, (64, 64), mode="bilinear"))
        return grid


class ManifestTower(nn.Module):
    """The image encoder of the manifest."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Return a grid of features ``[images, channels, side, side]``."""
        values = self.encoder([MediaItem({"pixels": each}, 1) for each in pixels]).values
        side = round(values.shape[1] ** 0.5)
        return values.transpose(1, 2).unflatten(2, (side, side))


class Classifier(nn.Module):
    """A tower, a bag of words, their product and a hidden layer."""

    def __init__(self, tower: nn.Module, side: int, words: int, answers: int) -> None:
        super().__init__()
        self.tower = tower
        with torch.no_grad():
            channels = tower(torch.zeros(2, 3, side, side, dtype=torch.uint8)).shape[1]
        self.image = nn.Linear(channels * 16, 256)
        self.question = nn.Sequential(nn.Linear(words, 256), nn.ReLU(), nn.Linear(256, 256))
        self.answer = nn.Sequential(nn.Linear(768, 256), nn.ReLU(), nn.Linear(256, answers))

    def forward(self, pixels: Tensor, images: Tensor, bags: Tensor) -> Tensor:
        """Return the logits of the answers, ``[questions, answers]``."""
        grid = functional.adaptive_avg_pool2d(self.tower(pixels), 4)
        seen, asked = self.image(grid.flatten(1)).relu()[images], self.question(bags)
        logits: Tensor = self.answer(torch.cat([seen, asked, seen * asked.tanh()], dim=1))
        return logits


def main() -> None:
    """Train and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int, help="records of each evaluation; by default all")
    arguments = parser.parse_args()
    loaded = load_manifest(arguments.manifest, arguments.overrides)
    manifest = loaded.manifest
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def opened(configs: Sequence[SourceConfig]) -> list[Source[Any]]:
        return [open_source(loaded, config) for config in configs]

    reader = Reader(loaded, assemble(loaded, pretrained=False), opened(manifest.data.train))
    networks = {}
    encoder_config = manifest.modalities["image"].encoder
    for seed in arguments.seeds:
        torch.manual_seed(seed)
        towers = {"small": SmallTower(), "manifest": ManifestTower(build_encoder(loaded.registry, encoder_config))}
        for name, tower in towers.items():
            networks[name, seed] = Classifier(tower, reader.side, len(reader.words), len(reader.answers)).to(device)

    for phase in manifest.phases:
        trained = [(network, *optimizer_of(network, phase)) for network in networks.values()]
        data = opened(phase.data or manifest.data.train)
        batches = Training(data, phase, manifest.seed, phase.batch_size or manifest.data.batch_size or 16, reader)
        loader = DataLoader(batches, batch_size=None, num_workers=min(manifest.data.workers, 1))
        for step, batch in enumerate(loader):
            pixels, images, bags, answers = (each.to(device) for each in batch)
            losses = []
            for network, optimizer, schedule in trained:
                loss = functional.cross_entropy(network(pixels, images, bags), answers)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
            if step % 100 == 0:
                print(
                    f"{phase.name} {step}/{len(batches)} loss", *(f"{loss.item():.3f}" for loss in losses), flush=True
                )

    right: dict[tuple[str, int], dict[str, float]] = {key: {} for key in networks}
    for name, evaluation in manifest.evaluation.items():
        [source] = opened([evaluation.data])
        count = min(len(source), arguments.limit or len(source))
        correct = dict.fromkeys(networks, 0)
        for first in range(0, count, 256):
            records = [source[nth] for nth in range(first, min(first + 256, count))]
            pixels, images, bags, answers = (each.to(device) for each in reader(records))
            for key, network in networks.items():
                with torch.no_grad():
                    correct[key] += int((network.eval()(pixels, images, bags).argmax(1) == answers).sum())
        for key in networks:
            right[key][name] = round(100 * correct[key] / count, 2)
    for (tower, seed), scores in right.items():
        parameters = sum(each.numel() for each in networks[tower, seed].parameters())
        print(json.dumps({"tower": tower, "seed": seed, "parameters": parameters, "accuracy": scores}))


def optimizer_of(
    network: nn.Module, phase: Phase
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return an optimizer with the learning rate and the warm-up of a phase, then half a cosine down to zero."""
    assert phase.steps is not None, "the manifest's phases count steps"
    optimizer = torch.optim.AdamW(network.parameters(), lr=phase.lr, weight_decay=0.05)
    return optimizer, get_cosine_schedule_with_warmup(optimizer, WARMUP_STEPS, phase.steps)


if __name__ == "__main__":
    main()
