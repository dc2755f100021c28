from __future__ import annotations

import copy
import json
import os
import pickle
import socket
import stat
import sys
import threading
import warnings
from pathlib import Path

import pytest
from tables import for_each

from lmstudio_provider import (
    Chunk,
    Completion,
    ConfigurationError,
    Conversation,
    InvalidRequestError,
    LMStudioProvider,
    Message,
    ModelMismatchWarning,
    OllamaProvider,
    ServerError,
    ServerUnavailableError,
    Stream,
    StreamInterruptedError,
    StructuredOutputError,
    Tool,
    ToolCall,
)
from lmstudio_provider._core.files import write_whole
from lmstudio_provider.simulator import Fault, SimulatedLMStudio, SimulatedOllama

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 8


@pytest.fixture
def lm():
    with SimulatedLMStudio(replies=["One.", "Two.", "Three.", "Four."]) as server, LMStudioProvider(server.url) as lm:
        lm.server = server
        yield lm


class Nobody:
    def chat(self, request, **overrides):
        raise AssertionError("nobody is asked")


def texts(conversation):
    return [message.content for message in conversation.messages]


# What goes wrong


@for_each(
    ("arguments", "said"),
    [({"system_prompt": 7}, "system_prompt"), ({"token_budget": 0}, "token_budget"), ({"token_budget": "9"}, "token")],
)
def test_arguments_that_cannot_work_are_refused(arguments, said):
    with pytest.raises(InvalidRequestError, match=said):
        Conversation(Nobody(), **arguments)


def test_a_call_that_fails_leaves_no_half_turn(lm, closed_port):
    conversation = Conversation(lm)
    conversation.ask("1?")
    before = conversation.messages
    with LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False) as gone:
        conversation.provider = gone
        for call in (conversation.ask, conversation.stream):
            with pytest.raises(ServerUnavailableError):
                call("2?")
    assert conversation.messages == before


def test_an_answer_that_does_not_fit_leaves_no_half_turn(lm):
    conversation = Conversation(lm)
    with pytest.raises(StructuredOutputError):
        conversation.ask("1?", response_format={"type": "object"})
    assert conversation.messages == ()


def test_a_stream_that_breaks_leaves_no_half_turn(raw_server, provider_of):
    part = b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    conversation = Conversation(provider_of(raw_server(head, part)))
    with pytest.raises(StreamInterruptedError):
        list(conversation.stream("Hi"))
    assert conversation.messages == ()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[]",
        '{"messages": 7}',
        '{"messages": [7]}',
        '{"messages": [{}]}',
        '{"messages": [{"role": "alien", "content": ""}]}',
        '{"messages": [{"role": "tool", "content": "3", "tool_call_id": "1"}]}',
        '{"messages": [{"role": "user", "content": "?"}, {"role": "tool", "content": "3", "tool_call_id": "1"}]}',
        '{"system_prompt": 7, "messages": []}',
        "[" * 100_000,
    ],
    ids=lambda content: content[:40],
)
def test_a_file_that_is_not_a_conversation_is_refused_and_changes_nothing(lm, tmp_path, content):
    path = tmp_path / "chat.json"
    path.write_text(content)
    conversation = Conversation(lm, "Be brief.")
    conversation.ask("1?")
    before = conversation.messages
    with pytest.raises(ConfigurationError, match="cannot read a conversation") as caught:
        conversation.load(path)
    assert str(path) in str(caught.value)
    assert conversation.messages == before


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.json"):
        Conversation(Nobody()).load(tmp_path / "none.json")


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(lm, tmp_path):
    conversation = Conversation(lm)
    with pytest.raises(ConfigurationError, match="cannot write the conversation"):
        conversation.save(tmp_path / "no such folder" / "chat.json")
    with pytest.raises(ConfigurationError):
        conversation.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder", "link to a pipe", "link to a folder"])
def test_a_path_that_is_not_a_regular_file_is_not_replaced(tmp_path, kind):
    path = tmp_path / "there"
    if kind == "device":
        path = Path(os.devnull)
    elif kind.endswith("folder"):
        path.mkdir()
    elif kind == "socket":
        path = Path(os.path.relpath(path))  # the name of a socket may have 100 bytes
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        os.mkfifo(path)
    if kind.startswith("link"):
        path = tmp_path / "link"
        path.symlink_to(tmp_path / "there")
    before, files = os.lstat(path), list(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match="is not a regular file"):
        Conversation(Nobody()).save(path)
    assert os.lstat(path).st_ino == before.st_ino
    assert list(tmp_path.iterdir()) == files


