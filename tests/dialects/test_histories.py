"""Histories in Ollama's form and in OpenAI's, at each endpoint."""

import base64
import copy
import json

import pytest
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    Conversation,
    InvalidRequestError,
    LMStudioProvider,
    Message,
    OllamaProvider,
    ToolCall,
)
from lmstudio_provider._dialects import messages, ollama, openai, responses
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 8).decode()
URL = f"data:image/png;base64,{PNG}"


def sent(dialect, history):
    """Return the messages that are sent for a history, which stays unchanged."""
    before = copy.deepcopy(history)
    body = json.loads(dialect.chat_call(ChatRequest(history), "m", stream=False).body)
    assert history == before
    return body["input" if dialect is responses else "messages"]


def call(name, arguments, **fields):
    return {**fields, "function": {"name": name, "arguments": arguments}}


OLLAMA = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is it?", "images": [PNG]},
    {
        "role": "assistant",
        "content": "",
        "thinking": "Two cities.",
        "tool_calls": [call("weather", {"city": "Århus"}), call("time", {})],
    },
    {"role": "tool", "tool_name": "time", "content": "noon"},
    {"role": "tool", "tool_name": "weather", "content": "rain"},
]
OPENAI = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": URL}}],
    },
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Two cities.",
        "tool_calls": [
            call("weather", '{"city": "Århus"}', id="1", type="function"),
            call("time", "{}", id="2", type="function"),
        ],
    },
    {"role": "tool", "tool_call_id": "2", "content": "noon"},
    {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "ra"}, {"type": "text", "text": "in"}]},
]


def without_ids(history):
    """An OpenAI history of a server that has no ids: its results come in the order of the calls."""
    plain = copy.deepcopy(history)
    for message in plain:
        message.pop("tool_call_id", None)
        for each in message.get("tool_calls") or ():
            del each["id"]
    return [*plain[:3], plain[4], plain[3]]


# OpenAI's form before a message could have several calls.
OLD = [
    *OPENAI[:2],
    {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"city": "Århus"}'}},
    {"role": "function", "name": "weather", "content": "rain"},
]

HISTORIES = {
    "Ollama": OLLAMA,
    "OpenAI": OPENAI,
    "OpenAI without ids": without_ids(OPENAI),
    "Message of Ollama": [Message.from_dict(each) for each in OLLAMA],
    "Message of OpenAI": [Message.from_dict(each) for each in OPENAI],
}
histories = for_each("history", HISTORIES.values(), ids=HISTORIES)


# What cannot be sent


@for_each(
    "message",
    [
        {"role": "assistant", "tool_calls": [call("f", {"a": {1}})]},
        {"role": "assistant", "tool_calls": [call("f", {"a": float("nan")})]},
        {"role": "user", "content": "", "images": ["no image"]},
        {"role": "user", "content": "", "images": [base64.b64encode(b"RIFF....WEBP").decode()]},
    ],
)
@for_each("dialect", [openai, responses, messages], ids=lambda each: each.__name__)
def test_arguments_and_images_that_cannot_be_sent_are_refused(dialect, message):
    with pytest.raises(InvalidRequestError):
        sent(dialect, [message])
    with pytest.raises(InvalidRequestError):
        Message.from_dict(message)


@for_each(
    "message",
    [
        None,
        "Hi",
        {},
        {"content": "Hi"},
        {"role": "nobody", "content": "Hi"},
        {"role": "user", "content": 7},
        {"role": "assistant", "tool_calls": 7},
        {"role": "assistant", "tool_calls": [7]},
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
        {"role": "assistant", "tool_calls": [call(None, {})]},
        {"role": "assistant", "tool_calls": [call("f", {}, id=7)]},
        {"role": "assistant", "thinking": ["Hm."]},
        {"role": "tool", "tool_name": 7},
    ],
)
def test_a_value_that_is_not_a_message_in_either_form_is_refused(message):
    with pytest.raises(InvalidRequestError):
        Message.from_dict(message)


