"""Chat templates against whole conversations as text, tokenized at once."""

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.data.batch import IGNORE
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.templates import TEMPLATES
from modrwkv_core.data.tokenizers.bytes import BytesTokenizer
from modrwkv_core.data.tokenizers.config import BytesConfig, WorldConfig
from modrwkv_core.data.tokenizers.world import WorldTokenizer
from modrwkv_core.errors import ComponentError
from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.interfaces.record import Media, Record, Role, Text, Turn
from modrwkv_core.manifest.schema import Manifest

WORLD = WorldTokenizer(WorldConfig())
BLANK_LINE = 261


def template_encoder(template: str) -> ConversationEncoder:
    return ConversationEncoder(WORLD, {}, {"lm": LanguageModelConfig()}, template=TEMPLATES[template])


def turn(role: Role, *texts: str) -> Turn:
    return Turn(role, tuple(map(Text, texts)))


words = st.text(st.sampled_from("ab.:;\n \r\t<語🦆"), min_size=1, max_size=12).filter(str.strip)


def written(text: str) -> str:
    """What RWKV's data hold of a message: without blank lines, and without white space around it."""
    return re.sub("\n\n+", "\n", text.replace("\r\n", "\n")).strip()


@given(system=words, question=words, answer=words, more=words)
def test_world_and_g1_are_the_text_of_rwkvs_data(system: str, question: str, answer: str, more: str) -> None:
    turns = [turn("system", system), turn("user", question), turn("assistant", answer), turn("user", more)]
    text = (
        f"System: {written(system)}\n\nUser: {written(question)}\n\nAssistant: {written(answer)}\n\n"
        f"User: {written(more)}\n\nAssistant:"
    )
    assert template_encoder("world").prompt(turns).ids.tolist() == WORLD.encode(text)
    assert template_encoder("g1").prompt(turns).ids.tolist() == WORLD.encode(f"{text} <think")


@pytest.mark.parametrize("template", ["world", "g1"])
def test_the_answer_and_its_blank_line_are_learned(template: str) -> None:
    sample = template_encoder(template).sample(
        Record("r", (turn("user", "Hi."), turn("assistant", "Hello\n\nthere. ")))
    )
    learned = [index for index in sample.targets.tolist() if index != IGNORE]
    assert learned == [*WORLD.encode(" Hello\nthere."), BLANK_LINE]


def test_media_and_queries_stand_in_the_turns(encoder: ConversationEncoder) -> None:
    special = WORLD.special
    heads = {"lm": LanguageModelConfig(), **encoder.heads}
    g1 = ConversationEncoder(WORLD, encoder.preprocessors, heads, template=TEMPLATES["g1"])
    turns = [Turn("user", (Media("image", [7]), Text("and"), Media("sound", [1, 2]), Text(" what? ")))]
    asked = [
        *WORLD.encode("User:"),
        *[special.media_start, special.media_pad, special.media_end],
        *WORLD.encode("and"),
        *[special.media_start, special.media_pad, special.media_end],
        *WORLD.encode(" what?"),
        *[BLANK_LINE, *WORLD.encode("Assistant:")],
    ]
    assert g1.prompt(turns).ids.tolist() == [*asked, *WORLD.encode(" <think")]
    assert g1.query(turns).ids.tolist() == [*asked, special.query], "a head that answers queries does not think"


@pytest.mark.parametrize("template", TEMPLATES)
@given(texts=st.lists(st.text(st.sampled_from("a \n語"), max_size=6), min_size=1, max_size=3), answer=words)
def test_records_have_the_number_of_tokens_that_is_counted(template: str, texts: list[str], answer: str) -> None:
    record = Record("r", (turn("user", "?", *texts), turn("assistant", answer, *texts)))
    assert template_encoder(template).num_tokens(record) == len(template_encoder(template).sample(record).ids)


@pytest.mark.parametrize(("template", "ends"), [("modrwkv", {24}), ("world", {0, BLANK_LINE}), ("g1", {0, BLANK_LINE})])
def test_what_ends_an_answer(template: str, ends: set[int]) -> None:
    assert TEMPLATES[template].ends(WORLD) == ends


def test_a_blank_line_must_be_one_token() -> None:
    with pytest.raises(ComponentError, match="blank line, which is not one token but 2"):
        ConversationEncoder(BytesTokenizer(BytesConfig()), {}, {}, template=TEMPLATES["world"])


def test_manifests_know_all_templates_and_by_default_the_papers() -> None:
    field = Manifest.model_fields["chat_template"]
    assert set(get_args(field.annotation)) == set(TEMPLATES)
    assert field.default == "modrwkv"
