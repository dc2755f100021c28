"""No secret of a request gets into a recording, wherever the request or its reply has it."""

import base64
import json
from urllib.parse import urlsplit

import pytest
from plain_http import ask
from tables import for_each

from lmstudio_provider import LMStudioProvider, ProviderError
from lmstudio_provider.simulator import SimulatedLMStudio, record, replay

TOKEN = "sk-lm-Zx81kQ:p0qR7tYv2W4e6U8i"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recording.jsonl"


def reply_of(body, *headers):
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def text_of(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", f"Bearer {TOKEN}"),
        ("authorization", TOKEN),
        ("Authorization", "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()),
        ("Proxy-Authorization", f"Bearer {TOKEN}"),
        ("x-api-key", TOKEN),
        ("api-key", TOKEN),
        ("X-Auth-Token", TOKEN),
        ("X-Goog-Api-Key", TOKEN),
        ("Cookie", f"theme=dark; session={TOKEN}"),
    ],
)
@pytest.mark.parametrize("repeated", ["{}", '{{"error": "Invalid token {}."}}', "data: {}\n\n"])
def test_a_secret_of_a_header_is_not_written_also_if_the_reply_repeats_it(path, raw_server, name, value, repeated):
    body = repeated.format(TOKEN).encode()
    real = raw_server(reply_of(body, b"X-Echo: " + value.encode(), b"Location: /?x=" + TOKEN.encode()))
    with record(real.url, path) as server:
        _, headers, data = ask(server, "GET", "/", headers={name: value})
    assert data == body  # the client gets all of it
    assert headers["X-Echo"] == value
    assert TOKEN not in text_of(path)
    assert value not in text_of(path)
    with replay(path) as server:  # with another secret, or none
        status, headers, data = ask(server, "GET", "/", headers={name: "other"})
    assert (status, len(data)) == (200, len(body))
    assert data == body.replace(TOKEN.encode(), b"*" * len(TOKEN))


@pytest.mark.parametrize("shown", [TOKEN[:10] + "*" * 14, TOKEN[:8], TOKEN[:16] + "..."])
def test_the_beginning_of_a_token_is_not_written_either(path, raw_server, shown):
    with record(raw_server(reply_of(shown.encode())).url, path) as server:
        ask(server, "GET", "/", headers={"Authorization": f"Bearer {TOKEN}"})
    assert TOKEN[:8] not in text_of(path)


def test_a_secret_that_was_cut_in_two_is_not_written(path, raw_server):
    pieces = [b"data: " + TOKEN[:5].encode(), TOKEN[5:].encode() + b"\n\n"]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    real = raw_server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    with record(real.url, path) as server:
        ask(server, "GET", "/", headers={"Authorization": f"Bearer {TOKEN}"})
    assert json.loads(text_of(path).splitlines()[1])["reply"]["pieces"] == [
        "data: " + "*" * 5,
        "*" * (len(TOKEN) - 5) + "\n\n",
    ]


STREAMS = {
    "chat": lambda text: {"choices": [{"index": 0, "delta": {"content": text, "role": "assistant"}}]},
    "thoughts": lambda text: {"choices": [{"index": 0, "delta": {"reasoning_content": text}}]},
    "arguments": lambda text: {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}}]},
    "responses": lambda text: {"type": "response.output_text.delta", "output_index": 0, "delta": text},
    "messages": lambda text: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
    "ollama": lambda text: {"model": "m", "message": {"role": "assistant", "content": text}, "done": False},
    "native": lambda text: {"type": "message.delta", "content": text},
}


def events(values):
    return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in values)


@for_each("kind", STREAMS)
@for_each("size", [1, 3, 7, 20])
def test_a_secret_that_several_events_of_a_stream_spell_is_not_written(path, raw_server, kind, size):
    said = f"My key is {TOKEN}, is it not?"
    values = [STREAMS[kind](said[at : at + size]) for at in range(0, len(said), size)]
    with record(raw_server(reply_of(events(values))).url, path) as server:
        ask(server, "GET", "/", headers={"Authorization": f"Bearer {TOKEN}"})
    (piece,) = json.loads(text_of(path).splitlines()[1])["reply"]["pieces"]
    hidden = said.replace(TOKEN, "*" * len(TOKEN))
    assert piece.encode() == events(STREAMS[kind](hidden[at : at + size]) for at in range(0, len(said), size))


