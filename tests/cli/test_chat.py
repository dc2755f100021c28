"""``chat`` and ``complete``: one question, a conversation in a terminal, and what goes wrong in the middle."""

import json
import os
import threading

import pytest
from commands import WITH_PTY, error_of, in_terminal, run
from raw import stream_of
from tables import for_each

from lmstudio_provider.simulator import Fault, SimulatedLMStudio, SimulatedOllama

HEL = b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'
LO = b'data: {"choices": [{"delta": {"content": "lo"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
BROKEN = b'data: {"error": {"message": "the engine crashed"}}\n\n'
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def sent(server):
    """Return the messages of the last chat that a stand-in was asked for."""
    return [each["body"] for each in server.requests if "messages" in (each["body"] or {})][-1]["messages"]


@pytest.mark.parametrize("arguments", [["chat", "-p", "Hi"], ["complete", "Hi"]])
def test_an_answer_is_text_and_a_line_break(arguments, simulator):
    ended = run(*arguments, "--base-url", simulator.url)
    assert ended == (0, "This is a simulated reply, no model wrote it. You said: Hi\n", "")


@pytest.mark.parametrize("arguments", [["chat"], ["complete"]])
def test_the_question_comes_from_standard_input(arguments, simulator):
    assert run(*arguments, "--base-url", simulator.url, given="Hi\n").code == 0
    assert sent(simulator)[-1]["content"] == "Hi"


@pytest.mark.parametrize("arguments", [["chat", "-p", "Summarise:"], ["complete", "Summarise:"]])
def test_standard_input_comes_after_the_text(arguments, simulator):
    assert run(*arguments, "--base-url", simulator.url, given="a file\nof two lines\n").code == 0
    assert sent(simulator)[-1]["content"] == "Summarise:\n\na file\nof two lines"


@pytest.mark.parametrize("given", ["", "\n \n"])
def test_nothing_on_standard_input_is_wrong_usage(given, simulator):
    ended = run("chat", "--base-url", simulator.url, given=given)
    assert ended.code == 2
    assert "there is no text" in error_of(ended)


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe", "Grüße".encode()])
def test_standard_input_is_utf8_with_or_without_its_mark(data, simulator):
    assert run("chat", "--base-url", simulator.url, given=data).code == 0
    assert sent(simulator)[-1]["content"] == "Grüße"


def test_standard_input_that_is_not_text_is_wrong_usage(simulator):
    ended = run("chat", "--base-url", simulator.url, given=b"\xff\xfe\x00")
    assert (ended.code, error_of(ended)) == (2, "error: standard input is not text in UTF-8")


def test_options_reach_the_server(simulator, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    options = ["--system", "Be brief.", "--image", tmp_path / "a.png", "--max-tokens", "50", "--temperature", "0"]
    options += ["--seed", "7", "--reasoning", "off"]
    with SimulatedLMStudio(["simulated-vl"]) as server:
        assert run("chat", "-p", "Hi", *options, "--base-url", server.url).code == 0
        body = server.requests[-1]["body"]
        system, user = sent(server)
    assert (body["max_tokens"], body["temperature"], body["seed"]) == (50, 0, 7)
    assert system == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("command", [["chat", "-p", "Hi"], ["complete", "Hi"], ["decide", "Hi", "--condition", "q"]])
def test_an_image_may_come_from_a_pipe(tmp_path, command):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[PNG], daemon=True)
    writer.start()
    with SimulatedLMStudio(["simulated-vl", "clef"]) as server:
        ended = run(*command, "--image", tmp_path / "pipe", "--base-url", server.url)
    writer.join(60)
    assert ended.code == 0, ended.err


def test_a_tier_takes_the_model_that_is_set_for_it(monkeypatch):
    monkeypatch.setenv("LM_STUDIO_MODEL_FAST", "small")
    with SimulatedLMStudio(["large", "small"]) as server:
        ended = run("complete", "Hi", "--tier", "fast", "--base-url", server.url, "--json")
    assert json.loads(ended.out)["model"] == "small"


def test_a_schema_shapes_the_answer(simulator, tmp_path):
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    (tmp_path / "s.json").write_text(json.dumps(schema))
    ended = run("chat", "-p", "Hi", "--schema", tmp_path / "s.json", "--base-url", simulator.url, "--json")
    assert isinstance(json.loads(ended.out)["parsed"]["age"], int)


