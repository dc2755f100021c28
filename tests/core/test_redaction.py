"""Secrets are found, and removed from a text in all their spellings."""

import json
from urllib.parse import quote

import pytest
from tables import for_each

from lmstudio_provider._core.redaction import header_secrets, hide, is_secret, redact, url_secrets

TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"
ODD = 'pä"ss/wörd\\ \U0001f600%41'


def spelt_out(text):
    """JSON in which each character is an escape."""
    units = text.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


FORMS = {
    "text": (ODD, "[hidden]"),
    "json": (json.dumps(ODD), '"[hidden]"'),
    "json in capitals": (json.dumps(ODD).replace("ud83d", "uD83D").replace("00e4", "00E4"), '"[hidden]"'),
    "json with letters": (json.dumps(ODD, ensure_ascii=False), '"[hidden]"'),
    "json with slashes escaped": (json.dumps(ODD).replace("/", "\\/"), '"[hidden]"'),
    "json with only escapes": (f'"{spelt_out(ODD)}"', '"[hidden]"'),
    "json in json": (json.dumps(json.dumps(ODD)), json.dumps('"[hidden]"')),
    "json in json in json": (json.dumps(json.dumps(json.dumps(ODD))), json.dumps(json.dumps('"[hidden]"'))),
    "repr": (repr(ODD), "'[hidden]'"),
    "repr of json": (repr(json.dumps(ODD)), "'\"[hidden]\"'"),
    "percent": (quote(ODD), "[hidden]"),
    "percent, slashes too": (quote(ODD, safe=""), "[hidden]"),
    "percent in small letters": (quote(ODD).replace("%C3%A4", "%c3%a4").replace("%F0%9F", "%f0%9f"), "[hidden]"),
    "percent for each byte": ("".join(f"%{byte:02x}" for byte in ODD.encode()), "[hidden]"),
    "percent after percent": (f"%40{quote(ODD)}%3Ahost", "%40[hidden]%3Ahost"),
    "after a line break in json": (f"\\n{quote(ODD)}\\n", "\\n[hidden]\\n"),
}


@for_each(("form", "hidden"), FORMS.values(), ids=FORMS)
def test_a_secret_is_hidden_however_it_is_written(form, hidden):
    assert hide(f"it's {form}, or 50%", (ODD,)) == f"it's {hidden}, or 50%"


@for_each("secret", ["pass\\", "s\\éu%", "two\\\\words", '\\"quoted\\"', "a\\\n\\\U0001f600b"])
@for_each("write", [str, json.dumps, lambda text: json.dumps(json.dumps(text)), quote, spelt_out])
def test_a_backslash_in_a_secret_is_hidden_with_what_follows(secret, write):
    shown = hide(f"it is {write(secret)}, or 50%", (secret,))
    assert shown.replace("\\", "").replace('"', "") == "it is [hidden], or 50%"


@for_each(
    ("secrets", "said"),
    [
        (("Bearer eyJhbGciOi.AAAAAA", "Bearer eyJhbGciOi.BBBBBB"), "Bearer eyJhbGciOi.BBBBBB"),
        (("Bearer eyJhbGciOi.AAAAAA", "Bearer eyJhbGciOi.BBBBBB"), "Bearer eyJhbGciOi.BBB"),
        (("abcdef", "abcdefghijkl"), "abcdefghijkl"),
        (("middle", "before-middle-after"), "before-middle-after"),
        (("before-middle", "middle-after"), "before-middle-after"),
        (("aaaaaaaaaab-the-rest",), "aaaaaaaaaaab-the-rest"),
    ],
)
def test_no_rest_of_a_secret_is_left_that_has_something_in_common_with_another(secrets, said):
    for order in (secrets, secrets[::-1]):
        hidden = redact(f"refused: {said}", order)
        assert hidden.replace("[hidden]", "") in ("refused: ", "refused: a")


@for_each(
    "said",
    [TOKEN[:10], TOKEN[:-1], f"{TOKEN[:10]}**************", f"{TOKEN[:4]}***ghij", f"{TOKEN[:6]}…", f"{TOKEN[:9]}..."],
)
def test_the_beginning_of_a_secret_is_hidden(said):
    hidden = redact(f"Malformed token: {said}. Ensure", (TOKEN,))
    assert hidden.startswith("Malformed token: [hidden]")
    assert hidden.endswith(" Ensure")
    assert "sk-l" not in hidden


def test_the_beginning_of_an_unknown_token_is_hidden_as_lm_studio_repeats_it():
    assert redact('{"error":"Malformed: sk-bogus-E**************. Ensure"}', ()) == (
        '{"error":"Malformed: [hidden]. Ensure"}'
    )


@for_each(
    "text", ["**bold** text", "****", "sk-l is short", "Use sk-lm- tokens", "50% of C:\\new\\table", "", "\\u12", "%zz"]
)
def test_other_texts_do_not_change(text):
    assert redact(text, (TOKEN, ODD)) == text


@pytest.mark.parametrize("secret", ["abcd", "p-w/1"])
def test_a_short_secret_is_hidden_only_as_a_word(secret):
    assert (
        hide(f"x{secret}x {secret} %3A{quote(secret, safe='')}%40", (secret,)) == f"x{secret}x [hidden] %3A[hidden]%40"
    )
    assert hide("port 123", ("123",)) == "port 123"


