from __future__ import annotations

import json
import os
import pickle
import stat
import sys
from pathlib import Path

import pytest

from lmstudio_provider import (
    ConfigurationError,
    Conversation,
    InvalidRequestError,
    LMStudioProvider,
    Message,
    ServerUnavailableError,
    StreamInterruptedError,
    StructuredOutputError,
)
from lmstudio_provider._files import write_whole
from lmstudio_provider.simulator import SimulatedLMStudio

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


@pytest.mark.parametrize(
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
    assert conversation.messages == []


def test_a_stream_that_breaks_leaves_no_half_turn(raw_server, provider_of):
    part = b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    conversation = Conversation(provider_of(raw_server(head, part)))
    with pytest.raises(StreamInterruptedError):
        list(conversation.stream("Hi"))
    assert conversation.messages == []


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
        '{"messages": [{"role": "assistant", "content": "first"}]}',
        '{"messages": [{"role": "user", "content": "no answer"}]}',
        '{"system_prompt": 7, "messages": []}',
        "[" * 100_000,
    ],
    ids=lambda content: content[:40],
)
def test_a_file_that_is_no_conversation_is_refused_and_changes_nothing(lm, tmp_path, content):
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


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "chat.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# What is remembered


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
    assert conversation.messages == []
    assert "".join(stream.text()) == "One."
    assert texts(conversation) == ["1?", "One."]


def test_what_came_of_a_stream_that_was_closed_is_remembered():
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


def test_a_question_over_the_budget_is_sent_alone_and_shown_until_the_next(lm):
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


def test_a_stream_takes_no_callback(lm):
    with pytest.raises(InvalidRequestError, match="on_chunk"):
        Conversation(lm).stream("1?", on_chunk=print)
    assert lm.server.requests == [] or lm.server.requests[-1]["method"] == "GET"


@pytest.mark.parametrize("path", [None, 5.5, b"\xff\x00"])
def test_a_path_that_is_none_is_refused(lm, path):
    for call in (Conversation(lm).save, Conversation(lm).load):
        with pytest.raises(ConfigurationError):
            call(path)


def test_a_counter_that_cannot_be_called_is_refused():
    with pytest.raises(InvalidRequestError, match="count_tokens"):
        Conversation(Nobody(), count_tokens="cl100k")


def test_what_is_no_provider_is_refused():
    with pytest.raises(InvalidRequestError, match=r"Conversation\(lm, system_prompt\)"):
        Conversation("You are brief.")


def test_load_on_the_class_says_how_it_is_called(lm, tmp_path):
    with pytest.raises(InvalidRequestError, match=r"Conversation\(lm\)\.load\(path\)"):
        Conversation.load(lm, tmp_path / "chat.json")


def test_the_name_of_the_temporary_file_is_not_shown(lm, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        Conversation(lm).save(tmp_path / "none" / "chat.json")
    assert ".tmp" not in str(caught.value)