def test_an_error_shows_no_image():
    with pytest.raises(InvalidRequestError, match="'content', 'images'") as caught:
        Message.from_dict({"content": "", "images": [PNG]})
    assert PNG not in str(caught.value)


# Each endpoint


@histories
def test_chat_takes_every_form(history):
    system, user, assistant, one, two = sent(openai, history)
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"] == OPENAI[1]["content"]
    assert "images" not in user
    assert (assistant["role"], assistant["content"]) == ("assistant", "")
    assert (assistant["reasoning"], assistant["reasoning_content"]) == ("Two cities.", "Two cities.")
    assert "thinking" not in assistant
    names = {}
    for each, (name, arguments) in zip(assistant["tool_calls"], [("weather", {"city": "Århus"}), ("time", {})]):
        assert (each["type"], each["function"]["name"]) == ("function", name)
        assert json.loads(each["function"]["arguments"]) == arguments
        names[each["id"]] = name
    assert len(names) == 2
    assert "" not in names
    assert {names[each["tool_call_id"]]: each["content"] for each in (one, two)} == {"time": "noon", "weather": "rain"}
    assert all("tool_name" not in each for each in (one, two))


@histories
def test_responses_take_every_form(history):
    user, *calls = sent(responses, history)
    assert [part["type"] for part in user["content"]] == ["input_text", "input_image"]
    asked = {each["call_id"]: each for each in calls if each["type"] == "function_call"}
    told = {asked[each["call_id"]]["name"]: each["output"] for each in calls if each["type"] == "function_call_output"}
    assert told == {"time": "noon", "weather": "rain"}
    assert [json.loads(each["arguments"]) for each in asked.values()] == [{"city": "Århus"}, {}]


@histories
def test_messages_take_every_form(history):
    user, assistant, results = sent(messages, history)
    assert [block["type"] for block in user["content"]] == ["text", "image"]
    assert [(block["name"], block["input"]) for block in assistant["content"]] == [
        ("weather", {"city": "Århus"}),
        ("time", {}),
    ]
    names = {block["id"]: block["name"] for block in assistant["content"]}
    told = {names[block["tool_use_id"]]: block["content"] for block in results["content"]}
    assert told == {"time": "noon", "weather": "rain"}


@histories
def test_ollama_takes_every_form(history):
    system, user, assistant, *results = sent(ollama, history)
    assert system == OLLAMA[0]
    assert user == OLLAMA[1]
    assert assistant["thinking"] == "Two cities."
    assert [each["function"] for each in assistant["tool_calls"]] == [
        {"name": "weather", "arguments": {"city": "Århus"}},
        {"name": "time", "arguments": {}},
    ]
    assert {each["tool_name"]: each["content"] for each in results} == {"time": "noon", "weather": "rain"}


def test_a_history_in_ollamas_form_goes_to_ollama_as_it_is():
    assert sent(ollama, OLLAMA) == OLLAMA


def test_ids_go_to_ollama_if_there_are_any():
    _, _, assistant, one, two = sent(ollama, OPENAI)
    assert [each["id"] for each in assistant["tool_calls"]] == ["1", "2"]
    assert [one["tool_call_id"], two["tool_call_id"]] == ["2", "1"]


@pytest.mark.parametrize("history", [OLD, [Message.from_dict(each) for each in OLD]], ids=["dicts", "Message"])
def test_a_call_in_openais_older_form_is_one_at_every_endpoint(history):
    *_, assistant, result = sent(openai, history)
    (asked,) = assistant["tool_calls"]
    assert asked["function"] == {"name": "weather", "arguments": '{"city": "Århus"}'}
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", asked["id"], "rain")
    assert "function_call" not in assistant

    *_, asked, result = sent(responses, history)
    assert (asked["name"], result["call_id"], result["output"]) == ("weather", asked["call_id"], "rain")

    *_, assistant, results = sent(messages, history)
    (asked,) = assistant["content"]
    assert (asked["name"], asked["input"]) == ("weather", {"city": "Århus"})
    assert results["content"] == [{"type": "tool_result", "tool_use_id": asked["id"], "content": "rain"}]

    *_, assistant, result = sent(ollama, history)
    assert assistant["tool_calls"] == [{"function": {"name": "weather", "arguments": {"city": "Århus"}}}]
    assert result == {"role": "tool", "content": "rain", "tool_name": "weather"}