@pytest.mark.skipif(sys.platform == "win32", reason="making a link takes a privilege on Windows")
def test_a_link_to_itself_is_not_replaced_and_one_to_nothing_is_followed(tmp_path):
    loop, link = tmp_path / "loop", tmp_path / "link"
    loop.symlink_to(loop)
    link.symlink_to(tmp_path / "target")
    with pytest.raises(ConfigurationError):
        Conversation(Nobody()).save(loop)
    assert loop.is_symlink()
    Conversation(Nobody()).save(link)
    assert link.is_symlink()
    assert (tmp_path / "target").is_file()


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, ".hidden", "-", " ", "a\nb", "%s", "\udcff"])
def test_every_name_that_the_file_system_takes_is_taken(tmp_path, name):
    path = tmp_path / name
    try:
        path.write_text("")
        path.unlink()
    except (OSError, ValueError) as error:
        pytest.skip(f"this file system does not take it: {error}")
    conversation = Conversation(Nobody(), "Be brief.")
    conversation.save(path)
    conversation.save(path)
    assert Conversation(Nobody()).load(path).system_prompt == "Be brief."
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "chat.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# Messages that are kept


def test_the_whole_conversation_is_sent_each_time(lm):
    conversation = Conversation(lm, "Be brief.")
    assert conversation.ask("1?", max_tokens=10).text == "One."
    assert conversation.ask("2?").text == "Two."
    sent = lm.server.requests[-1]["body"]["messages"]
    assert [message["content"] for message in sent] == ["Be brief.", "1?", "One.", "2?"]
    assert [message.role for message in conversation.messages] == ["system", "user", "assistant", "user", "assistant"]


def test_a_stream_is_remembered_when_it_is_over(lm):
    conversation = Conversation(lm)
    stream = conversation.stream("1?")
    assert conversation.messages == ()
    assert "".join(stream.text()) == "One."
    assert texts(conversation) == ["1?", "One."]


def test_the_text_of_a_stream_that_was_closed_is_kept():
    with SimulatedLMStudio(replies=["One two three."]) as server, LMStudioProvider(server.url) as lm:
        conversation = Conversation(lm)
        for _ in conversation.stream("Count."):
            break
        assert texts(conversation) == ["Count.", "One"]
        conversation.stream("Count.").close()
        assert texts(conversation) == ["Count.", "One"]


def test_images_are_remembered(lm):
    conversation = Conversation(lm)
    conversation.ask("What is it?", images=PNG)
    conversation.ask("And its colour?")
    assert lm.server.requests[-1]["body"]["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png")


def test_tools_are_run_and_remembered():
    def add(a: int, b: int) -> int:
        return a + b

    wanted = {"tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]}
    with SimulatedLMStudio(replies=[wanted, "It is 3."]) as server, LMStudioProvider(server.url) as lm:
        conversation = Conversation(lm, "Be brief.")
        assert conversation.ask("1 + 2?", tools=[add]).text == "It is 3."
    assert [message.role for message in conversation.messages] == ["system", "user", "assistant", "tool", "assistant"]


# The budget


def test_the_oldest_turns_are_dropped_in_whole_pairs(lm):
    conversation = Conversation(lm, "S", token_budget=3 * 10 + 5, count_tokens=lambda text: 1)
    for question in ("1?", "2?", "3?", "4?"):
        conversation.ask(question)
    # A message is 5 tokens: the system prompt, three pairs.
    assert texts(conversation) == ["S", "2?", "Two.", "3?", "Three.", "4?", "Four."]
    sent = [message["content"] for message in lm.server.requests[-1]["body"]["messages"]]
    assert sent == ["S", "2?", "Two.", "3?", "Three.", "4?"]


def test_a_question_over_the_budget_is_sent_without_other_turns_and_shown_until_the_next(lm):
    conversation = Conversation(lm, token_budget=30)
    conversation.ask("1?")
    conversation.ask("long " * 100)
    assert len(lm.server.requests[-1]["body"]["messages"]) == 1
    assert len(conversation.messages) == 2
    conversation.ask("3?")
    assert texts(conversation) == ["3?", "Three."]


def test_images_and_tool_calls_count():
    counted = []
    conversation = Conversation(Nobody(), token_budget=500, count_tokens=lambda text: counted.append(text) or 1)
    conversation._turns = [(Message.user("look", images=PNG), Message.assistant("ok"))] * 2
    assert len(conversation.messages) == 2


def test_a_budget_leaves_turns_out_and_they_come_back_when_later_ones_go(lm):
    conversation = Conversation(lm, token_budget=20, count_tokens=lambda text: 1)
    for question in ("1?", "2?", "3?"):
        conversation.ask(question)
    assert texts(conversation) == ["2?", "Two.", "3?", "Three."]
    conversation.undo()
    assert texts(conversation) == ["1?", "One.", "2?", "Two."]


# The budget by the context of the model


def messages_sent(server, path, count):
    """The messages of each request that counts, or of each that does not."""
    bodies = [request["body"] for request in server.requests if request["path"] == path]
    ones = [body for body in bodies if 1 in (body.get("max_tokens"), body.get("options", {}).get("num_predict"))]
    return [body["messages"] for body in (ones if count else [body for body in bodies if body not in ones])]


@pytest.fixture(params=["LM Studio", "Ollama"])
def small(request):
    """A provider with a model whose context holds 40 words, and a function that lists what it was asked."""
    if request.param == "LM Studio":
        simulated, provider, path = SimulatedLMStudio, LMStudioProvider, "/v1/chat/completions"
    else:
        simulated, provider, path = SimulatedOllama, OllamaProvider, "/api/chat"
    with simulated("m", "It is so.", context_length=40) as server:
        with provider(server.url, model="m", refresh=False) as small:
            small.asked = lambda count=False: messages_sent(server, path, count)
            yield small


def test_a_provider_that_cannot_count_is_refused_at_once():
    with pytest.raises(InvalidRequestError, match=r"needs context_length\(\).*Nobody has none"):
        Conversation(Nobody(), token_budget="context")


def test_a_provider_that_knows_the_context_can_leave_counting_to_a_function():
    sent = []

    class Knows:
        def context_length(self, model=None):
            return 20

        def chat(self, request, **overrides):
            sent.append(request)
            return Completion("Yes.", "m", "m")

    with pytest.raises(InvalidRequestError, match=r"needs count_tokens\(\)"):
        Conversation(Knows(), token_budget="context")
    conversation = Conversation(Knows(), token_budget="context", count_tokens=lambda text: 1)
    for number in range(3):
        conversation.ask(f"{number}?")
    assert [len(messages) for messages in sent] == [1, 3, 3]  # of 5 tokens each


def test_a_context_that_is_not_known_leaves_nothing_out():
    sent = []

    class Vague:
        def context_length(self, model=None):
            return None

        def count_tokens(self, request, **overrides):
            raise AssertionError("there is nothing to compare with")

        def chat(self, request, **overrides):
            sent.append(request)
            return Completion("Yes.", "m", "m")

    conversation = Conversation(Vague(), token_budget="context")
    for number in range(3):
        conversation.ask(f"{number}?")
    assert [len(messages) for messages in sent] == [1, 3, 5]


def test_messages_show_all_turns_and_ask_nothing(closed_port):
    with LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False) as gone:
        conversation = Conversation(gone, token_budget="context")
        conversation.add("1?", Message.assistant("Yes."), "2?")
        assert texts(conversation) == ["1?", "Yes.", "2?"]


