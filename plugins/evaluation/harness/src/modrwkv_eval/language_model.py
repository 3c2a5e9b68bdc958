"""The model ``modrwkv`` of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.inference.request import Request
from modrwkv_core.model.multimodal import PREFILL_CHUNK
from modrwkv_eval.chat_text import is_chat, parse_chat, render_chat
from modrwkv_eval.generation import GenerationOptions
from modrwkv_eval.loading import engine_settings, load_session

__all__ = ["ModRWKVLM"]

Scored: TypeAlias = tuple[tuple[str, str] | None, list[int], list[int]]
"""The texts of a context and its continuation, None for a window of a longer text, and the ids of both."""

_BEGIN: Final = 0
"""The id that begins a text, and that ends it."""


class ModRWKVLM(TemplateLM):
    """A trained run in lm-evaluation-harness.

    A text begins with the id 0, as in the training of the RWKV-7 models and as tokenizers with a token for the
    beginning add it. The harness itself splits a context and its continuation into tokens.

    Args:
        run: The run's folder.
        checkpoint: ``last``, ``best`` or a step.
        device: Where to compute; None takes a GPU if there is one.
        weights: How the backbone's weights are stored for answering, as :func:`modrwkv_core.load` takes it.
        state: File of the state that every text begins with; None takes the run's own.
        head: Name of the token head; None takes the only one.
        batch_size: Texts that are read or answered together.
        max_length: Tokens of a window of text, with which one compares with a model of that context length; None sets
            no limit, as a recurrent model has none.
        max_gen_toks: Tokens of an answer if the task sets no limit.

    Raises:
        ModRWKVError: The run cannot be loaded; an argument is out of its range.
    """

    def __init__(
        self,
        run: str,
        checkpoint: str | int = "last",
        device: str | None = None,
        weights: str = "auto",
        state: str | None = None,
        head: str | None = None,
        batch_size: int | str = 1,
        max_length: int | None = None,
        max_gen_toks: int = 256,
    ) -> None:
        super().__init__()
        if max_length is not None and max_length < 1:
            raise ModRWKVError(f"max_length is {max_length}", hint="it must be at least 1; leave it out for no limit")
        self.session, self.batch_size = load_session(
            run, checkpoint=checkpoint, device=device, weights=weights, state=state, batch_size=batch_size
        )
        self.head = self.session.head_names.token(head)
        self.max_length = max_length
        self.max_gen_toks = max_gen_toks
        self._device = self.session.model.device

    @property
    def eot_token_id(self) -> int:
        """The id that ends a text, and with which one begins."""
        return _BEGIN

    @property
    def tokenizer_name(self) -> str:
        """Name the tokenizer and the chat template, for the harness's cache of requests."""
        manifest = self.session.loaded.manifest
        return f"modrwkv-{manifest.tokenizer.type}-{manifest.chat_template}"

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a conversation as the string that the other methods read; see :mod:`modrwkv_eval.chat_text`."""
        return render_chat(chat_history, open_answer=add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Return the ids of a text, or of a conversation in the model's chat template.

        Args:
            string: The text.
            add_special_tokens: Whether the id 0 begins a text; None means that it does. A conversation begins as its
                template has it.
            kwargs: Nothing; the harness's interface has them.
        """
        encoder = self.session.conversations
        if is_chat(string):
            turns, begun = parse_chat(string)
            segments = encoder.prompt_segments(turns, PREFILL_CHUNK, think=False)
            ids = [token for segment in segments for token in segment.ids.tolist()]
            return ids + (encoder.answer(begun, end=False) if begun.strip() else [])
        ids = encoder.tokenizer.encode(string)
        return ids if add_special_tokens is False else [_BEGIN, *ids]

    def _loglikelihood_tokens(
        self, requests: Sequence[Scored], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Score continuations, in batches of texts of about the same length; equal contexts are read once."""
        order = sorted(range(len(requests)), key=lambda at: (-len(requests[at][1]) - len(requests[at][2]), at))
        found: dict[int, tuple[float, bool]] = {}
        for start in tqdm(range(0, len(order), self.batch_size), "Scoring", disable=disable_tqdm):
            batch = order[start : start + self.batch_size]
            contexts, continuations = zip(*(self._window(*requests[at]) for at in batch), strict=True)
            scored = self.session.token_log_likelihoods(contexts, continuations, self.head)
            for at, one in zip(batch, scored, strict=True):
                found[at] = one.total, one.greedy
                if requests[at][0] is not None:
                    self.cache_hook.add_partial("loglikelihood", requests[at][0], found[at])
        return [found[at] for at in range(len(requests))]

    def _window(
        self, texts: tuple[str, str] | None, context: list[int], continuation: list[int]
    ) -> tuple[list[int], list[int]]:
        """Cut a context from the left, so that the window that is read has ``max_length`` tokens."""
        if not continuation and texts is not None:
            raise DataError(
                f"the continuation {texts[1]!r} adds no token to its context, with which the tokenizer merges it",
                hint="let the task's continuations begin with their space",
            )
        if self.max_length is None:
            return context, continuation
        if len(continuation) > self.max_length:
            raise DataError(
                f"a continuation has {len(continuation)} tokens, more than max_length ({self.max_length})",
                hint="leave max_length out, or make it larger",
            )
        return context[-(self.max_length + 1 - len(continuation)) :], continuation

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return how likely whole texts are, read in windows of ``max_length`` tokens, or at once without it.

        Each token is predicted once; later windows are full, as in the harness's other models.
        """
        windows: list[Scored] = []
        owners: list[int] = []
        for owner, (text,) in enumerate(request.args for request in requests):
            ids = self.tok_encode(text, add_special_tokens=False)
            rolled = get_rolling_token_windows(ids, _BEGIN, self.max_length or max(len(ids), 1), 1)
            for context, predicted in map(make_disjoint_window, rolled):
                windows.append((None, context, predicted))
                owners.append(owner)
        totals = [0.0] * len(requests)
        for owner, (total, _) in zip(owners, self._loglikelihood_tokens(windows, disable_tqdm), strict=True):
            totals[owner] += total
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continue texts and conversations until a stop string, the end of the text or turn, or the limit of tokens."""
        made = (self._request(*request.args) for request in tqdm(requests, "Answering", disable=disable_tqdm))
        answers = self.session.generate_batch(made, engine_settings(self.batch_size))
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, answer.text)
        return [answer.text for answer in answers]

    def _request(self, context: str, arguments: dict[str, Any]) -> Request:
        options = GenerationOptions.of(arguments, self.max_gen_toks)
        settings: dict[str, Any] = {
            "max_tokens": options.max_tokens,
            "sampling": options.sampling,
            "stop": options.stop,
            "head": self.head,
        }
        turns, begun = parse_chat(context) if is_chat(context) else ((), "")
        if turns and not begun.strip():
            return Request(turns, **settings)
        ids = self.tok_encode(context)
        if self.max_length is not None:
            if options.max_tokens >= self.max_length:
                raise ModRWKVError(
                    f"the task generates {options.max_tokens} tokens, which leaves none of max_length for the context",
                    hint="leave max_length out, or make it larger",
                )
            ids = ids[-(self.max_length - options.max_tokens) :]
        return Request(prompt=ids, **settings)
