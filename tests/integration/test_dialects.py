"""The other two dialects, which llama.cpp's server also speaks."""

import pytest
import tiny_model

from lmstudio_provider import ContextLengthError, EndpointNotFoundError, LMStudioProvider, Message, ToolCall

SENTENCE = "".join(tiny_model.SENTENCE)
DIALECTS = ["responses", "messages"]


@pytest.mark.parametrize("name", [*DIALECTS, "responses_stream", "messages_stream"])
def test_a_missing_endpoint_is_an_error_with_the_version_of_lm_studio_that_has_it(llama_cpp, name):
    with LMStudioProvider(f"{llama_cpp}/wrong", model="tiny", refresh=False) as lm:
        with pytest.raises(EndpointNotFoundError) as caught:
            getattr(lm, name)("Hi")
    assert caught.value.status == 404
    assert caught.value.since in str(caught.value)


@pytest.mark.parametrize("name", [*DIALECTS, "responses_stream", "messages_stream"])
def test_a_prompt_longer_than_the_context_is_an_error_with_its_numbers(lm, name):
    with pytest.raises(ContextLengthError) as caught:
        list(getattr(lm, name)("too-long-" * 200))
    assert caught.value.context_length == tiny_model.CONTEXT
    assert caught.value.prompt_tokens > len("too-long-" * 200)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_text_is_answered(lm, name):
    completion = getattr(lm, name)("Hello?", system_prompt="Be brief.", temperature=0.0)
    assert completion.text == SENTENCE
    assert completion.finish_reason == "stop"
    assert completion.id
    assert completion.usage.completion_tokens >= len(tiny_model.SENTENCE)


@pytest.mark.parametrize("name", DIALECTS)
def test_an_answer_is_cut_at_the_limit(lm, name):
    completion = getattr(lm, name)("Hello?", max_tokens=2)
    assert completion.text == "".join(tiny_model.SENTENCE[:2])
    assert completion.usage.completion_tokens == 2


@pytest.mark.parametrize("name", DIALECTS)
def test_a_conversation_with_the_result_of_a_tool_is_accepted(lm, name):
    call = ToolCall("call_1", "get_weather", {"city": "Oslo"})
    messages = [Message.user("How is it?"), Message.assistant("", [call]), Message.tool(call, "clear")]
    assert getattr(lm, name)(messages, max_tokens=20).text == SENTENCE


@pytest.mark.parametrize("name", DIALECTS)
def test_a_stream_gives_the_answer_in_pieces(lm, name):
    stream = getattr(lm, f"{name}_stream")([Message.user("Hello?")])
    chunks = list(stream)
    assert "".join(chunk.delta for chunk in chunks) == stream.completion.text == SENTENCE
    assert len([chunk for chunk in chunks if chunk.delta]) > 1
    assert (chunks[-1].done, chunks[-1].finish_reason) == (True, "stop")
    assert stream.completion.usage.total_tokens > len(tiny_model.SENTENCE)


@pytest.mark.parametrize("name", DIALECTS)
def test_the_server_answers_again_after_a_stream_is_left_early(lm, name):
    with getattr(lm, f"{name}_stream")("Hello?") as stream:
        first = next(stream)
    assert stream.completion.finish_reason == "cancelled"
    assert SENTENCE.startswith(first.delta)
    assert getattr(lm, name)("Hello?").text == SENTENCE
