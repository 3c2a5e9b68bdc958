"""The official client chats, completes and responds."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import PIL.Image
import pytest
import soundfile

MESSAGES: Any = [{"role": "user", "content": "Say yes twice."}]


def png() -> str:
    file = io.BytesIO()
    PIL.Image.new("RGB", (16, 16), (200, 10, 10)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def wav(seconds: float = 0.25) -> str:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(int(8000 * seconds)) / 3), 8000, format="WAV")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def ask(client: openai.OpenAI, **settings: Any) -> Any:
    settings = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 8} | settings
    return client.chat.completions.create(**settings)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "modrwkv"


def test_an_answer_is_the_models_own(client: openai.OpenAI, make_session: Any) -> None:
    found = ask(client)
    assert found.choices[0].message.role == "assistant"
    assert found.usage.completion_tokens == 8
    assert found.usage.total_tokens == found.usage.prompt_tokens + 8
    assert found.choices[0].finish_reason == "length"
    assert found.choices[0].message.content == make_session().generate("Say yes twice.", max_tokens=8)


def test_a_stream_says_the_same_as_the_whole(client: openai.OpenAI) -> None:
    whole = ask(client, max_tokens=24)
    chunks = list(ask(client, max_tokens=24, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert len({chunk.id for chunk in chunks}) == 1


def test_every_medium_changes_the_answer(client: openai.OpenAI) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": png()}},
        {"type": "input_audio", "input_audio": {"data": wav(), "format": "wav"}},
        {"type": "input_series", "input_series": {"values": [float(number % 7) for number in range(32)]}},
    ]
    prompts = set()
    for part in parts:
        messages = [{"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]}]
        found = ask(client, messages=messages)
        assert found.usage.completion_tokens >= 1
        prompts.add(found.usage.prompt_tokens)
    assert min(prompts) > len("What is this?")


def test_history_and_system_are_read(client: openai.OpenAI) -> None:
    history = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Say no."},
        {"role": "assistant", "content": "no"},
        *MESSAGES,
    ]
    assert ask(client, messages=history).usage.prompt_tokens > ask(client).usage.prompt_tokens + len("Be short.Say no.")


def test_several_answers_differ_and_a_seed_repeats_them(client: openai.OpenAI) -> None:
    settings = {"n": 3, "temperature": 1.0, "seed": 7, "max_tokens": 16}
    first, second = ([choice.message.content for choice in ask(client, **settings).choices] for _ in range(2))
    assert len(set(first)) == 3
    assert first == second
    streamed = {0: "", 1: "", 2: ""}
    for chunk in ask(client, stream=True, **settings):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert list(streamed.values()) == first


def test_logprobs_are_those_of_the_tokens(client: openai.OpenAI) -> None:
    choice = ask(client, logprobs=True, top_logprobs=3).choices[0]
    assert len(choice.logprobs.content) == 8
    for token in choice.logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob), "greedy takes the likeliest"
    assert ask(client).choices[0].logprobs is None


def test_a_stop_text_ends_the_answer(client: openai.OpenAI) -> None:
    text = ask(client, max_tokens=24).choices[0].message.content
    stop = text[3:5]
    found = ask(client, max_tokens=24, stop=[stop]).choices[0]
    assert found.finish_reason == "stop"
    assert found.message.content == text[: text.index(stop)]


def test_json_follows_its_schema(client: openai.OpenAI) -> None:
    pytest.importorskip("llguidance", reason="constraints need modrwkv[grammar]")
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
    found = ask(client, response_format=wanted, max_tokens=64).choices[0]
    assert found.finish_reason == "stop"
    assert isinstance(json.loads(found.message.content)["ok"], bool)


def test_a_required_tool_is_called(client: openai.OpenAI) -> None:
    pytest.importorskip("llguidance", reason="constraints need modrwkv[grammar]")
    parameters = {
        "type": "object",
        "properties": {"on": {"type": "boolean"}},
        "required": ["on"],
        "additionalProperties": False,
    }
    tools = [{"type": "function", "function": {"name": "switch", "parameters": parameters}}]
    found = ask(client, tools=tools, tool_choice="required", max_tokens=128)
    [call] = found.choices[0].message.tool_calls
    assert found.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "switch"
    assert isinstance(json.loads(call.function.arguments)["on"], bool)
    streamed = [
        call
        for chunk in ask(client, tools=tools, tool_choice="required", max_tokens=128, stream=True)
        for call in chunk.choices[0].delta.tool_calls or ()
    ]
    assert [call.function.arguments for call in streamed] == [found.choices[0].message.tool_calls[0].function.arguments]
    answered = [
        *MESSAGES,
        found.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "done"},
    ]
    assert ask(client, messages=answered, tools=tools).choices[0].message.content is not None


@pytest.mark.parametrize("template", ["world", "g1"])
def test_constraints_hold_in_every_chat_template(make_session: Any, run_server: Any, template: str) -> None:
    pytest.importorskip("llguidance", reason="constraints need modrwkv[grammar]")
    session = make_session(tokenizer={"type": "world"}, chat_template=template)
    # The model that thinks, where it thinks, of nothing else than to end its thought.
    favored = dict.fromkeys(session.model.tokenizer.encode("</think>"), 100)
    settings = {"temperature": 1, "seed": 0, "max_tokens": 2000, "logit_bias": favored}
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
    tools = [{"type": "function", "function": {"name": "switch", "parameters": schema}}]
    with (
        run_server(session) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as client,
    ):
        found = ask(client, response_format=wanted, **settings).choices[0]
        assert found.finish_reason == "stop"
        assert isinstance(json.loads(found.message.content)["ok"], bool)
        found = ask(client, tools=tools, tool_choice="required", **settings).choices[0]
        assert found.finish_reason == "tool_calls"
        [call] = found.message.tool_calls
        assert isinstance(json.loads(call.function.arguments)["ok"], bool)


def test_a_text_is_continued(client: openai.OpenAI) -> None:
    settings: Any = {"model": "tiny", "prompt": ["Once", "Twice"], "temperature": 0, "max_tokens": 6, "n": 2}
    found = client.completions.create(logprobs=2, **settings)
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert found.choices[0].text == found.choices[1].text != found.choices[2].text
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (len("OnceTwice"), 24)
    logprobs: Any = found.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == 6
    streamed = ["", "", "", ""]
    for chunk in client.completions.create(stream=True, **settings):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [choice.text for choice in found.choices]


def test_a_response_and_its_stream_say_the_same(client: openai.OpenAI) -> None:
    settings: Any = {"model": "tiny", "input": "Say yes twice.", "temperature": 0, "max_output_tokens": 16}
    whole = client.responses.create(**settings)
    assert whole.status == "incomplete"
    assert whole.output_text == ask(client, max_tokens=16).choices[0].message.content
    events = list(client.responses.create(stream=True, **settings))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events][:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    last: Any = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == whole.output_text
    assert last.response.usage.output_tokens == 16


def test_a_response_goes_on_from_a_former_one(client: openai.OpenAI, server: Any) -> None:
    session = server.post("/v1/sessions", {"model": "tiny"}).json()["id"]
    told = [
        ask(client, messages=[{"role": "user", "content": question}], extra_body={"session": session})
        for question in ("Say yes.", "And no?", "And?")
    ]
    settings: Any = {"model": "tiny", "temperature": 0, "max_output_tokens": 8}
    first = client.responses.create(input="Say yes.", **settings)
    assert (first.store, first.previous_response_id) == (True, None)
    *_, last = client.responses.create(input="And no?", previous_response_id=first.id, stream=True, **settings)
    second: Any = last
    third = client.responses.create(input="And?", previous_response_id=second.response.id, store=False, **settings)
    assert third.previous_response_id == second.response.id
    assert [each.output_text for each in (first, second.response, third)] == [
        each.choices[0].message.content for each in told
    ]
    assert third.usage is not None
    assert third.usage.input_tokens == told[2].usage.prompt_tokens, "the past is not read again"
    again = client.responses.create(input="And no?", previous_response_id=first.id, **settings)
    assert again.output_text == second.response.output_text, "any number of responses may go on from one"
    for unknown in (third.id, "resp_guessed"):
        with pytest.raises(openai.NotFoundError, match="no previous response"):
            client.responses.create(input="And?", previous_response_id=unknown, **settings)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="no previous response"):
        client.responses.create(input="And no?", previous_response_id=first.id, **settings)
    with pytest.raises(openai.NotFoundError, match="no response"):
        client.responses.delete(first.id)


def test_a_response_to_media_and_former_items(client: openai.OpenAI) -> None:
    given: Any = [
        {"role": "developer", "content": "Be short."},
        {
            "role": "user",
            "content": [{"type": "input_image", "image_url": png()}, {"type": "input_text", "text": "What?"}],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": "red"}]},
        {"role": "user", "content": "And?"},
    ]
    found = client.responses.create(model="tiny", input=given, instructions="Speak.", max_output_tokens=4)
    assert found.usage is not None
    assert found.usage.input_tokens > len("Be short.What?redAnd?Speak.")