def test_a_question_that_cannot_be_counted_leaves_the_conversation_unchanged(httpserver, provider):
    conversation = Conversation(provider, token_budget="context")
    conversation.add("1?", Message.assistant("Yes."))
    entry = {"type": "llm", "key": "m", "loaded_instances": [{"id": "m", "config": {"context_length": 20}}]}
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": [entry]})
    httpserver.expect_request("/v1/chat/completions").respond_with_json({"error": "It broke"}, status=500)
    for call in (conversation.ask, conversation.stream):
        with pytest.raises(ServerError):
            call("2?", model="m")
        assert texts(conversation) == ["1?", "Yes."]


@pytest.mark.parametrize("counts", [{"n_prompt_tokens": 99, "n_ctx": 20}, {}], ids=["with a count", "without"])
def test_a_refusal_of_the_count_leaves_turns_out(httpserver, provider, counts):
    entry = {"type": "llm", "key": "m", "loaded_instances": [{"id": "m", "config": {"context_length": 20}}]}
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": [entry]})
    said = {"code": 400, "message": "the request exceeds the available context size", **counts}
    refusal = {"error": {**said, "type": "exceed_context_size_error"}}
    httpserver.expect_oneshot_request("/v1/chat/completions").respond_with_json(refusal, status=400)
    reply = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}], "model": "m"}
    reply["usage"] = {"prompt_tokens": 9, "completion_tokens": 1}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(reply)
    conversation = Conversation(provider, token_budget="context")
    for _ in range(4):
        conversation.add("word " * 6, Message.assistant("Yes."))
    conversation.ask("Really?", model="m")
    sent = [request.get_json() for request, _ in httpserver.log if request.path == "/v1/chat/completions"]
    assert (len(sent[0]["messages"]), sent[0]["max_tokens"]) == (9, 1)
    assert 1 <= len(sent[-1]["messages"]) < 9


def test_the_first_question_costs_no_further_request(small):
    Conversation(small, "S", token_budget="context").ask("1?")
    assert (small.asked(True), len(small.asked())) == ([], 1)


@pytest.mark.parametrize("way", ["ask", "stream", "on_event"])
def test_turns_that_leave_no_quarter_of_the_context_are_left_out(small, way):
    conversation = Conversation(small, "S", token_budget="context")
    ways = {
        "ask": conversation.ask,
        "stream": lambda text: conversation.stream(text, on_chunk=lambda chunk: None),
        "on_event": lambda text: conversation.ask(text, on_event=lambda event: None),
    }
    for number in range(8):
        ways[way](f"a question number {number}")  # 4 words, and 3 of the answer
        sent = small.asked()[-1]
        assert sum(len(message["content"].split()) for message in sent) <= 30
        assert sent[0]["content"] == "S"
    assert [len(messages) for messages in small.asked()] == [2, 4, 6, 8, 8, 8, 8, 8]
    assert len(conversation._turns) == 8