@for_each("call_", ["f", 7, ["f"], {"arguments": "{}"}])
@for_each("dialect", [openai, responses, messages, ollama], ids=lambda each: each.__name__)
def test_an_invalid_call_in_the_older_form_is_refused(dialect, call_):
    with pytest.raises(InvalidRequestError, match="function"):
        sent(dialect, [{"role": "assistant", "content": "", "function_call": call_}])


# Which result is of which call


def results_of(calls, results):
    """The places of the calls that results answer, None for one that answers no call."""
    history = [
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "content": "x", **each} for each in results),
    ]
    assistant, *told = sent(openai, history)
    ids = [each["id"] for each in assistant["tool_calls"]]
    assert len(set(ids) - {""}) == len(calls)
    return [ids.index(each["tool_call_id"]) if each.get("tool_call_id") in ids else None for each in told]


F, G = call("f", {}), call("g", {})


@for_each(
    ("calls", "results", "places"),
    [
        ([F, G, F], [{}, {}, {}], [0, 1, 2]),
        ([F, G, F], [{"tool_name": "f"}, {"tool_name": "f"}, {"tool_name": "g"}], [0, 2, 1]),
        ([F, G], [{"name": "g"}, {"name": "f"}], [1, 0]),
        ([F, G], [{"tool_name": "g"}, {}], [1, 0]),
        ([F, G], [{"tool_name": "other"}, {}], [0, 1]),
        ([{**F, "id": "1"}, G], [{}, {"tool_call_id": "1"}], [0, 0]),
        ([{**F, "id": "1"}, G], [{"tool_call_id": "1"}, {}], [0, 1]),
        ([F, G], [{"tool_call_id": "x"}, {"tool_call_id": "y"}], [0, 1]),
        ([{**F, "id": "1"}, {**G, "id": "2"}], [{"tool_call_id": "x"}], [None]),
        ([F], [{}, {}], [0, None]),
        ([{**F, "id": None}, {**G, "id": ""}], [{"tool_call_id": ""}, {"tool_call_id": None}], [0, 1]),
    ],
)
def test_a_result_is_that_of_the_call_it_names_or_of_the_next_one(calls, results, places):
    assert results_of(calls, results) == places


def test_the_calls_of_each_turn_have_their_own_results():
    turn = [{"role": "assistant", "content": "", "tool_calls": [F]}, {"role": "tool", "content": "x", "tool_name": "f"}]
    first, one, second, two = sent(openai, turn * 2)
    assert one["tool_call_id"] == first["tool_calls"][0]["id"]
    assert two["tool_call_id"] == second["tool_calls"][0]["id"]
    assert one["tool_call_id"] != two["tool_call_id"]


# Thoughts

THOUGHTS = [
    {"reasoning": "Hm."},
    {"reasoning_content": "Hm."},
    {"thinking": "Hm."},
    {"reasoning": "", "reasoning_content": "Hm."},
    {"reasoning_content": "", "thinking": "Hm."},
    {"reasoning": None, "reasoning_content": None, "thinking": "Hm."},
    {"reasoning": "Hm.", "reasoning_content": "Hm.", "thinking": "Hm."},
    {"reasoning": "Hm.", "reasoning_content": "Other."},
]
answers = for_each(
    "answer",
    [
        *({"role": "assistant", "content": "Yes.", **each} for each in THOUGHTS),
        Message("assistant", "Yes.", reasoning="Hm."),
        Message.assistant("Yes.", reasoning="Hm."),
    ],
    ids=str,
)


@answers
def test_thoughts_go_to_ollama_as_thinking(answer):
    assert sent(ollama, [answer]) == [{"role": "assistant", "content": "Yes.", "thinking": "Hm."}]