def test_secrets_that_two_choices_spell_in_turn_are_not_written(path, raw_server):
    values = [{"choices": [{"index": n, "delta": {"content": each}}]} for each in TOKEN for n in (0, 1)]
    with record(raw_server(reply_of(events(values))).url, path) as server:
        ask(server, "GET", "/", headers={"Authorization": f"Bearer {TOKEN}"})
    (piece,) = json.loads(text_of(path).splitlines()[1])["reply"]["pieces"]
    assert piece.count('"*"') == 2 * len(TOKEN)


def test_a_secret_with_characters_that_json_escapes_is_not_written(path, raw_server):
    token = 'geh"eim\\wört'
    with record(raw_server(reply_of(json.dumps([token]).encode() + token.encode())).url, path) as server:
        ask(server, "GET", "/", headers={"X-Api-Key": token.encode("latin-1")})
    reply = json.loads(text_of(path).splitlines()[1])["reply"]
    assert "eim" not in str(reply)


@pytest.mark.parametrize(
    "name", ["api_key", "key", "token", "access_token", "apikey", "password", "X-Amz-Signature", "api%5Fkey"]
)
def test_a_secret_of_the_query_is_not_written_and_not_compared(path, raw_server, name):
    real = raw_server(reply_of(b"?" + TOKEN.encode()))
    with record(real.url, path) as server:
        ask(server, "GET", f"/models?limit=5&{name}={TOKEN}&page=2")
    assert f"&{name}={TOKEN}&".encode() in real.requests[0]
    assert TOKEN not in text_of(path)
    assert f"/models?limit=5&{name}=***&page=2" in text_of(path)
    with replay(path) as server:
        assert ask(server, "GET", f"/models?limit=5&{name}=mine&page=2")[0] == 200


def test_a_secret_in_the_json_of_a_request_is_not_written_and_not_compared(path, raw_server):
    def asked(token):
        return {
            "input": "Hi",
            "integrations": [{"type": "ephemeral_mcp", "headers": {"Authorization": f"Bearer {token}"}}],
            "nested": {"apiKey": token, "token": "a token of the model", "key": 3, "password": {"type": "string"}},
        }

    real = raw_server(reply_of(b"{}"))
    with record(real.url, path) as server:
        ask(server, "POST", "/api/v1/chat", asked(TOKEN))
    assert TOKEN.encode() in real.requests[0]
    assert TOKEN not in text_of(path)
    assert json.loads(text_of(path).splitlines()[1])["request"]["json"] == {
        "input": "Hi",
        "integrations": [{"type": "ephemeral_mcp", "headers": {"Authorization": "***"}}],
        "nested": {"apiKey": "***", "token": "a token of the model", "key": 3, "password": {"type": "string"}},
    }
    with replay(path) as server:
        assert ask(server, "POST", "/api/v1/chat", asked("other"))[0] == 200