def test_few_counts_are_enough_for_many_turns(small):
    conversation = Conversation(small, token_budget="context")
    conversation.add(*(each for number in range(200) for each in ("Is it so?", Message.assistant("It is."))))
    small.chat("Hi")  # Ollama loads the model
    conversation.ask("Really?")
    assert len(small.asked(True)) <= 5
    assert 3 <= len(small.asked()[-1]) <= 13


def test_a_question_that_does_not_fit_is_sent_without_other_turns(small):
    conversation = Conversation(small, token_budget="context")
    conversation.ask("1?")
    conversation.ask("word " * 34)
    assert len(small.asked()[-1]) == 1
    assert len(conversation.messages) == 4


def test_tools_and_options_are_counted_because_they_are_part_of_the_prompt():
    given = []

    class Counts(Nobody):
        def context_length(self, model=None, *, timeout=30):
            given.append(timeout)
            return {"m": 100}[model]

        def resolve_model(self, tier):
            return {"fast": "m"}[tier]

        def count_tokens(self, request, **overrides):
            given.append(overrides)
            return 1

        def chat(self, request, **overrides):
            return Completion("Yes.", "m", "m")

    def now() -> str:
        return "12:00"

    conversation = Conversation(Counts(), token_budget="context")
    conversation.ask("1?", model="m", tools=[now])
    conversation.ask("2?", tier="fast", tools=[now], max_rounds=2, timeout=5)
    assert given == [5, {"tier": "fast", "tools": [now], "timeout": 5}]


# Files


def test_a_conversation_is_saved_for_people_and_loaded_again(lm, tmp_path):
    path = tmp_path / "chat.json"
    conversation = Conversation(lm, "Sei nett.")
    conversation.ask("Grüße?", images=[PNG])
    conversation.save(path)
    text = path.read_text(encoding="utf-8")
    assert "Grüße?" in text
    assert len(text.splitlines()) > 10
    assert json.loads(text)["messages"][1] == {"role": "assistant", "content": "One."}
    loaded = Conversation(lm).load(str(path))
    assert loaded.messages == conversation.messages
    assert loaded.ask("Again?").text == "Two."


def test_turns_that_the_budget_leaves_out_are_saved(lm, tmp_path):
    conversation = Conversation(lm, "S", token_budget=20, count_tokens=lambda text: 1)
    for question in ("1?", "2?", "3?"):
        conversation.ask(question)
    assert texts(conversation) == ["S", "3?", "Three."]
    conversation.save(tmp_path / "chat.json")
    loaded = Conversation(lm).load(tmp_path / "chat.json")
    assert texts(loaded) == ["S", "1?", "One.", "2?", "Two.", "3?", "Three."]


def test_messages_that_were_added_are_loaded_again_turn_by_turn(lm, tmp_path):
    conversation = Conversation(lm)
    conversation.add(Message.assistant("Welcome!"), "One question", Message.system("Be kind."), "And one more")
    conversation.save(tmp_path / "chat.json")
    loaded = Conversation(lm).load(tmp_path / "chat.json")
    assert loaded.messages == conversation.messages
    assert [len(loaded.undo()) for _ in range(4)] == [2, 1, 1, 0]


def test_a_system_message_at_the_beginning_of_a_file_is_the_system_prompt(lm, tmp_path):
    path = tmp_path / "chat.json"
    path.write_text('{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "1?"}]}')
    assert Conversation(lm).load(path).system_prompt == "S"