@answers
def test_thoughts_go_to_chat_completions_under_the_name_of_either_server(answer):
    named = {"reasoning": "Hm.", "reasoning_content": "Hm."}
    assert sent(openai, [answer]) == [{"role": "assistant", "content": "Yes.", **named}]


@answers
def test_thoughts_are_left_out_if_no_server_is_known_to_read_them(answer):
    assert "Hm." not in json.dumps([sent(responses, [answer]), sent(messages, [answer])])


@for_each("dialect", [ollama, openai])
@for_each("thoughts", [{}, *({name: ""} for name in ("reasoning", "reasoning_content", "thinking"))])
def test_no_thoughts_are_not_sent(dialect, thoughts):
    answer = {"role": "assistant", "content": "Yes."}
    assert sent(dialect, [{**answer, **thoughts}]) == [answer]


def test_a_reply_that_thought_can_be_sent_back_as_it_came(sample):
    message = json.loads(sample("chat_completion_reasoning.json"))["choices"][0]["message"]
    assert sent(ollama, [message])[0]["thinking"] == message["reasoning_content"]
    message = json.loads(sample("chat_completion_reasoning_alt.json"))["choices"][0]["message"]
    assert sent(openai, [message])[0]["reasoning"] == message["reasoning"]


# What dicts have besides


def test_null_is_left_out_and_what_only_the_server_knows_goes_along():
    told = {"role": "user", "content": "Hi", "name": None, "images": None, "thinking": None, "cache": True}
    assert sent(openai, [told]) == [{"role": "user", "content": "Hi", "cache": True}]


def test_a_developer_is_the_system_everywhere():
    told = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert [each["role"] for each in sent(openai, told)] == ["system", "user"]
    assert [each["role"] for each in sent(ollama, told)] == ["system", "user"]


def test_a_reply_of_either_server_can_be_sent_back_as_it_came(sample):
    of_ollama = json.loads(sample("ollama_chat_tools.json"))["message"]
    of_lm_studio = json.loads(sample("chat_completion_tool_calls.json"))["choices"][0]["message"]
    for message in (of_ollama, of_lm_studio):
        (told,) = sent(openai, [message])
        assert all(isinstance(each["function"]["arguments"], str) for each in told["tool_calls"])
        (told,) = sent(ollama, [message])
        assert all(isinstance(each["function"]["arguments"], dict) for each in told["tool_calls"])
        assert [each.name for each in Message.from_dict(message).tool_calls] == [
            each["function"]["name"] for each in message["tool_calls"]
        ]


@for_each("image", [PNG, URL, base64.b64decode(PNG), PNG.encode()])
def test_an_image_beside_the_text_is_base64_a_url_or_bytes(image):
    told = [{"role": "user", "content": "See", "images": [image]}]
    assert sent(openai, told)[0]["content"][1]["image_url"]["url"] == URL
    assert sent(ollama, told)[0]["images"] == [PNG]


def test_ollama_gets_images_of_kinds_that_lm_studio_refuses():
    webp = base64.b64encode(b"RIFF....WEBP").decode()
    assert sent(ollama, [{"role": "user", "content": "See", "images": [webp]}])[0]["images"] == [webp]


# Objects of other clients


class Dumped:
    """An object of the openai or ollama client, as far as anything is known of it."""

    def __init__(self, **fields):
        self._fields = fields

    def model_dump(self):
        return {name: each.model_dump() if isinstance(each, Dumped) else each for name, each in self._fields.items()}


REPLIES = [
    Dumped(role="assistant", content=None, refusal=None, tool_calls=[call("f", '{"a": 1}', id="1")]),
    {"role": "assistant", "content": None, "tool_calls": [Dumped(id="1", **call("f", '{"a": 1}'))]},
    {"role": "assistant", "content": None, "tool_calls": (ToolCall("1", "f", {"a": 1}),)},
    {"role": "assistant", "function_call": Dumped(name="f", arguments='{"a": 1}')},
]


