"""Whatever a model of random logits says under a constraint, against jsonschema, ``re`` and plain lists."""

import importlib
import json
import re
import sys
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modrwkv_core.data.templates import TEMPLATES
from modrwkv_core.data.tokenizers.bytes import BytesTokenizer
from modrwkv_core.data.tokenizers.config import BytesConfig, WorldConfig
from modrwkv_core.data.tokenizers.world import WorldTokenizer
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.constraint import Constraint, Constraints
from modrwkv_core.inference.sampler import Sampler
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.interfaces.tokenizer import Tokenizer

BYTES, WORLD = BytesTokenizer(BytesConfig()), WorldTokenizer(WorldConfig())
END = BYTES.special.turn_end
OF_BYTES, OF_WORLD = Constraints(BYTES), Constraints(WORLD)


def said(tokenizer: Tokenizer, constraint: Constraint, seed: int, ends: frozenset[int] = frozenset({END})) -> str:
    """Return what a model of random logits answers that likes to come to an end."""
    generator = torch.Generator().manual_seed(seed)
    # More logits than the tokenizer has ids, as a padded embedding gives.
    vocab_size = tokenizer.vocab_size + 59
    banned = torch.tensor(sorted({0} | tokenizer.special.all() - ends))
    bias = {token: 4.0 for text in '",}]' for token in tokenizer.encode(text)}
    sampling = Sampling(1.0, seed=seed, logit_bias=bias | {min(ends): 3.0})
    sampler = Sampler(sampling, vocab_size=vocab_size, banned=banned, constraint=constraint)
    answer: list[int] = []
    while len(answer) < 1000:
        token = sampler.draw(torch.randn(vocab_size, generator=generator)).token
        if token in ends:
            return tokenizer.decode(answer).decode()
        answer.append(token)
    raise AssertionError(f"no end: {tokenizer.decode(answer)!r}")


keys = st.text(st.sampled_from('ab"\\é語'), min_size=1, max_size=3)
leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.tuples(st.integers(-500, 500), st.integers(0, 500)).map(
        lambda range_: {"type": "integer", "minimum": range_[0], "maximum": range_[0] + range_[1]}
    ),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string", "pattern": "^[a-c]{1,3}$"}]),
    st.tuples(st.integers(0, 2), st.integers(2, 5)).map(
        lambda lengths: {"type": "string", "minLength": lengths[0], "maxLength": lengths[1]}
    ),
    st.lists(keys | st.integers(-9, 9), min_size=1, max_size=3, unique=True).map(lambda values: {"enum": values}),
)


def _objects(properties: dict[str, Any], required: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties)[:required],
        "additionalProperties": False,
    }


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.integers(0, 2), st.integers(2, 3)).map(
            lambda parts: {"type": "array", "items": parts[0], "minItems": parts[1], "maxItems": parts[2]}
        ),
        st.builds(_objects, st.dictionaries(keys, inner, min_size=1, max_size=3), st.integers(0, 3)),
        st.lists(inner, min_size=1, max_size=2).map(lambda options: {"anyOf": options}),
    ),
    max_leaves=5,
)


@given(schema=schemas, seed=st.integers(0, 99))
def test_answers_are_json_of_the_schema(schema: dict[str, Any], seed: int) -> None:
    jsonschema.validate(json.loads(said(BYTES, OF_BYTES.json_schema(schema), seed)), schema)


@settings(max_examples=10)
@given(schema=schemas, seed=st.integers(0, 99))
def test_answers_in_the_world_vocabulary_are_json_of_the_schema(schema: dict[str, Any], seed: int) -> None:
    jsonschema.validate(json.loads(said(WORLD, OF_WORLD.json_schema(schema), seed)), schema)