def test_an_answer_that_is_not_what_the_schema_wants_is_shown_and_exits_with_1(tmp_path):
    (tmp_path / "s.json").write_text('{"type": "object", "required": ["age"]}')
    with SimulatedLMStudio(replies=["I am 7."]) as server:
        ended = run("chat", "-p", "Hi", "--schema", tmp_path / "s.json", "--base-url", server.url)
    assert (ended.code, ended.out) == (1, "I am 7.\n")
    assert error_of(ended)


def test_an_answer_that_is_cut_by_its_limit_says_so(simulator):
    ended = run("chat", "-p", "Hi", "--max-tokens", "3", "--base-url", simulator.url)
    assert (ended.code, ended.out) == (0, "This is a\n")
    assert "--max-tokens" in ended.err


def test_ollama_answers_too():
    with SimulatedOllama(replies=["Because."]) as server:
        ended = run("chat", "-p", "Hi", "--provider", "ollama", "--base-url", server.url)
    assert ended == (0, "Because.\n", "")


def test_a_text_is_continued_without_a_template(simulator):
    ended = run("complete", "--raw", "Once", "--base-url", simulator.url)
    assert ended == (0, " and so on. This is a simulated text, no model wrote it.\n", "")
    assert simulator.requests[-1]["path"] == "/v1/completions"


@for_each("arguments", [["chat", "-p", "Hi"], ["complete", "Hi"]])
@for_each(("end", "why"), [(b"", "stream"), (BROKEN, "the engine crashed")])
def test_a_stream_that_fails_in_the_middle_shows_what_came_and_exits_with_1(arguments, end, why, raw_server):
    server = raw_server(stream_of(HEL, end))
    ended = run(*arguments, "--model", "m", "--base-url", server.url)
    assert (ended.code, ended.out) == (1, "Hel\n")
    assert why in error_of(ended)


def test_a_stream_that_fails_in_the_middle_is_json_with_what_came(raw_server):
    server = raw_server(stream_of(HEL))
    ended = run("chat", "-p", "Hi", "--model", "m", "--base-url", server.url, "--json")
    answer = json.loads(ended.out)
    assert (ended.code, answer["text"], answer["finish_reason"]) == (1, "Hel", None)


def test_an_error_under_status_200_exits_with_1(raw_server):
    server = raw_server(stream_of(BROKEN))
    ended = run("chat", "-p", "Hi", "--model", "m", "--base-url", server.url)
    assert (ended.code, ended.out) == (1, "")
    assert "the engine crashed" in error_of(ended)


@for_each("control", ["\x1b]52;c;aGk=\x07", "\x9b2J", "\x08", "\r", "\x7f"])
def test_control_characters_are_shown_on_a_terminal_and_kept_in_a_pipe(control):
    with SimulatedLMStudio(replies=[f"a{control}b\tc\n"]) as server:
        shown = run("chat", "-p", "Hi", "--base-url", server.url, terminal=True)
        piped = run("chat", "-p", "Hi", "--base-url", server.url)
    escaped = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in control)
    assert (shown.out, piped.out) == (f"a{escaped}b\tc\n", f"a{control}b\tc\n")


def test_control_characters_of_an_error_are_shown_and_its_lines_joined(raw_server):
    server = raw_server(stream_of(b'data: {"error": {"message": "one\\n\\u001b[2Jtwo"}}\n\n'))
    ended = run("chat", "-p", "Hi", "--model", "m", "--base-url", server.url, terminal=True)
    assert "\\x1b[2J" in error_of(ended)