def test_tool_calls_survive_a_file(lm, tmp_path):
    def add(a: int, b: int) -> int:
        return a + b

    wanted = {"tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]}
    with SimulatedLMStudio(replies=[wanted, "It is 3."]) as server, LMStudioProvider(server.url) as other:
        conversation = Conversation(other)
        conversation.ask("1 + 2?", tools=[add])
    conversation.save(tmp_path / "chat.json")
    assert Conversation(lm).load(tmp_path / "chat.json").messages == conversation.messages


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")
def test_a_new_file_is_private_an_old_one_keeps_its_permissions_and_a_link_stays_one(lm, tmp_path):
    conversation, path = Conversation(lm), tmp_path / "chat.json"
    conversation.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    link = tmp_path / "link.json"
    os.symlink(path, link)  # noqa: PTH211 (Path.symlink_to reads backwards)
    conversation.save(link)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [path, link]


def test_a_conversation_pickles(lm):
    conversation = Conversation(lm, "Be brief.")
    conversation.ask("1?")
    del lm.server
    copy = pickle.loads(pickle.dumps(conversation))
    assert copy.messages == conversation.messages
    copy.provider.close()


def test_turns_of_several_threads_stay_whole(in_background):
    with SimulatedLMStudio() as server, LMStudioProvider(server.url) as lm:
        conversation = Conversation(lm)
        for future in [in_background(conversation.ask, f"{number}?") for number in range(20)]:
            future.result(30)
    roles = [message.role for message in conversation.messages]
    assert roles == ["user", "assistant"] * 20
    pairs = zip(texts(conversation)[::2], texts(conversation)[1::2])
    assert all(answer.endswith(question) for question, answer in pairs)


def test_the_home_of_the_file_may_be_a_path_of_any_kind(lm, tmp_path):
    conversation = Conversation(lm)
    conversation.save(os.fspath(tmp_path / "a.json"))
    conversation.save(Path(tmp_path, "b.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_half_a_character_is_saved_all_the_same(lm, tmp_path):
    conversation = Conversation(lm)
    conversation.ask("Grüße \ud83d")
    conversation.save(tmp_path / "chat.json")
    assert Conversation(lm).load(tmp_path / "chat.json").messages == conversation.messages


def test_a_turn_whose_calls_had_no_end_is_loaded_again(tmp_path):
    def add(a: int) -> int:
        return a

    wanted = {"tool_calls": [{"name": "add", "arguments": {"a": 1}}]}
    with SimulatedLMStudio(replies=[wanted]) as server, LMStudioProvider(server.url) as lm:
        conversation = Conversation(lm)
        with pytest.warns(RuntimeWarning, match="max_rounds=1"):
            conversation.ask("1?", tools=[add], max_rounds=1)
        conversation.save(tmp_path / "chat.json")
        assert Conversation(lm).load(tmp_path / "chat.json").messages == conversation.messages


def test_an_answer_that_was_read_from_the_reasoning_is_remembered():
    reply = {"reasoning_content": '{"a": 1}', "content": ""}
    with SimulatedLMStudio(replies=[reply]) as server, LMStudioProvider(server.url) as lm:
        conversation = Conversation(lm)
        assert conversation.ask("a?", response_format={"type": "object"}).parsed == {"a": 1}
    assert texts(conversation) == ["a?", '{"a": 1}']


@pytest.mark.parametrize("path", [None, 5.5, b"\xff\x00"])
def test_a_value_that_is_not_a_path_is_refused(lm, path):
    for call in (Conversation(lm).save, Conversation(lm).load):
        with pytest.raises(ConfigurationError):
            call(path)


def test_a_counter_that_cannot_be_called_is_refused():
    with pytest.raises(InvalidRequestError, match="count_tokens"):
        Conversation(Nobody(), count_tokens="cl100k")


def test_an_object_that_is_not_a_provider_is_refused():
    with pytest.raises(InvalidRequestError, match=r"Conversation\(lm, …\)"):
        Conversation("You are brief.")


def test_load_on_the_class_says_how_it_is_called(lm, tmp_path):
    with pytest.raises(InvalidRequestError, match=r"Conversation\(lm\)\.load\(path\)"):
        Conversation.load(lm, tmp_path / "chat.json")


def test_the_name_of_the_temporary_file_is_not_shown(lm, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        Conversation(lm).save(tmp_path / "none" / "chat.json")
    assert ".tmp" not in str(caught.value)


# Changing it


def test_messages_are_a_tuple(lm):
    conversation = Conversation(lm, "S")
    assert conversation.messages == (Message.system("S"),)
    before = conversation.messages
    conversation.ask("1?")
    assert isinstance(conversation.messages, tuple)
    assert len(before) == 1


def test_messages_dicts_and_texts_are_added_and_sent(lm):
    conversation = Conversation(lm, "S")
    conversation.add(Message.user("Hi"), {"role": "assistant", "content": "Hello."})
    conversation.add("My name is Ada.")
    conversation.add(Message.assistant("Nice to meet you."))
    conversation.ask("What is my name?")
    sent = [message["content"] for message in lm.server.requests[-1]["body"]["messages"]]
    assert sent == ["S", "Hi", "Hello.", "My name is Ada.", "Nice to meet you.", "What is my name?"]
    assert [len(conversation.undo()) for _ in range(4)] == [2, 2, 2, 0]


def test_calls_and_their_results_are_added_one_after_the_other(lm):
    conversation = Conversation(lm)
    call = ToolCall("1", "add", {"a": 1})
    conversation.add("1 + 1?", Message.assistant("", [call]))
    conversation.add(Message.tool(call, 2))
    conversation.add(Message.assistant("It is 2."))
    (*_, last) = turn = conversation.undo()
    assert [message.role for message in turn] == ["user", "assistant", "tool", "assistant"]
    assert last.content == "It is 2."


def test_a_system_message_that_is_added_first_is_the_system_prompt_unless_there_is_one(lm):
    conversation = Conversation(lm)
    conversation.add(Message.system("S"), "1?")
    assert (conversation.system_prompt, texts(conversation)) == ("S", ["S", "1?"])
    conversation.add(Message.system("T"), "2?")
    assert (conversation.system_prompt, texts(conversation)) == ("S", ["S", "1?", "T", "2?"])
    assert [message.content for message in conversation.undo()] == ["T", "2?"]


@for_each(
    ("messages", "said"),
    [
        ([["Hi"]], r"add\(\*messages\)"),
        ([7], "argument 0 is int"),
        (["Hi", None], "argument 1 is NoneType"),
        ([{"role": "alien", "content": ""}], "alien"),
        ([{}], "Ollama's form"),
        ([Message.tool("1", "3")], "no call waits"),
        (["Hi", Message.assistant("Hello."), Message.tool("1", "3")], "no call waits"),
        ([Message.assistant("", [ToolCall("1", "f")]), Message.tool("1", 1), Message.tool("1", 1)], "no call waits"),
    ],
)
def test_an_argument_that_cannot_be_added_is_refused_and_changes_nothing(messages, said):
    conversation = Conversation(Nobody(), "S")
    conversation.add("1?")
    with pytest.raises(InvalidRequestError, match=said):
        conversation.add(*messages)
    assert texts(conversation) == ["S", "1?"]


def test_adding_nothing_changes_nothing(lm):
    conversation = Conversation(lm)
    conversation.add()
    assert conversation.messages == ()


def test_undo_removes_a_turn_and_returns_it(lm):
    conversation = Conversation(lm, "S")
    conversation.ask("1?")
    conversation.ask("2?")
    assert conversation.undo() == (Message.user("2?"), Message.assistant("Two."))
    assert texts(conversation) == ["S", "1?", "One."]
    assert conversation.undo()
    assert conversation.undo() == ()
    assert texts(conversation) == ["S"]


def test_clear_removes_the_turns_and_keeps_the_system_prompt(lm):
    conversation = Conversation(lm, "S")
    conversation.ask("1?")
    conversation.clear()
    assert texts(conversation) == ["S"]
    conversation.ask("2?")
    assert len(lm.server.requests[-1]["body"]["messages"]) == 2


# Tools, and how far it is


def add(a: int, b: int) -> int:
    return a + b


def called(body):
    """A call, then the answer."""
    if body["messages"][-1]["role"] == "tool":
        return "It is 3."
    return {"content": "Let me see.", "tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]}


@pytest.fixture
def calling():
    with SimulatedLMStudio(replies=called) as server, LMStudioProvider(server.url) as lm:
        lm.server = server
        yield lm


ROLES = ["user", "assistant", "tool", "assistant"]


def roles(conversation):
    return [message.role for message in conversation.messages]


def test_ask_reports_each_step(calling):
    conversation, events = Conversation(calling), []
    assert conversation.ask("1 + 2?", tools=[add], on_event=events.append).text == "It is 3."
    assert [event.kind for event in events] == ["completion", "call", "result", "completion"]
    assert events[2].result == "3"
    assert roles(conversation) == ROLES


def test_ask_reports_each_chunk_and_step(calling):
    conversation, events, chunks = Conversation(calling), [], []
    completion = conversation.ask("1 + 2?", tools=[add], on_event=events.append, on_chunk=chunks.append)
    assert completion.text == "It is 3."
    assert "".join(chunk.delta for chunk in chunks) == "Let me see.It is 3."
    assert [chunk.done for chunk in chunks].count(True) == chunks[-1].done == 1
    assert [event.kind for event in events if event.kind != "chunk"] == ["completion", "call", "result", "completion"]
    assert roles(conversation) == ROLES


@pytest.mark.parametrize("method", ["ask", "stream"])
def test_on_chunk_and_on_event_work_without_tools(lm, method):
    conversation, events, chunks = Conversation(lm), [], []
    answer = getattr(conversation, method)("1?", on_event=events.append, on_chunk=chunks.append)
    assert (answer.text, "".join(chunk.delta for chunk in chunks)) == ("One.", "One.")
    assert [event.kind for event in events] == ["chunk", "chunk", "completion"]
    assert getattr(conversation, method)("2?", on_chunk=chunks.append).text == "Two."
    assert texts(conversation) == ["1?", "One.", "2?", "Two."]


def test_on_event_works_without_tools(lm):
    conversation, events = Conversation(lm), []
    assert conversation.ask("1?", on_event=events.append).text == "One."
    assert [event.kind for event in events] == ["completion"]


def test_a_stream_runs_tools_and_gives_the_chunks_of_all_answers(calling):
    conversation = Conversation(calling, "S")
    stream = conversation.stream("1 + 2?", tools=[add], temperature=0)
    chunks = list(stream)
    assert "".join(chunk.delta for chunk in chunks) == "Let me see.It is 3."
    assert [call.name for chunk in chunks for call in chunk.tool_calls] == ["add"]
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (stream.completion.text, stream.completion.finish_reason) == ("It is 3.", "stop")
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("stop", stream.completion.usage)
    assert stream.completion.provider_id == "lm-studio"
    assert roles(conversation) == ["system", *ROLES]
    assert {request["body"]["temperature"] for request in calling.server.requests if request["body"]} == {0}


def test_the_texts_of_a_stream_with_tools_come_as_they_are_said(calling):
    assert "".join(Conversation(calling).stream("1 + 2?", tools=[add]).text()) == "Let me see.It is 3."


def test_a_stream_with_tools_calls_them_in_the_thread_that_reads_it(calling):
    threads = []

    def note(a: int, b: int) -> int:
        threads.append(threading.get_ident())
        return a + b

    list(Conversation(calling).stream("1 + 2?", tools=[Tool.from_function(note, name="add")]))
    assert threads == [threading.get_ident()]


def test_a_stream_with_tools_that_is_left_before_the_call_makes_none(calling):
    conversation, calls = Conversation(calling), []
    for chunk in conversation.stream("1 + 2?", tools=[add], confirm=lambda call: calls.append(call) or True):
        if chunk.tool_calls:
            break
    assert calls == []
    assert roles(conversation) == ROLES[:2]
    assert texts(conversation) == ["1 + 2?", "Let me see."]


def test_a_stream_with_tools_that_is_left_after_the_call_keeps_it(calling):
    conversation = Conversation(calling)
    for chunk in conversation.stream("1 + 2?", tools=[add]):
        if chunk.delta == "It":
            break
    assert texts(conversation) == ["1 + 2?", "Let me see.", "3", "It"]


@for_each("tools", ["add", [7], [add, add]])
@for_each("method", ["ask", "stream"])
def test_tools_that_cannot_be_called_are_refused_before_anything_is_sent(method, tools):
    with pytest.raises((InvalidRequestError, ConfigurationError)):
        getattr(Conversation(Nobody()), method)("1 + 2?", tools=tools)


@for_each("method", ["ask", "stream"])
@for_each("name", ["on_chunk", "on_event"])
def test_a_callback_that_cannot_be_called_is_refused_before_anything_is_sent(method, name):
    with pytest.raises(InvalidRequestError, match=f"{name}=7"):
        getattr(Conversation(Nobody()), method)("1?", **{name: 7})


class Failing:
    """Answers with a call, then fails."""

    id = "failing"

    def __init__(self, error):
        self.error = error

    def chat(self, request, **overrides):
        if request.messages[-1].role == "tool":
            raise self.error
        call = ToolCall("1", "add", {"a": 1, "b": 2})
        return Completion("", "m", "m", "tool_calls", tool_calls=(call,))

    def stream(self, request, on_chunk=None, **overrides):
        if request.messages[-1].role == "tool":
            return Stream.from_chunks(self.half())
        return Stream.from_chunks([Chunk("", True, tool_calls=self.chat(request).tool_calls)])

    def half(self):
        yield Chunk("It ")
        raise self.error


def asking(conversation, **options):
    conversation.ask("1 + 2?", tools=[add], **options)


def asking_in_chunks(conversation, **options):
    conversation.ask("1 + 2?", tools=[add], on_chunk=lambda chunk: None, **options)


def streaming(conversation, **options):
    list(conversation.stream("1 + 2?", tools=[add], **options))


WAYS = [asking, asking_in_chunks, streaming]


@for_each("ask", WAYS)
@for_each(
    "error", [ServerError("boom"), ServerUnavailableError("gone"), ValueError("bug"), KeyboardInterrupt()], ids=repr
)
def test_a_run_that_fails_in_the_middle_keeps_the_calls_that_were_made(ask, error):
    error = copy.copy(error)  # the parameter lives as long as the tests, and would keep its traceback
    conversation = Conversation(Failing(error))
    with pytest.raises(type(error)) as caught:
        ask(conversation)
    assert caught.value is error
    assert texts(conversation) == ["1 + 2?", "", "3", "" if ask is asking else "It "]
    assert roles(conversation) == ROLES


class Explaining(Failing):
    """Says why it calls."""

    def chat(self, request, **overrides):
        answer = super().chat(request, **overrides)
        return Completion("I add.", "m", "m", "tool_calls", tool_calls=answer.tool_calls)

    def stream(self, request, on_chunk=None, **overrides):
        if request.messages[-1].role == "tool":
            return super().stream(request)
        answer = self.chat(request)
        return Stream.from_chunks([Chunk(answer.text), Chunk("", True, tool_calls=answer.tool_calls)])


@for_each("ask", WAYS)
@for_each("kind", ["completion", "call"])
@for_each("error", [LookupError, KeyboardInterrupt])
def test_the_text_before_a_call_is_kept_once_if_the_run_ends_before_the_call_is_made(ask, kind, error):
    def broken(event):
        if event.kind == kind:
            raise error

    conversation = Conversation(Explaining(AssertionError("it went on")))
    with pytest.raises(error):
        ask(conversation, on_event=broken)
    assert [texts(conversation)[each] for each in (0, 1, 3)] == ["1 + 2?", "I add.", ""]
    assert len(conversation.messages) == 4


def test_the_text_of_a_stream_that_is_cut_after_a_call_is_kept_with_the_call(provider_of):
    calls = [{"name": "add", "arguments": {"a": 1, "b": 2}}]
    replies = [{"tool_calls": calls}, {"content": "It is three, I think.", "fault": Fault(cut_after=3)}]
    with SimulatedLMStudio(replies=replies) as server:
        conversation = Conversation(provider_of(server))
        with pytest.raises(StreamInterruptedError) as caught:
            list(conversation.stream("1 + 2?", tools=[add]))
    assert caught.value.partial.text
    assert texts(conversation) == ["1 + 2?", "", "3", caught.value.partial.text]


@for_each("ask", WAYS)
def test_an_error_of_the_provider_in_a_run_has_the_messages_so_far(ask):
    error = ServerUnavailableError("gone", refused=True)
    with pytest.raises(ServerUnavailableError) as caught:
        ask(Conversation(Failing(error)))
    assert caught.value.sent is False
    assert [message.role for message in caught.value.messages] == ROLES[:3]


@for_each("ask", WAYS)
@for_each(("kind", "result"), [("completion", "Error: not called, because the run was interrupted"), ("result", "3")])
def test_what_on_event_raises_ends_the_run_and_the_calls_are_kept(ask, kind, result):
    def broken(event):
        if event.kind == kind:
            raise LookupError("mine")

    conversation = Conversation(Failing(AssertionError("it went on")))
    with pytest.raises(LookupError, match="mine"):
        ask(conversation, on_event=broken)
    assert texts(conversation) == ["1 + 2?", "", result, ""]


@for_each("ask", WAYS)
def test_what_confirm_raises_ends_the_run_and_reaches_the_caller(ask):
    conversation = Conversation(Failing(AssertionError("it went on")))
    with pytest.raises(ZeroDivisionError):
        ask(conversation, confirm=lambda call: 1 / 0)
    assert roles(conversation) == ROLES


@for_each("ask", WAYS)
def test_a_run_that_fails_before_any_call_leaves_no_half_turn(ask, closed_port):
    with LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False) as gone:
        conversation = Conversation(gone)
        with pytest.raises(ServerUnavailableError):
            ask(conversation)
    assert conversation.messages == ()


def test_an_interrupted_run_can_go_on_and_is_saved(lm, tmp_path):
    conversation = Conversation(Failing(ServerError("boom")))
    with pytest.raises(ServerError):
        conversation.ask("1 + 2?", tools=[add])
    conversation.save(tmp_path / "chat.json")
    conversation.provider = lm
    assert conversation.ask("Go on.").text == "One."
    sent = lm.server.requests[-1]["body"]["messages"]
    assert [message["role"] for message in sent] == [*ROLES, "user"]
    assert [message.role for message in Conversation(lm).load(tmp_path / "chat.json").messages] == ROLES


def test_a_stream_with_tools_is_ended_by_another_thread_while_the_server_is_silent(
    raw_server, provider_of, in_background
):
    waiting = threading.Event()

    def silence(connection):
        waiting.set()
        while connection.recv(65536):
            continue

    part = b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", part, silence)
    conversation = Conversation(provider_of(server, model="m"))
    stream = conversation.stream("Hi", tools=[add])
    reading = in_background(lambda: [chunk.delta for chunk in stream])
    assert waiting.wait(60)
    stream.close()
    assert reading.result(60) in (["Hel"], [])
    assert server.client_left.wait(60)
    assert stream.completion.finish_reason == "cancelled"
    assert texts(conversation) in ([], ["Hi", "Hel"])


@pytest.mark.parametrize("options", [{}, {"on_event": print}])
def test_a_name_that_is_not_an_option_is_refused(lm, options):
    with pytest.raises(InvalidRequestError, match="temprature"):
        Conversation(lm).ask("Hi", temprature=0, **options)
    with pytest.raises(InvalidRequestError, match="temprature"):
        Conversation(lm).stream("Hi", temprature=0)


@pytest.mark.parametrize("method", ["ask", "stream"])
def test_a_turn_is_kept_if_the_user_makes_an_error_of_a_warning(simulator, method):
    with LMStudioProvider(simulator.url, model="simulated-model") as lm:
        usual = Conversation(lm)
        usual.ask("Hi")
    with LMStudioProvider(simulator.url, model="another") as lm, warnings.catch_warnings():
        warnings.simplefilter("error")
        conversation = Conversation(lm)
        with pytest.raises(ModelMismatchWarning):
            getattr(conversation, method)("Hi", on_chunk=lambda chunk: None)
        assert conversation.messages == usual.messages


def test_a_chat_is_kept_if_the_user_makes_an_error_of_a_warning(httpserver):
    reply = {"model": "other", "choices": [{"message": {"content": "Ho"}, "finish_reason": "stop"}]}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(reply)
    for options in ({}, {"tools": [add]}):
        with LMStudioProvider(httpserver.url_for("/"), model="m", refresh=False) as lm, warnings.catch_warnings():
            warnings.simplefilter("error")
            conversation = Conversation(lm)
            with pytest.raises(ModelMismatchWarning) as caught:
                conversation.ask("Hi", **options)
            assert caught.value.partial.text == "Ho"
            assert [message.content for message in conversation.messages] == ["Hi", "Ho"]