@for_each(
    "placeholder",
    [
        "lm-studio",
        "LM_Studio",
        "lmstudio",
        "ollama",
        "OLLAMA",
        "not-needed",
        "not_needed",
        "NotNeeded",
        "EMPTY",
        "none",
        "None",
        "null",
        "dummy",
        "dummy-key",
        "sk-no-key-required",
        "no-key",
        "no-key-required",
        "no_api_key",
        "not-required",
        "not-used",
        "unused",
        "n/a",
        "noauth",
        "none-needed",
        "fake-key",
        "sk-fake",
        "sk-dummy",
        "your-api-key",
        "YOUR_API_KEY",
        "your-api-key-here",
        "your_openai_api_key",
        "sk-your-key",
        "sk-xxxx",
        "xxxxxxxx",
        "placeholder",
        "ignored",
        "anything",
        "whatever",
        "changeme",
        "local",
        "localhost",
        "test",
        "api-key",
        "token",
        "key",
        "1234",
        "api-key-not-needed",
        "<your-api-key>",
        "sk-1234",
        "-",
        "0",
    ],
)
def test_a_placeholder_is_not_a_secret(placeholder):
    assert not is_secret(placeholder)
    assert hide(f"model '{placeholder}-community/qwen3'", (placeholder,)) == f"model '{placeholder}-community/qwen3'"


@for_each(
    "secret",
    [TOKEN, "s3cret", "hunter2", "my-own-secret", "secret-token", "ollama-4711", "geheim", "pw-7", "!?!?!?", "n!o!n!e"],
)
def test_a_word_that_somebody_chose_is_a_secret(secret):
    assert is_secret(secret)
    assert hide(f"it is {secret}.", (secret,)) == "it is [hidden]."


@for_each(
    ("name", "value", "secrets"),
    [
        ("Authorization", f"Bearer {TOKEN}", {TOKEN}),
        ("authorization", f"bearer  {TOKEN} ", {TOKEN}),
        ("Authorization", TOKEN, {TOKEN}),
        ("Authorization", f"AWS4-HMAC-SHA256 {TOKEN}", {TOKEN}),
        ("Authorization", "Basic YW5uOnMzY3JldA==", {"YW5uOnMzY3JldA==", "s3cret"}),
        ("Proxy-Authorization", "Basic YW5uOg==", {"YW5uOg==", "ann"}),
        ("Authorization", "Basic no base64!", {"no base64!"}),
        ("X-Api-Key", TOKEN, {TOKEN}),
        ("apikey", TOKEN, {TOKEN}),
        ("X-Auth", f"Token {TOKEN}", {TOKEN}),
        ("X-Auth-Token", TOKEN.encode(), {TOKEN}),
        ("X-Secret", "two words", {"two words"}),
        ("PASSWORD", "two words", {"two words"}),
        ("Cookie", "theme=dark; session=abcdefgh", {"dark", "abcdefgh"}),
        ("Set-Cookie", "abcdefgh", {"abcdefgh"}),
        ("Accept", "application/json, text/event-stream", set()),
        ("X-Max-Tokens", "131072", set()),
        ("X-Keys", "abcdefgh", set()),
        ("X-Keyboard", "abcdefgh", set()),
        ("X_Api_Key", "abcdefgh", {"abcdefgh"}),
        ("authToken", "abcdefgh", {"abcdefgh"}),
        ("Author", "abcdefgh", set()),
        ("User-Agent", "abcdefgh", set()),
    ],
)
def test_the_name_of_a_header_says_whether_its_value_is_a_secret(name, value, secrets):
    assert set(header_secrets({name: value})) == secrets


@for_each(
    ("url", "secrets"),
    [
        ("https://example.com/mcp?format=application/json&page=1", set()),
        ("https://me:p%40ss@example.com/mcp", {"p%40ss", "p@ss"}),
        ("https://abcdefgh@example.com", {"abcdefgh"}),
        ("https://example.com/?api_key=a%2Fb&accessToken=c&X-Key=d&monkey=e", {"a%2Fb", "a/b", "c", "d"}),
        (f"https://example.com/?code={TOKEN}", {TOKEN}),
        (f"https://example.com/?{TOKEN}#token=abcd", {TOKEN, "abcd"}),
        ("https://example.com/mcp;token=abcd/x?page=1", {"abcd/x"}),
        ("https://me:p;word@example.com/mcp", {"p;word"}),
        ("", set()),
    ],
)
def test_a_url_has_its_secrets_in_userinfo_parameters_query_and_fragment(url, secrets):
    assert set(url_secrets(url)) == secrets


@for_each(
    ("text", "secret"),
    [
        (TOKEN[:10] * 500, TOKEN),
        ("a" * 5000, "a" * 15 + "b" * 15),
        ("\\" * 5000, "\\" * 20),
        ("%73" * 1500, "s" * 20),
    ],
)
def test_no_part_of_a_secret_is_left_of_a_text_that_repeats_it(text, secret):
    hidden = redact(text, (secret, TOKEN, "another-secret"))
    assert secret[:10] not in hidden