def test_only_a_terminal_shows_thoughts(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    with SimulatedLMStudio(replies=[{"reasoning_content": "Hm.", "content": "Yes."}]) as server:
        arguments = ("chat", "-p", "Hi", "--base-url", server.url)
        assert run(*arguments).out == "Yes.\n"
        assert run(*arguments, terminal=True).out == "\x1b[2mHm.\x1b[0m\n\nYes.\n"
        monkeypatch.setenv("NO_COLOR", "1")
        assert run(*arguments, terminal=True).out == "Hm.\n\nYes.\n"


def test_a_chat_is_saved_and_resumed(simulator, tmp_path):
    file = tmp_path / "chat.json"
    assert run("chat", "-p", "One", "--system", "S", "--save", file, "--base-url", simulator.url).code == 0
    assert run("chat", "-p", "Two", "--resume", file, "--save", file, "--base-url", simulator.url).code == 0
    assert [each["role"] for each in sent(simulator)] == ["system", "user", "assistant", "user"]
    assert len(json.loads(file.read_text())["messages"]) == 4


def test_a_chat_that_failed_does_not_replace_the_saved_one(raw_server, tmp_path):
    file = saved_chat(tmp_path / "chat.json")
    before, server = file.read_text(), raw_server(stream_of(HEL))
    options = ["--model", "m", "--resume", file, "--save", file, "--base-url", server.url]
    assert run("chat", "-p", "One", *options).code == 1
    assert file.read_text() == before


def saved_chat(path):
    content = {"system_prompt": None, "messages": [{"role": "user", "content": "Old"}]}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("content", ["", "my notes", "{}", '{"messages": 1}', b"\xff\x00"])
def test_a_file_that_is_not_a_chat_is_not_replaced(content, simulator, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = file.read_bytes()
    for resumed in ([], ["--resume", saved_chat(tmp_path / "chat.json")]):
        ended = run("chat", "-p", "Hi", "--save", file, *resumed, "--base-url", simulator.url)
        assert (ended.code, ended.out) == (2, "")
        assert "does not hold a chat: choose another name" in error_of(ended)
    assert (file.read_bytes(), simulator.requests) == (before, [])


@pytest.mark.parametrize("resumed", [False, True])
def test_another_chat_is_not_replaced(resumed, simulator, tmp_path):
    file, other = saved_chat(tmp_path / "chat.json"), saved_chat(tmp_path / "other.json")
    options = ["--resume", other] if resumed else []
    before = file.read_text()
    ended = run("chat", "-p", "Hi", "--save", file, *options, "--base-url", simulator.url)
    assert (ended.code, ended.out) == (2, "")
    assert f"go on with it by --resume {file}, or choose another name" in error_of(ended)
    assert (file.read_text(), simulator.requests) == (before, [])


def test_a_folder_or_a_name_that_no_file_can_have_is_refused_before_a_request(simulator, tmp_path):
    for name in (tmp_path, tmp_path / ("n" * 300)):
        ended = run("chat", "-p", "Hi", "--save", name, "--base-url", simulator.url)
        assert (ended.code, ended.out) == (2, "")
        assert error_of(ended)
    assert simulator.requests == []


def test_the_resumed_chat_may_be_named_in_another_way(simulator, tmp_path):
    file = saved_chat(tmp_path / "chat.json")
    again = tmp_path / "." / "sub" / ".." / "chat.json"
    (tmp_path / "sub").mkdir()
    assert run("chat", "-p", "Hi", "--resume", file, "--save", f"{again}", "--base-url", simulator.url).code == 0
    assert len(json.loads(file.read_text())["messages"]) == 3


def talk(server, *lines, options=()):
    """Type the lines in a conversation."""
    return run("chat", *options, "--base-url", server.url, typed="".join(f"{each}\n" for each in lines), terminal=True)


def test_the_words_of_a_chat_do_not_replace_files_of_others(simulator, tmp_path):
    notes, chat, new = tmp_path / "notes.txt", saved_chat(tmp_path / "chat.json"), tmp_path / "new.json"
    notes.write_text("my notes")
    before = chat.read_text()
    long = "n" * 300
    typed = [f"/save {notes}", f"/save {chat}", f"/save {long}", f"/save {new}", "One", f"/save {new}"]
    ended = talk(simulator, *typed)
    assert ended.code == 0
    first, second, third = ended.err.splitlines()
    assert "does not hold a chat" in first
    assert "holds another chat" in second
    assert long in third
    assert (notes.read_text(), chat.read_text()) == ("my notes", before)
    assert json.loads(new.read_text())["messages"][0]["content"] == "One"


def test_what_is_forgotten_is_not_in_the_saved_chat(simulator, tmp_path):
    file = tmp_path / "chat.json"
    ended = talk(simulator, "One", "Two", "/undo", options=["--save", file])
    assert [each["content"] for each in json.loads(file.read_text())["messages"]][::2] == ["One"]
    assert f"The last question is forgotten.\n{file} is written anew.\n" in ended.out
    ended = talk(simulator, "/clear", options=["--resume", file, "--save", file])
    assert json.loads(file.read_text())["messages"] == []
    assert f"All questions are forgotten.\n{file} is written anew.\n" in ended.out


def test_nothing_is_saved_if_there_was_nothing_to_forget(simulator, tmp_path):
    ended = talk(simulator, "/undo", "/clear", options=["--save", tmp_path / "chat.json"])
    assert list(tmp_path.iterdir()) == []
    assert "written anew" not in ended.out


def test_a_chat_without_a_file_does_not_say_that_it_is_written(simulator, tmp_path):
    ended = talk(simulator, "One", "/undo", "Two", f"/save {tmp_path / 'chat.json'}", "/clear")
    assert "The last question is forgotten.\n" in ended.out
    assert "All questions are forgotten.\n" in ended.out
    assert "written anew" not in ended.out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("/foo", "/foo is not a word of the chat."),
        ("/Undo", "/Undo is not a word of the chat."),
        ("/", "/ is not a word of the chat."),
        ("/save", "/save needs the name of a file, such as /save chat.json"),
        ("/save  ", "/save needs the name of a file, such as /save chat.json"),
    ],
)
def test_a_word_that_cannot_be_obeyed_says_why(typed, said, simulator):
    ended = talk(simulator, typed)
    assert said in ended.out
    assert [each for each in simulator.requests if each["method"] == "POST"] == []


