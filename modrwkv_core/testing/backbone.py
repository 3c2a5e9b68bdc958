"""The contract of backbones and their states.

B = batch size, T = tokens, D = hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor, nn

from modrwkv_core.errors import CheckpointError, ComponentError
from modrwkv_core.interfaces.component import INITIAL_STATE, Backbone
from modrwkv_core.interfaces.config import BackboneConfig
from modrwkv_core.storage.tensors import write_safetensors
from modrwkv_core.testing.neural import SAME, NeuralContract, assert_near
from modrwkv_core.testing.registration import load

__all__ = ["BackboneContract"]


class BackboneContract(NeuralContract):
    """A backbone; a subclass sets ``plugin``, ``name`` and ``configs``, which initialize from scratch.

    Attributes:
        vocab_size: Ids to try it with.
        tokens: Length of the sequences to try it with.
    """

    kind: ClassVar = "backbone"
    config_base: ClassVar = BackboneConfig
    interface: ClassVar = Backbone

    vocab_size: ClassVar[int] = 64
    tokens: ClassVar[int] = 23

    def build(self, config: Any) -> nn.Module:
        """Construct the backbone."""
        backbone: nn.Module = load(self.spec.implementation)(config, self.vocab_size)
        return backbone

    def ids(self, batch_size: int = 3) -> Tensor:
        """Make ids ``[batch_size, tokens]``."""
        return torch.randint(0, self.vocab_size, (batch_size, self.tokens), generator=torch.Generator().manual_seed(0))

    def outputs(self, module: Any, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
        """Return the logits of three sequences."""
        ids = self.ids().to(device)
        hidden, state = module(module.embed(ids))
        assert list(hidden.shape) == [*ids.shape, module.hidden_size], f"{self.name} gives hidden {list(hidden.shape)}"
        assert state.batch_size == len(ids), f"{self.name} gives a state of {state.batch_size} sequences for {len(ids)}"
        logits: Tensor = module.logits(hidden)
        assert list(logits.shape) == [*ids.shape, self.vocab_size], f"{self.name} gives logits {list(logits.shape)}"
        return logits

    def embedded(self, settings: Mapping[str, Any]) -> tuple[Any, Tensor]:
        """Construct a backbone and embed the ids with it."""
        module = self.made(settings)
        return module, module.embed(self.ids()).detach()

    def test_hidden_size_is_that_of_the_configuration(self, settings: Mapping[str, Any]) -> None:
        """``hidden_size`` and ``vocab_size`` are what the wiring check was told.

        Remedy: take ``hidden_size`` and ``vocab_size`` from the configuration and the constructor.
        """
        module = self.made(settings)
        assert module.hidden_size == module.config.in_dim, (
            f"hidden_size {module.hidden_size}, configured {module.config.in_dim}"
        )
        assert module.vocab_size == self.vocab_size, f"{module.vocab_size} ids, constructed for {self.vocab_size}"

    def test_the_future_changes_nothing_before_it(self, settings: Mapping[str, Any]) -> None:
        """A hidden vector depends on its token and those before it.

        Remedy: make every operation over time causal.
        """
        module, x_BTD = self.embedded(settings)
        cut = self.tokens // 2
        assert_near(module(x_BTD[:, :cut])[0], module(x_BTD)[0][:, :cut], SAME, f"{self.name} sees the future")

    def test_prefill_in_chunks_equals_prefill_in_one_go(self, settings: Mapping[str, Any]) -> None:
        """The state carries everything from one chunk to the next, of whatever length; inputs stay as they are.

        Remedy: put all that a later token needs into the state.
        """
        module, x_BTD = self.embedded(settings)
        whole, _ = module(x_BTD)
        for chunk in (1, 5, self.tokens - 1):
            state, parts = None, []
            for part in torch.split(x_BTD, chunk, dim=1):
                hidden, state = module(part, state=state)
                parts.append(hidden)
            assert_near(torch.cat(parts, dim=1), whole, SAME, f"{self.name} in chunks of {chunk} differs")

    def test_prefill_gives_the_last_hidden_vectors(self, settings: Mapping[str, Any]) -> None:
        """``prefill`` returns the last hidden vectors of ``forward``, and the same state.

        Remedy: leave ``prefill`` as it is inherited, or let it return one vector for each row or packed sequence.
        """
        module, x_BTD = self.embedded(settings)
        bounds = CuSeqlens.of([0, 1, self.tokens])
        with torch.no_grad():
            for x, cu_seqlens, last in ((x_BTD, None, -1), (x_BTD[:1], bounds, [0, -1])):
                hidden, after = module(x, cu_seqlens=cu_seqlens)
                last_BD, state = module.prefill(x, cu_seqlens=cu_seqlens)
                expected = hidden[:, last].reshape(last_BD.shape)
                assert_near(
                    last_BD, expected, SAME, f"{self.name}.prefill returns other vectors than the last hidden ones"
                )
                self.assert_same_state(module, state, after, f"{self.name} leaves another state after prefill")

    def test_sequence_in_a_batch_equals_the_sequence_alone(self, settings: Mapping[str, Any]) -> None:
        """Sequences do not mix.

        Remedy: normalize over features, never over the batch.
        """
        module, x_BTD = self.embedded(settings)
        alone = torch.cat([module(x_BTD[index : index + 1])[0] for index in range(len(x_BTD))])
        assert_near(module(x_BTD)[0], alone, SAME, f"{self.name}: a batch differs from its sequences alone")

    def test_packed_sequences_equal_the_sequences_alone(self, settings: Mapping[str, Any]) -> None:
        """The whole state resets where a packed sequence begins, or begins with that sequence's state.

        Remedy: reset the whole state, shifts included, where ``cu_seqlens`` says that a sequence begins.
        """
        module, x_BTD = self.embedded(settings)
        bounds = [0, 1, 9, self.tokens]
        packed_1TD, cu_seqlens = x_BTD[:1], CuSeqlens.of(bounds)
        _, started = module(x_BTD[:, :4])
        for state in (None, started):
            hidden, last = module(packed_1TD, state=state, cu_seqlens=cu_seqlens)
            assert last.batch_size == len(bounds) - 1, (
                f"{self.name} gives {last.batch_size} states for {len(bounds) - 1} sequences"
            )
            for index, (begin, end) in enumerate(pairwise(bounds)):
                first = None if state is None else state.select([index])
                alone, after = module(packed_1TD[:, begin:end], state=first)
                where = f"{self.name}: packed sequence {index} {'without' if state is None else 'with'} a state"
                assert_near(hidden[:, begin:end], alone, SAME, f"{where} differs from the sequence alone")
                self.assert_same_state(module, last.select([index]), after, f"{where} leaves another state")

    def test_training_passes_equal_the_forward_pass(self, settings: Mapping[str, Any]) -> None:
        """What a trainer reads, and the gradients that it sends back, are those of ``forward``.

        Remedy: leave ``training_pass`` as it is inherited, or let it read packed sequences from the beginning.
        """
        module, x_BTD = self.embedded(settings)
        cu_seqlens = CuSeqlens.of([0, 9, self.tokens])
        found = []
        for is_training_pass in (False, True):
            x_1TD = x_BTD[:1].detach().requires_grad_()
            hidden = (
                module.training_pass(x_1TD, cu_seqlens) if is_training_pass else module(x_1TD, cu_seqlens=cu_seqlens)[0]
            )
            torch.autograd.backward(hidden.square().sum())
            assert x_1TD.grad is not None
            found.append((hidden.detach().clone(), x_1TD.grad))
        for name, expected, given in zip(("hidden vectors", "gradients"), *found, strict=True):
            assert_near(given, expected, SAME, f"{self.name}: {name} of training_pass differ from those of forward")

    def test_no_state_is_the_initial_state(self, settings: Mapping[str, Any]) -> None:
        """``init_state`` is what a sequence begins with.

        Remedy: begin with ``init_state`` where ``state`` is None.
        """
        module, x_BTD = self.embedded(settings)
        begun, _ = module(x_BTD, state=module.init_state(len(x_BTD)))
        assert_near(begun, module(x_BTD)[0], 0.0, f"{self.name}: init_state differs from no state")

    def test_every_sequence_begins_with_the_state_that_is_set(self, settings: Mapping[str, Any]) -> None:
        """After ``set_initial_state`` sequences alone, in batches and packed begin there, and gradients reach it.

        A backbone that cannot raises ``ComponentError``.

        Remedy: let ``init_state`` return copies of the parameters that ``set_initial_state`` makes.
        """
        module, x_BTD = self.embedded(settings)
        _, after = module(x_BTD[:1])
        expected = [module(x_BTD[:1, begin:end], state=after)[0] for begin, end in ((0, 9), (9, self.tokens))]
        try:
            module.set_initial_state(after)
        except ComponentError:
            return
        packed, _ = module(x_BTD[:1], cu_seqlens=CuSeqlens.of([0, 9, self.tokens]))
        assert_near(packed, torch.cat(expected, dim=1), SAME, f"{self.name}: a packed sequence begins elsewhere")
        batch, _ = module(x_BTD[:1, :9].expand(2, -1, -1))
        assert_near(batch[1:], expected[0], SAME, f"{self.name}: a sequence of a batch begins elsewhere")
        torch.autograd.backward(packed.square().sum())
        learns = {name: each for name, each in module.named_parameters() if name.startswith(INITIAL_STATE)}
        assert learns, f"no parameter of {self.name} is called {INITIAL_STATE}*"
        dead = [name for name, each in learns.items() if each.grad is None or not each.grad.abs().max() > 0]
        assert not dead, f"{', '.join(dead)} of {self.name} have no gradient"

    def test_states_fork_stack_and_select(self, settings: Mapping[str, Any]) -> None:
        """Sequences of a state can be copied, joined and picked.

        Remedy: copy sequences in the order that the interface says.
        """
        module, x_BTD = self.embedded(settings)
        _, state = module(x_BTD)
        forked = state.fork(2)
        assert forked.batch_size == 2 * len(x_BTD), (
            f"{self.name}: fork(2) of {len(x_BTD)} sequences gives {forked.batch_size}"
        )
        self.assert_same_state(module, forked.select([0, 2, 4]), state, f"{self.name}: fork changes sequences")
        self.assert_same_state(
            module, forked.select([1, 3, 5]), state, f"{self.name}: fork changes the order of sequences"
        )
        alone = [state.select([index]) for index in range(len(x_BTD))]
        self.assert_same_state(module, type(state).stack(alone), state, f"{self.name}: stacked sequences differ")
        self.assert_same_state(
            module,
            state.select([2, 0]),
            type(state).stack([alone[2], alone[0]]),
            f"{self.name}: select mixes sequences up",
        )

    def test_using_a_state_leaves_it_as_it_was(self, settings: Mapping[str, Any]) -> None:
        """A state is a value: reading on from it, or from its fork, does not change it.

        Remedy: work on a copy of the state.
        """
        module, x_BTD = self.embedded(settings)
        _, state = module(x_BTD)
        first, _ = module(x_BTD, state=state)
        module(x_BTD, state=state.fork())
        second, _ = module(x_BTD, state=state)
        assert_near(second, first, 0.0, f"{self.name} changes a state that it was given; work on a copy")

    def test_states_are_saved_whole_and_of_constant_size(self, settings: Mapping[str, Any], tmp_path: Path) -> None:
        """A loaded state goes on as the saved one; its size does not depend on how much was read.

        Remedy: save every tensor of the state, and none that grows with what was read. A state that grows by design, as
        a key-value cache does, says ``constant_size = False``.
        """
        module, x_BTD = self.embedded(settings)
        _, short = module(x_BTD[:, :1])
        _, long = module(x_BTD)
        short.save(tmp_path / "short")
        long.save(tmp_path / "long")
        self.assert_same_state(module, type(long).load(tmp_path / "long"), long, f"{self.name}: a loaded state differs")
        sizes = [(tmp_path / name).stat().st_size for name in ("short", "long")]
        if type(long).constant_size:
            assert sizes[0] == sizes[1], f"the state of {self.name} grows from {sizes[0]} to {sizes[1]} bytes"

    def test_damaged_states_are_refused(self, settings: Mapping[str, Any], tmp_path: Path) -> None:
        """A file that is missing, truncated or without tensors is a ``CheckpointError``.

        Remedy: let ``from_tensors`` raise a ``KeyError`` or a ``ValueError`` for tensors that are not those of a state.
        """
        module, x_BTD = self.embedded(settings)
        _, state = module(x_BTD)
        state.save(tmp_path / "cut")
        content = (tmp_path / "cut").read_bytes()
        (tmp_path / "cut").write_bytes(content[: len(content) // 2])
        write_safetensors({}, tmp_path / "empty", {"content": state.content})
        for name in ("cut", "absent", "empty"):
            try:
                type(state).load(tmp_path / name)
            except CheckpointError:
                continue
            raise AssertionError(f"{self.name} loads a state from a file that is {name}")

    def test_optimizer_settings_name_parameters(self, settings: Mapping[str, Any]) -> None:
        """``weight_decay_parameters``, ``lr_multipliers`` and ``product_parameters`` name parameters that exist.

        Remedy: use the names of ``named_parameters``.
        """
        module = self.made(settings)
        known = {name for name, _ in module.named_parameters()}
        named = module.weight_decay_parameters() | set(module.lr_multipliers()) | module.product_parameters()
        strange = sorted(named - known)
        assert not strange, f"{self.name} has no parameters {', '.join(strange)}"

    def assert_same_state(self, module: Any, actual: Any, expected: Any, message: str) -> None:
        """Assert that two states lead to the same continuation."""
        x_BTD = module.embed(self.ids(batch_size=1)[:, :4]).expand(expected.batch_size, -1, -1).detach()
        assert actual.batch_size == expected.batch_size, (
            f"{message}: {actual.batch_size} sequences instead of {expected.batch_size}"
        )
        assert_near(module(x_BTD, state=actual)[0], module(x_BTD, state=expected)[0], SAME, message)