@given(
    pattern=st.sampled_from([r"[a-c]{2,3}-[0-9]", r"a/b|\\/", "(yes|no)( sir)?", "\\[x\\]\n", "語+🦆"]),
    seed=st.integers(0, 99),
)
def test_answers_match_the_expression_as_a_whole(pattern: str, seed: int) -> None:
    assert re.fullmatch(pattern, said(BYTES, OF_BYTES.regex(pattern), seed))


@given(
    choices=st.lists(st.text(st.sampled_from('ab"\\\n/é🦆'), min_size=1, max_size=4), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_an_answer_may_end_just_where_it_is_a_choice(choices: list[str], seed: int) -> None:
    constraint = OF_BYTES.choices(choices)
    generator = torch.Generator().manual_seed(seed)
    answer = b""
    while True:
        texts = [choice.encode() for choice in choices]
        ways = {text[len(answer)] for text in texts if text.startswith(answer) and text != answer}
        logits = torch.zeros(BYTES.vocab_size)
        constraint.mask(logits)
        allowed = set((logits == 0.0).nonzero()[:, 0].tolist())
        complete = answer in texts
        assert allowed == {byte + 1 for byte in ways} | ({END} if complete else set())
        assert constraint.finished == (complete and not ways)
        if not ways:
            return
        byte = sorted(ways)[int(torch.randint(len(ways), (), generator=generator))]
        constraint.accept(byte + 1)
        answer += bytes([byte])


@pytest.mark.parametrize(
    ("template", "answers"),
    [("world", [" yes", "yes"]), ("g1", [">\nHm. no\n</think>\nyes", ">no</think>yes", "></think> yes"])],
)
def test_constraints_begin_where_the_template_lets_the_content_begin(template: str, answers: list[str]) -> None:
    chosen = TEMPLATES[template]
    ends = chosen.ends(WORLD)
    constraints = Constraints(WORLD, ends, reasoning=chosen.thinks, leading_space=True)
    for answer in answers:
        constraint = constraints.choices(["yes", "no"])
        for token in WORLD.encode(answer):
            assert not constraint.finished
            constraint.accept(token)
        assert constraint.finished
        logits = torch.zeros(WORLD.vocab_size)
        constraint.mask(logits)
        assert set((logits == 0.0).nonzero()[:, 0].tolist()) == ends
    assert said(WORLD, Constraints(WORLD, ends, leading_space=True).choices(["yes"]), 0, ends).strip() == "yes"


def test_samplers_work_with_copies() -> None:
    constraint = OF_BYTES.choices(["a", "b"])
    assert {said(BYTES, constraint, seed) for seed in range(9)} == {"a", "b"}
    assert not constraint.finished


def test_a_token_that_the_constraint_does_not_allow_is_refused() -> None:
    with pytest.raises(ModRWKVError, match="does not allow the token 122 here"):
        OF_BYTES.choices(["a"]).accept(ord("y") + 1)
    nothing_left = torch.tensor([ord("a") + 1])
    sampler = Sampler(Sampling(), vocab_size=261, banned=nothing_left, constraint=OF_BYTES.choices(["a"]))
    with pytest.raises(ModRWKVError, match="constraint of the answer does not allow"):
        sampler.draw(torch.zeros(261))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OF_BYTES.json_schema({"type": "strin"}), "JSON schema cannot be enforced.*strin"),
        (lambda: OF_BYTES.json_schema({"not": {"type": "string"}}), "JSON schema cannot be enforced.*not"),
        (lambda: OF_BYTES.regex("("), "regular expression cannot be enforced"),
        (lambda: OF_BYTES.choices([]), "choices are empty"),
        (lambda: OF_BYTES.choices(["a", ""]), "choices are empty"),
    ],
)
def test_what_cannot_be_enforced_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ModRWKVError, match=message):
        make()


def test_without_llguidance_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.delitem(sys.modules, "modrwkv_core.inference.constraint")
    with pytest.raises(ModRWKVError, match=r"llguidance(.|\n)*pip install 'modrwkv\[grammar\]'"):
        importlib.import_module("modrwkv_core.inference.constraint")
