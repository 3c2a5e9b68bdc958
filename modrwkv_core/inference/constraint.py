"""Answers that a JSON schema, a regular expression or a list of choices allows.

V = vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.tokenizer import Tokenizer

try:
    from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
except ImportError as error:
    raise ModRWKVError(
        f"constraints of answers need llguidance, which cannot be imported: {error}",
        hint="pip install 'modrwkv[grammar]'",
    ) from error

__all__ = ["Constraint", "Constraints"]


class Constraint:
    """What one answer may still become. Made by :class:`Constraints`.

    It tells a sampler the tokens that may come next, and learns which one came. A token that ends the answer is
    allowed only where the answer is complete. A sampler works with a copy, so that one constraint may serve any number
    of answers.
    """

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def mask(self, logits_V: Tensor) -> None:
        """Set the logits of all tokens that must not come next to -inf, in place."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed_V = torch.from_numpy(np.unpackbits(bits, count=len(logits_V), bitorder="little").view(np.bool_))
        logits_V.masked_fill_(~allowed_V.to(logits_V.device), float("-inf"))

    def accept(self, token: int) -> None:
        """Go on behind ``token``.

        Raises:
            ModRWKVError: The constraint does not allow the token here.
        """
        if not self._matcher.consume_token(token):
            raise ModRWKVError(
                f"the constraint of the answer does not allow the token {token} here: {self._matcher.get_error()}",
                hint="let the schema, the expression or the choices allow text that this model's tokenizer can write",
            )

    @property
    def finished(self) -> bool:
        """Whether the answer is complete and nothing but its end may follow."""
        return self._matcher.is_stopped()

    def copy(self) -> Constraint:
        """Return a constraint that goes on from here by itself."""
        return Constraint(self._matcher.deep_copy())


class Constraints:
    """Makes constraints for the vocabulary of one tokenizer; reading a vocabulary takes a moment, so keep the object.

    Args:
        tokenizer: That of the model.
        ends: Ids that end an answer; by default the tokenizer's ``turn_end``.
        reasoning: Whether an answer begins within a ``<think`` of the prompt: then anything may stand before
            ``</think>``, and the constraint applies to what follows.
        leading_space: Whether a space may stand before what is constrained, as in templates that put one between a role
            and what it says.

    Source: the masks are those of PyPI ``llguidance``.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        ends: Collection[int] | None = None,
        *,
        reasoning: bool = False,
        leading_space: bool = False,
    ) -> None:
        self._vocabulary = _vocabulary(tokenizer, sorted(ends or {tokenizer.special.turn_end}))
        if reasoning:
            self._start = "start: thought space @answer\nthought[lazy]: /(?s:.*)<\\/think>/\nspace: /\\s?/"
        elif leading_space:
            self._start = "start: space @answer\nspace: / ?/"
        else:
            self._start = "start: @answer"

    def json_schema(self, schema: Mapping[str, Any]) -> Constraint:
        """Return a constraint to JSON that ``schema`` describes.

        Between its elements may stand one space, or a line break and an indentation: no model can go on with white
        space forever.

        Raises:
            ModRWKVError: The schema is not valid, or uses a keyword that cannot be enforced.
        """
        layout = {"whitespace_pattern": r"(\n[ \t]{0,24}| )?"}
        return self._compiled({"json_schema": {**schema, "x-guidance": layout}}, "JSON schema")

    def regex(self, pattern: str) -> Constraint:
        """Return a constraint to text that ``pattern`` matches as a whole, in the syntax of Rust's crate ``regex``.

        Raises:
            ModRWKVError: The pattern is not valid.
        """
        [grammar] = json.loads(LLMatcher.grammar_from_regex(pattern))["grammars"]
        return self._compiled({"lark_grammar": grammar["lark_grammar"]}, "regular expression")

    def choices(self, choices: Sequence[str]) -> Constraint:
        """Return a constraint to one of ``choices``.

        Raises:
            ModRWKVError: There is none, or one is empty.
        """
        if not choices or "" in choices:
            raise ModRWKVError("the choices are empty, or one of them is", hint="give at least one text to choose")
        return self._compiled({"lark_grammar": f"start: {' | '.join(map(json.dumps, choices))}"}, "list of choices")

    def _compiled(self, answer: Mapping[str, Any], what: str) -> Constraint:
        grammars = [{"name": "start", "lark_grammar": self._start}, {"name": "answer", **answer}]
        matcher = LLMatcher(self._vocabulary, json.dumps({"grammars": grammars}), log_level=0)
        if matcher.is_error():
            raise ModRWKVError(f"the {what} cannot be enforced: {matcher.get_error()}", hint="write it in another way")
        return Constraint(matcher)


class _Vocabulary:
    """A tokenizer as llguidance reads it."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, ends: Sequence[int]) -> None:
        self.eos_token_id = ends[0]
        with guard(tokenizer.origin, "decode()"):
            texts = [tokenizer.decode([index]) for index in range(tokenizer.vocab_size)]
        self.special_token_ids = [index for index, text in enumerate(texts) if not text or index in ends]
        for index in self.special_token_ids:
            texts[index] = f"<|{index}|>".encode()
        self.tokens = texts
        self._tokenizer = tokenizer

    def __call__(self, text: bytes) -> list[int]:
        with guard(self._tokenizer.origin, "encode()"):
            return self._tokenizer.encode(text.decode())


def _vocabulary(tokenizer: Tokenizer, ends: Sequence[int]) -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer, ends)), eos_token=list(ends))
