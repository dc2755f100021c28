"""Messages of the library, with the words of the command line."""

import pytest
from commands import run
from tables import for_each

from lmstudio_provider.cli.words import in_options
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

PYTHON = ["list_models", "discover(", "native", "pull(", "Provider", "base_url", "api_token", "timeout=", "None"]


PULL = "'ollama pull MODEL', or {}, downloads one"
URL = "the default, and {} or LM_STUDIO_URL names another server"


@for_each(
    ("said", "shown"),
    [
        ("Raise timeout= (seconds), or give None for no limit", "Raise --timeout (seconds)"),
        (URL.format("base_url="), URL.format("--base-url")),
        ("leave it to reasoning='off'", "leave it to --reasoning 'off'"),
        ("max_tokens=3 were used up", "--max-tokens 3 were used up"),
        (PULL.format("pull()"), PULL.format("'lmstudio-provider pull MODEL'")),
        ("Download.resume('j', lm).wait() watches it", "'lmstudio-provider download --job j' watches it"),
        ("native.models() lists the instances", "'lmstudio-provider models --json' lists the instances"),
        (
            "Raise it with timeout=Timeouts(idle=...) in seconds, or give None for no limit",
            "Raise it with --timeout SECONDS",
        ),
        ("lm.native.unload() unloads one", "'lmstudio-provider unload MODEL' unloads one"),
        ("give it as LM_API_TOKEN or api_token=", "give it as LM_API_TOKEN"),
    ],
)
def test_calls_and_arguments_of_python_become_commands_and_options(said, shown):
    assert in_options(said) == shown


def test_the_status_as_json_does_not_speak_python(closed_port):
    ended = run("status", "--base-url", f"localhost:{closed_port}", "--json")
    assert [word for word in PYTHON if word + "=" in ended.out] == []
    assert "--base-url" in ended.out


@for_each("command", ["load", "unload", "pull"])
@for_each("name", ["", " "])
def test_a_name_that_is_blank_is_wrong_usage(command, name):
    ended = run(command, name)
    assert ended.code == 2
    assert "give the name of a model" in ended.err


@pytest.mark.parametrize("content", ["[1]", "1", '"text"', "null"])
def test_a_schema_that_is_not_an_object_is_wrong_usage(content, tmp_path):
    (tmp_path / "s.json").write_text(content)
    ended = run("chat", "-p", "x", "--schema", tmp_path / "s.json")
    assert ended.code == 2
    assert 'is not a JSON schema; write an object such as {"type": "object"' in ended.err


def test_an_advised_command_asks_the_same_server():
    with SimulatedOllama() as server:
        options = ["--provider", "ollama", "--base-url", server.url]
        ended = run("chat", "-p", "x", *options, "--model", "nope")
        assert f"'lmstudio-provider models --provider ollama --base-url {server.url}'" in ended.err


def test_an_advised_command_does_not_show_a_password():
    with SimulatedOllama() as server:
        url = server.url.replace("//", "//me:secret@")
        ended = run("chat", "-p", "x", "--provider", "ollama", "--base-url", url, "--model", "nope")
    assert "secret" not in ended.out + ended.err


def test_no_error_speaks_python(closed_port, silent_server):
    with SimulatedLMStudio() as lm_studio, SimulatedOllama() as ollama, SimulatedLMStudio([], api_token="t") as locked:
        said = [
            run("chat", "-p", "x", "--provider", "ollama", "--base-url", ollama.url, "--model", "nope"),
            run("chat", "-p", "x", "--model", "another", "--base-url", lm_studio.url),
            run("embed", "x", "--model", "simulated-model", "--base-url", lm_studio.url),
            run("load", "nope", "--base-url", lm_studio.url),
            run("status", "--provider", "ollama", "--base-url", lm_studio.url),
            run("status", "--base-url", ollama.url),
            run("status", "--base-url", locked.url),
            run("models", "--base-url", f"localhost:{closed_port}"),
            run("models", "--base-url", silent_server.url, "--timeout", "0.1"),
            run("decide", "x", "--condition", "y", "--base-url", lm_studio.url),
            run("chat", "-p", "x", "--base-url", locked.url),
        ]
    for ended in said:
        text = ended.out + ended.err
        assert text
        assert [word for word in PYTHON if word in text.partition(": 'Please")[0]] == [], text
