import pytest

from lmstudio_provider import ConfigurationError
from lmstudio_provider._urls import parse_base_url


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("localhost:1234", "http://localhost:1234"),
        ("localhost", "http://localhost:1234"),
        ("http://host:1234", "http://host:1234"),
        ("http://host:1234/", "http://host:1234"),
        ("http://host:1234/v1", "http://host:1234"),
        ("http://host:1234/v1/", "http://host:1234"),
        ("http://host:1234/api/v1", "http://host:1234"),
        ("http://host:1234/api/v0/", "http://host:1234"),
        ("http://host:1234//v1//", "http://host:1234"),
        ("ws://host:1234", "http://host:1234"),
        ("wss://host", "https://host"),
        ("https://host", "https://host"),
        ("http://host", "http://host"),
        ("HTTP://Host:80", "http://host:80"),
        ("[::1]:1234", "http://[::1]:1234"),
        ("http://[FE80::1]/v1", "http://[fe80::1]"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("http://[::]:1234", "http://[::1]:1234"),
        ("https://example.org/lm/studio/", "https://example.org/lm/studio"),
        ("https://example.org/lm/v1", "https://example.org/lm"),
        ("example.org/lm", "http://example.org:1234/lm"),
        ("http://host:1234/v1/chat/completions", "http://host:1234"),
        ("http://host:1234/V1/models/", "http://host:1234"),
        ("  localhost:1234\n", "http://localhost:1234"),
    ],
)
def test_each_form_of_a_base_url_means_an_origin(value, origin):
    url = parse_base_url(value, "the argument base_url", 1234)
    assert url.text == origin
    assert url.authorization is None


@pytest.mark.parametrize(
    "value",
    [
        "ftp://host",
        "file:///etc/hosts",
        "unix:///run/lmstudio",
        "mailto:someone",
        "http:/localhost:1234",
        "http//localhost:1234",
        "https:localhost",
        "http://",
        "http://:1234",
        ":1234",
        "host:port",
        "host:0",
        "host:65536",
        "::1",
        "http://[::1",
        "two words",
        "http://host/?key=1",
        "http://host/#top",
        "http://host/v1?",
    ],
)
def test_what_is_no_base_url_is_refused_with_its_source_and_value(value):
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url(value, "the environment variable LM_STUDIO_URL", 1234)
    assert "from the environment variable LM_STUDIO_URL" in str(caught.value)
    assert repr(value.split("?")[0])[:-1] in str(caught.value)
    assert caught.value.hint == "Write it like http://localhost:1234"


def test_userinfo_becomes_a_header_and_leaves_the_url():
    url = parse_base_url("http://ann:s%3Acret@host:1", "x", 1234)
    assert url.text == "http://host:1"
    assert url.authorization == "Basic YW5uOnM6Y3JldA=="
    assert "YW5u" not in repr(url)


@pytest.mark.parametrize(
    "value",
    [
        "http://ann:s3cret@host:x",
        "ann:s3cret@host:x",
        "ftp://ann:s3cret@host",
        "http://ann:s3/cret@host",
        "s3cret@:1",
        "ann:s3\ncret@h:x",
    ],
)
def test_userinfo_is_in_no_message_and_no_cause(value):
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url(value, "x", 1234)
    assert "s3" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_query_is_in_no_message():
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url("http://host/?key=s3cret", "x", 1234)
    assert "s3cret" not in str(caught.value)