@for_each("reply", REPLIES)
def test_messages_and_calls_of_other_clients_are_taken(reply):
    told = Message.from_dict(reply)
    assert [(each.name, each.arguments) for each in told.tool_calls] == [("f", {"a": 1})]
    for dialect in (openai, responses, messages, ollama):
        body = ChatRequest([reply, {"role": "tool", "tool_call_id": "1", "content": "x"}])
        assert '"f"' in dialect.chat_call(body, "m", stream=False).body.decode()


def test_a_part_may_have_only_the_url_of_its_image():
    parts = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": URL}]
    told = [{"role": "user", "content": parts}]
    assert sent(openai, told)[0]["content"][1] == {"type": "image_url", "image_url": {"url": URL}}
    assert sent(responses, told)[0]["content"][1] == {"type": "input_image", "image_url": URL}
    assert sent(messages, told)[0]["content"][1]["source"]["data"] == PNG
    assert sent(ollama, told)[0]["images"] == [PNG]
    assert sent(openai, [Message("user", parts)]) == sent(openai, told)


@for_each("content", [5, 0, True, b"Hi", {"text": "Hi"}, ["Hi"], [5]])
@for_each("dialect", [openai, responses, messages, ollama], ids=lambda each: each.__name__)
def test_a_content_that_is_neither_text_nor_parts_is_refused_everywhere(dialect, content):
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]: content"):
        sent(dialect, [{"role": "user", "content": content}])


# Messages


def test_thoughts_survive_openais_form():
    message = Message("assistant", "Yes.", reasoning="Hm.")
    assert Message.from_dict(message.as_dict()) == message
    assert "reasoning" not in Message("assistant", "Yes.").as_dict()


def test_a_call_without_an_id_is_a_message_all_the_same():
    message = Message.from_dict(OLLAMA[2])
    assert message.tool_calls == (ToolCall("", "weather", {"city": "Århus"}), ToolCall("", "time", {}))
    assert (message.reasoning, Message.from_dict(OLLAMA[3]).name) == ("Two cities.", "time")


def test_arguments_that_are_left_out_are_none():
    assert (
        Message.from_dict({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}).tool_calls[0].arguments
        == {}
    )


# Whole


@pytest.mark.parametrize(
    ("stand_in", "kind"), [(SimulatedLMStudio, LMStudioProvider), (SimulatedOllama, OllamaProvider)]
)
@pytest.mark.parametrize("history", [OLLAMA, OPENAI, without_ids(OPENAI)], ids=["Ollama", "OpenAI", "without ids"])
def test_a_saved_history_is_loaded_and_gone_on_with(tmp_path, stand_in, kind, history):
    file = tmp_path / "chat.json"
    turns = [*history[1:], {"role": "assistant", "content": "Rain at noon."}]
    file.write_text(json.dumps({"system_prompt": "Be brief.", "messages": turns}), encoding="utf-8")
    with stand_in(["model-vl"]) as server, kind(server.url, model="model-vl", refresh=False) as provider:
        chat = Conversation(provider).load(file)
        chat.ask("And tomorrow?")
        sent_messages = server.requests[-1]["body"]["messages"]
        chat.save(file)
        again = Conversation(provider).load(file)
        assert [each.as_dict() for each in again.messages] == [each.as_dict() for each in chat.messages]
    assert len(sent_messages) == 7
    results = [each for each in sent_messages if each["role"] == "tool"]
    assert all(each.get("tool_call_id") or each.get("tool_name") for each in results)


@for_each("name", ["chat", "responses", "messages"])
@histories
def test_lm_studio_answers_every_form_at_every_endpoint(name, history):
    with SimulatedLMStudio(["model-vl"]) as server, LMStudioProvider(server.url, refresh=False) as lm:
        assert getattr(lm, name)(history, model="model-vl").text


@histories
def test_ollama_answers_every_form(history):
    with SimulatedOllama(["model"]) as server, OllamaProvider(server.url, refresh=False) as provider:
        assert provider.chat(history, model="model").text
