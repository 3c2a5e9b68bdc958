"""The contract of heads."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Head, Query, QueryHead, TokenHead, TranscriptHead
from modrwkv_core.interfaces.config import (
    ForecastHeadConfig,
    HeadConfig,
    QueryHeadConfig,
    TokenHeadConfig,
    TranscriptHeadConfig,
)
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.values import Features
from modrwkv_core.testing.fakes import FakeBackbone, FakeBackboneConfig
from modrwkv_core.testing.neural import SAME, NeuralContract, assert_near
from modrwkv_core.testing.registration import load

__all__ = ["HeadContract"]


class HeadContract(NeuralContract):
    """A head; a subclass sets ``plugin``, ``name`` and ``configs``, and for query heads says what examples to try.

    Attributes:
        hidden_size: D of the backbone to try it with.
        vocab_size: Ids of that backbone.
    """

    kind: ClassVar = "head"
    config_base: ClassVar = HeadConfig
    interface: ClassVar = Head

    hidden_size: ClassVar[int] = 16
    vocab_size: ClassVar[int] = 32

    backbone: FakeBackbone

    def examples(self, config: Any) -> Sequence[tuple[Any, Any]]:
        """Return a few signals with the targets of records; only query heads need them."""
        return ()

    def bad_examples(self, config: Any) -> Sequence[tuple[Any, Any]]:
        """Return signals and targets of which ``prepare`` must refuse each pair."""
        return ()

    def build(self, config: Any) -> nn.Module:
        """Construct the head beside a small backbone, which is the same for all seeds: it is no part of the head."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.backbone = FakeBackbone(FakeBackboneConfig(hidden_size=self.hidden_size), self.vocab_size)
        head: nn.Module = load(self.spec.implementation)(config, self.backbone)
        return head

    def hidden(self, count: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
        """Make ``count`` hidden vectors."""
        vectors = torch.randn(count, self.hidden_size, generator=torch.Generator().manual_seed(0))
        return vectors.to(device, dtype)

    def inputs(self, config: Any, count: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
        """Make what the head reads about ``count`` targets, of which any slice may be taken: see :func:`chosen`."""
        if not isinstance(config, TranscriptHeadConfig):
            return self.hidden(count, dtype, device)
        lengths = torch.arange(count) % 3 + 6
        values = self.hidden(count * int(lengths.max()), dtype, device).view(count, -1, self.hidden_size)
        return Features(values, lengths).with_values(values)

    def targets(self, config: Any, device: str = "cpu") -> Any:
        """Return what supervises the head, of which any slice also does: ids, transcripts, or queries."""
        ids = torch.arange(5, device=device) % self.vocab_size
        if isinstance(config, TokenHeadConfig):
            return ids
        if isinstance(config, TranscriptHeadConfig):
            return [ids[: 1 + count % 4] for count in range(5)]
        examples = self.examples(config)
        assert len(examples) > 1, f"{type(self).__name__}.examples must give two examples or more"
        return [Query(0, *config.prepare(signal, target)) for signal, target in examples]

    def outputs(self, module: Any, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
        """Return the loss."""
        targets = self.targets(module.config, device)
        self.backbone.to(device, dtype)
        loss: Tensor = module.supervise(self.inputs(module.config, len(targets), dtype, device), targets)
        assert loss.shape == (), f"the loss of {self.name} has the shape {list(loss.shape)}, not that of a scalar"
        return loss

    def test_says_what_supervises_it(self, settings: Mapping[str, Any]) -> None:
        """The configuration and the implementation say alike whether tokens, transcripts or queries supervise the head.

        Remedy: derive from ``TokenHeadConfig`` and ``TokenHead``, from ``TranscriptHeadConfig`` and
        ``TranscriptHead``, or from ``QueryHeadConfig`` and ``QueryHead``.
        """
        config, head = self.config(settings), load(self.spec.implementation)
        kinds = ((TokenHeadConfig, TokenHead), (QueryHeadConfig, QueryHead), (TranscriptHeadConfig, TranscriptHead))
        found = [isinstance(config, base) and issubclass(head, interface) for base, interface in kinds]
        assert sum(found) == 1, f"{head.__name__} and {type(config).__name__} are not of one kind of head"

    def test_loss_is_the_mean_over_targets(self, settings: Mapping[str, Any]) -> None:
        """The loss of several targets is the mean of their losses.

        Remedy: average over targets, each with the same weight.
        """
        module = self.made(settings)
        targets = self.targets(module.config)
        hidden = self.inputs(module.config, len(targets))
        single = torch.stack([module.supervise(chosen(hidden, i), targets[i : i + 1]) for i in range(len(targets))])
        assert_near(self.outputs(module), single.mean(), SAME, f"the loss of {self.name} is not a mean over targets")

    def test_gradient_reaches_the_backbone(self, settings: Mapping[str, Any]) -> None:
        """The loss trains the backbone through every hidden vector.

        Remedy: use every hidden vector and ``detach`` none.
        """
        module = self.made(settings)
        targets = self.targets(module.config)
        hidden = self.inputs(module.config, len(targets))
        vectors = (hidden.values if isinstance(hidden, Features) else hidden).requires_grad_()
        module.supervise(hidden, targets).backward()
        assert vectors.grad is not None, f"the loss of {self.name} does not depend on the hidden vectors"
        gradients = replace(hidden, values=vectors.grad).packed() if isinstance(hidden, Features) else vectors.grad
        assert (gradients.abs().amax(dim=1) > 0).all(), f"the loss of {self.name} ignores some hidden vectors"

    def test_backbone_is_not_part_of_the_head(self, settings: Mapping[str, Any]) -> None:
        """The backbone is saved and trained once, not again as a submodule of the head.

        Remedy: use ``self.backbone`` of the base class and do not assign the backbone to an attribute.
        """
        held = [name for name, child in self.made(settings).named_modules() if isinstance(child, FakeBackbone)]
        assert not held, f"{self.name} holds the backbone as its submodule {held[0]}; use the base's `backbone`"

    def test_predicts_one_answer_for_each_hidden_vector(self, settings: Mapping[str, Any]) -> None:
        """Predictions do not depend on their neighbors: logits for tokens, plain values in the form of targets, ids.

        Remedy: return one prediction for each query, as a text, a number, a NumPy array or a ``Forecast``, which
        ``prepare`` accepts as a target.
        """
        module = self.made(settings)
        with torch.no_grad():
            if isinstance(module.config, TokenHeadConfig):
                self._check_logits(module)
            elif isinstance(module.config, TranscriptHeadConfig):
                self._check_transcripts(module)
            else:
                self._check_predictions(module)

    def _check_logits(self, module: Any) -> None:
        hidden = self.hidden(4)
        logits = module.predict(hidden)
        assert list(logits.shape) == [4, self.vocab_size], f"{self.name} gives logits {list(logits.shape)}"
        alone = torch.cat([module.predict(hidden[i : i + 1]) for i in range(4)])
        assert_near(logits, alone, SAME, f"{self.name} predicts something else for a batch")

    def _check_transcripts(self, module: Any) -> None:
        hidden = self.inputs(module.config, 4)
        transcripts = module.predict(hidden)
        alone = [ids for i in range(4) for ids in module.predict(chosen(hidden, i))]
        assert transcripts == alone, f"{self.name} predicts something else for a batch: {transcripts}, {alone}"
        strange = {token for ids in transcripts for token in ids if token not in range(self.vocab_size)}
        assert not strange, f"{self.name} predicts {strange}, which are no ids of {self.vocab_size}"

    def _check_predictions(self, module: Any) -> None:
        config = module.config
        queries = [Query(0, config.prepare(signal, None)[0], None) for signal, _ in self.examples(config)]
        hidden = self.hidden(len(queries))
        predictions = module.predict(hidden, queries)
        assert len(predictions) == len(queries), f"{self.name} gives {len(predictions)} for {len(queries)} queries"
        for index, (prediction, query) in enumerate(zip(predictions, queries, strict=True)):
            assert not isinstance(prediction, Tensor), f"{self.name} predicts tensors: return plain values"
            [alone] = module.predict(hidden[index : index + 1], [query])
            assert _close(prediction, alone), f"{self.name} predicts something else for a batch: {prediction}, {alone}"
            if isinstance(config, ForecastHeadConfig):
                shape = np.shape(prediction)
                crossing = isinstance(prediction, Forecast) and not _ascend(prediction)
                assert not crossing, f"{self.name} gives quantiles that cross: sort them"
                assert shape == (config.horizon, config.channels), f"{self.name} forecasts an array of shape {shape}"
            try:
                config.prepare(query.signal, prediction)
            except DataError as error:
                raise AssertionError(f"{self.name} predicts what is no target: {error}") from error

    def test_prepares_queries_in_workers(self, settings: Mapping[str, Any]) -> None:
        """What ``prepare`` returns reaches the model pickled; what the head cannot use is a ``DataError`` there.

        Remedy: check signals and targets in ``prepare``, and return objects that pickle.
        """
        config = self.config(settings)
        if not isinstance(config, QueryHeadConfig):
            return
        for signal, target in self.examples(config):
            pickle.loads(pickle.dumps(config.prepare(signal, target)))
        for signal, target in self.bad_examples(config):
            try:
                config.prepare(signal, target)
            except DataError:
                continue
            raise AssertionError(f"`prepare` of {self.name} accepts the target {target!r}")


def chosen(inputs: Tensor | Features, index: int) -> Tensor | Features:
    """Return what a head reads about one target: its hidden vector, or its vectors without padding."""
    if isinstance(inputs, Tensor):
        return inputs[index : index + 1]
    length = inputs.lengths[index : index + 1]
    return Features(inputs.values[index : index + 1, : int(length)], length)


def _ascend(forecast: Forecast) -> bool:
    return all((low <= high).all() for low, high in pairwise(forecast.quantiles.values()))


def _close(first: Any, second: Any) -> bool:
    if isinstance(first, Forecast):
        return _close(first.points, second.points) and all(
            _close(first.quantiles[level], second.quantiles[level]) for level in first.quantiles
        )
    if isinstance(first, np.ndarray | float):
        return np.shape(first) == np.shape(second) and bool(np.allclose(first, second, rtol=1e-3, atol=1e-4))
    return bool(first == second)