@pytest.mark.parametrize(
    "body", [TOKEN.encode(), json.dumps({"text": f"my {TOKEN}"}).encode(), b"\xff" + TOKEN.encode()]
)
def test_a_token_in_a_body_of_the_request_is_not_written(path, raw_server, body):
    with record(raw_server(reply_of(b"")).url, path) as server:
        ask(server, "POST", "/", data=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert TOKEN not in text_of(path)
    assert base64.b64encode(body).decode() not in text_of(path)


def test_the_name_and_password_of_the_url_are_sent_and_not_written(path, raw_server):
    pair = "me:pass w@rd"
    encoded = base64.b64encode(pair.encode()).decode()
    real = raw_server(reply_of(f"{pair} {encoded}".encode()))
    with record(real.url.replace("://", "://me:pass%20w%40rd@"), path) as server:
        assert server.base_url == server.url
        ask(server, "GET", "/")
        ask(server, "GET", "/", headers={"Authorization": "Bearer mine"})
    assert f"Authorization: Basic {encoded}".encode() in real.requests[0]
    assert b"Authorization: Bearer mine" in real.requests[1]
    assert b"Basic" not in real.requests[1]
    assert not [secret for secret in ("pass w@rd", "pass%20w", encoded, "me:") if secret in text_of(path)]


def test_the_password_of_the_url_is_in_no_message(path, closed_port):
    with record(f"http://me:geheim1@127.0.0.1:{closed_port}", path) as server:
        assert b"geheim1" not in ask(server, "GET", "/")[2]
    with pytest.raises(ValueError, match="not the address") as raised:
        record("ftp://me:geheim1@localhost", path)
    assert "geheim1" not in str(raised.value)
    assert "geheim1" not in repr(server)


@pytest.mark.parametrize("name", [b"Set-Cookie", b"X-Session-Token", b"X-Api-Key"])
def test_a_secret_that_the_server_makes_is_passed_on_and_not_written(path, raw_server, name):
    with record(raw_server(reply_of(b"{}", name + b": id=" + TOKEN.encode())).url, path) as server:
        assert ask(server, "GET", "/")[1][name.decode()] == f"id={TOKEN}"
    assert TOKEN not in text_of(path)


@pytest.mark.parametrize("key", ["ollama", "lm-studio", "x", "EMPTY", "not-needed", "data"])
def test_a_word_that_stands_in_for_a_key_stays_in_the_texts(path, raw_server, key):
    body = f'data: {{"content": "ask {key} for x"}}'.encode()
    with record(raw_server(reply_of(body)).url, path) as server:
        ask(server, "GET", "/", headers={"Authorization": f"Bearer {key}"})
    with replay(path) as server:
        assert ask(server, "GET", "/")[2] == body


@pytest.mark.parametrize("key", ["12345", "0.75", "1e10"])
def test_numbers_that_look_like_the_key_stay_numbers(path, raw_server, key):
    body = f'{{"created": 1{key}6, "x": {key}}}'.encode() if key == "12345" else f'{{"x": {key}}}'.encode()
    with record(raw_server(reply_of(body)).url, path) as server:
        ask(server, "POST", "/", {"x": json.loads(key)}, headers={"Authorization": f"Bearer {key}"})
    assert f"{key}" not in text_of(path)
    with replay(path) as server:
        data = ask(server, "POST", "/", {"x": json.loads(key)}, headers={"Authorization": f"Bearer {key}"})[2]
    assert isinstance(json.loads(data)["x"], (int, float))


def test_the_token_of_a_provider_is_not_written_also_not_by_a_refusal(path):
    with SimulatedLMStudio(api_token=TOKEN) as real, record(real.url, path) as server:
        for token in (TOKEN, TOKEN[:-1] + "x"):
            with LMStudioProvider(server.base_url, api_token=token, refresh=False, max_retries=0) as lm:
                try:
                    assert lm.complete("Hi").text
                except ProviderError:
                    assert token != TOKEN
    assert TOKEN[:8] not in text_of(path)


def test_a_request_that_was_not_recorded_is_shown_without_its_secrets(path, raw_server):
    with record(raw_server(reply_of(b"{}")).url, path) as server:
        ask(server, "POST", "/", {"a": 1})
    with replay(path) as server:
        asked = {"a": TOKEN, "api_key": TOKEN}
        _, _, data = ask(server, "POST", f"/?key={TOKEN}", asked, headers={"Authorization": f"Bearer {TOKEN}"})
        assert TOKEN[:8] not in data.decode() + str(server.unmatched)
        server.unmatched.clear()


def test_urls_are_not_written(path, raw_server):
    real = raw_server(reply_of(b"{}"))
    with record(real.url, path) as server:
        ask(server, "GET", "/")
    assert urlsplit(real.url).netloc not in text_of(path)