@pytest.mark.parametrize("word", ["/quit", "/exit", "/exit "])
def test_two_words_end_a_chat(word, simulator):
    ended = talk(simulator, word, "One")
    assert (ended.code, ended.err) == (0, "")
    assert "You said" not in ended.out


@pytest.mark.parametrize("end", [b"", BROKEN])
def test_what_came_of_a_stream_that_broke_stays_in_the_chat(end, raw_server, tmp_path):
    file = tmp_path / "chat.json"
    ended = talk(raw_server(stream_of(HEL, end)), "One", options=["--model", "m", "--save", file])
    assert [each["content"] for each in json.loads(file.read_text())["messages"]] == ["One", "Hel"]
    assert "what came of the answer are kept; /undo forgets them" in ended.err


def test_a_question_without_an_answer_keeps_its_image_for_the_next(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    options = ["--image", tmp_path / "a.png"]
    with SimulatedLMStudio(["simulated-vl"], replies=[Fault(status=400), "Yes."]) as server:
        talk(server, "One", "Two", options=options)
        assert [part["type"] for part in sent(server)[-1]["content"]] == ["text", "image_url"]


def test_a_conversation_remembers_until_the_end_of_the_input(simulator):
    ended = run("chat", "--base-url", simulator.url, typed="One\n\nTwo\n", terminal=True)
    assert (ended.code, ended.err) == (0, "")
    assert [each["content"] for each in sent(simulator)[::2]] == ["One", "Two"]
    assert ended.out.count("You said: ") == 2


def test_the_words_of_a_conversation(simulator, tmp_path):
    file = tmp_path / "chat.json"
    typed = f"/help\n/undo\nOne\n/undo\nTwo\n/save {file}\n/clear\nThree\n/quit\nFour\n"
    ended = run("chat", "--base-url", simulator.url, typed=typed, terminal=True)
    assert ended.code == 0
    assert "/undo " in ended.out
    assert "There is no question to forget." in ended.out
    assert "The last question is forgotten." in ended.out
    assert [each["content"] for each in sent(simulator)] == ["Three"]
    assert json.loads(file.read_text())["messages"][0]["content"] == "Two"
    assert "Four" not in ended.out


def test_an_error_does_not_end_a_conversation(closed_port):
    ended = run("chat", "--base-url", f"localhost:{closed_port}", typed="One\nTwo\n", terminal=True)
    assert ended.code == 0
    assert ended.err.count("error: ") == 2


@pytest.mark.slow
@WITH_PTY
def test_ctrl_c_stops_the_answer_and_keeps_the_chat(tmp_path):
    long = {"content": ["Once upon ", *["a time "] * 500]}
    file = tmp_path / "chat.json"
    with SimulatedLMStudio(replies=[long, "Short."], delay_s=0.02) as server:
        with in_terminal("chat", "--base-url", server.url, "--save", file) as terminal:
            terminal.wait_for("> ")
            terminal.type("Tell me a story\n")
            terminal.wait_for("a time ")
            terminal.type("\x03")
            terminal.wait_for("> ")
            assert "Once upon a time" in file.read_text()
            terminal.interrupt_until("> ")
            terminal.type("And now?\n")
            terminal.wait_for("Short.")
            terminal.wait_for("> ")
            terminal.type("\x1b[A")  # readline recalls the question
            terminal.wait_for("And now?")
            terminal.type("\x15\x04")
            assert terminal.end() == 0
        assert [each["role"] for each in sent(server)] == ["user", "assistant", "user"]


@pytest.mark.slow
@WITH_PTY
def test_ctrl_c_ends_a_single_question_with_130():
    with SimulatedLMStudio(replies=[{"content": ["Once ", *["more "] * 500]}], delay_s=0.02) as server:
        with in_terminal("chat", "-p", "Hi", "--base-url", server.url) as terminal:
            terminal.wait_for("more ")
            terminal.type("\x03")
            assert terminal.end() == 130
            assert "Traceback" not in terminal.screen
