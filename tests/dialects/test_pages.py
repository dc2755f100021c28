"""What reverse proxies and other programs answer instead of the server: seen from nginx, Squid, Apache, and others."""

import pytest
from conftest import SAMPLES
from tables import for_each

from lmstudio_provider import (
    AuthenticationError,
    EndpointNotFoundError,
    InvalidRequestError,
    LMStudioProvider,
    OllamaProvider,
    ProtocolError,
    ProviderError,
    RateLimitError,
    ServerError,
    StatusError,
)
from lmstudio_provider._dialects.pages import read_answer, redirect

TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"
OFF = "The server behind the proxy is off"
SLOW = "the limit is the proxy's (nginx: proxy_read_timeout), not timeout="
LARGE = "limit on the size of a request's body"
NAME = "http://NAME:PASSWORD@host"
TLS = "write https:// in the base URL"
ADDRESS = "check host and port"

# The sample, the class of the error, its message and its hint.
SEEN = [
    ("nginx_200", ProtocolError, "nginx/1.22.1 answered HTTP 200, 'Welcome to nginx!'", ADDRESS),
    ("nginx_308", ProtocolError, "redirect (HTTP 308) to 'https://elsewhere.example/301'", "Set the base URL"),
    ("nginx_400_https", InvalidRequestError, "'400 The plain HTTP request was sent to HTTPS port'", TLS),
    ("nginx_401", AuthenticationError, "nginx/1.22.1 answered '401 Authorization Required'", NAME),
    ("nginx_404", EndpointNotFoundError, "nginx/1.22.1 answered '404 Not Found'", ADDRESS),
    ("nginx_413", InvalidRequestError, "nginx/1.22.1 answered '413 Request Entity Too Large'", LARGE),
    ("nginx_429", RateLimitError, "nginx/1.22.1 answered '429 Too Many Requests'", "Ask again later"),
    ("nginx_502", ServerError, "nginx/1.22.1 answered '502 Bad Gateway'", OFF),
    ("nginx_503", ServerError, "nginx/1.22.1 answered '503 Service Temporarily Unavailable'", OFF),
    ("nginx_504", ServerError, "nginx/1.22.1 answered '504 Gateway Time-out'", SLOW),
    ("squid_413", InvalidRequestError, "squid/5.7 answered HTTP 413, 'ERROR: The requested URL could not be", LARGE),
    ("squid_502", ServerError, "squid/5.7 answered HTTP 502, 'ERROR: The requested URL could not be retrieved'", OFF),
    ("squid_503", ServerError, "squid/5.7 answered HTTP 503, 'ERROR: The requested URL could not be retrieved'", OFF),
    ("squid_504", ServerError, "squid/5.7 answered HTTP 504, 'ERROR: The requested URL could not be retrieved'", SLOW),
    ("apache_400_https", InvalidRequestError, "Apache/2.4.71 (Debian) OpenSSL/3.0.19 answered '400 Bad", TLS),
    ("apache_401", AuthenticationError, "Apache/2.4.71 (Debian) OpenSSL/3.0.19 answered '401 Unauthorized'", NAME),
    ("apache_413", InvalidRequestError, "OpenSSL/3.0.19 answered '413 Request Entity Too Large'", LARGE),
    ("apache_502", ServerError, "Apache/2.4.71 (Debian) OpenSSL/3.0.19 answered '502 Proxy Error'", OFF),
    ("apache_503", ServerError, "Apache/2.4.71 (Debian) OpenSSL/3.0.19 answered '503 Service Unavailable'", OFF),
    ("caddy_400_https", InvalidRequestError, "'Client sent an HTTP request to an HTTPS server.'", TLS),
    ("caddy_401", AuthenticationError, "Caddy answered HTTP 401 with an empty body", NAME),
    ("caddy_502", ServerError, "Caddy answered HTTP 502 with an empty body", OFF),
    ("caddy_504", ServerError, "Caddy answered HTTP 504 with an empty body", SLOW),
    ("haproxy_401", AuthenticationError, "a web server answered '401 Unauthorized'", NAME),
    ("haproxy_503", ServerError, "a web server answered '503 Service Unavailable'", OFF),
    ("haproxy_504", ServerError, "a web server answered '504 Gateway Time-out'", SLOW),
    ("varnish_503", ServerError, "Varnish answered '503 Backend fetch failed'", OFF),
]


@pytest.mark.slow
@for_each("kind", [LMStudioProvider, OllamaProvider])
@for_each("method", ["complete", "stream"])
@for_each(("name", "error", "says", "hint"), SEEN, ids=[name for name, *_ in SEEN])
def test_a_page_is_shown_by_its_title_and_server(raw_server, sample, kind, method, name, error, says, hint):
    url = raw_server(sample(f"pages/{name}.http")).url
    with kind(url, refresh=False, max_retries=0) as provider, pytest.raises(ProviderError) as caught:
        list(getattr(provider, method)("Hi"))
    assert type(caught.value) is error
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert "<" not in str(caught.value)
    assert (ADDRESS in str(caught.value)) == name.endswith(("_200", "_404"))
    assert (TLS in str(caught.value)) == (hint == TLS)


def test_every_sample_is_tried():
    assert {path.stem for path in (SAMPLES / "pages").iterdir()} == {name for name, *_ in SEEN}


def reply(status, body=b"", *headers):
    return b"\r\n".join([b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), *headers, b"", body])


@for_each(
    ("status", "body", "headers", "error", "says", "hint"),
    [
        # Traefik's are plain text, in Go's words.
        (502, b"Bad Gateway", [b"Content-Type: text/plain"], ServerError, "answered HTTP 502, 'Bad Gateway'", OFF),
        (504, b"Gateway Timeout", [b"Content-Type: text/plain"], ServerError, "HTTP 504, 'Gateway Timeout'", SLOW),
        (503, b"no available server\n", [], ServerError, "'no available server'", OFF),
        (413, b"Request Entity Too Large", [], InvalidRequestError, "'Request Entity Too Large'", LARGE),
        (429, b"Too Many Requests", [], RateLimitError, "'Too Many Requests'", "Ask again later"),
        (
            404,
            b"404 page not found\n",
            [b"X-Content-Type-Options: nosniff"],
            EndpointNotFoundError,
            "404 page",
            ADDRESS,
        ),
        # Envoy, Cloudflare, Kong, Tomcat, Python, IIS, S3.
        (503, b"upstream connect error", [b"server: envoy"], ServerError, "envoy answered HTTP 503, 'upstream", OFF),
        (502, b"error code: 502", [b"Server: cloudflare"], ServerError, "cloudflare answered 'error code: 502'", OFF),
        (524, b"<title>host | 524: A timeout occurred</title>", [], ServerError, "524: A timeout occurred", SLOW),
        (502, b'{"message":"An invalid response"}', [], ServerError, "HTTP 502, no content type: An invalid", OFF),
        (400, b"This combination of host and port requires TLS.", [], InvalidRequestError, "requires TLS", TLS),
        (400, b"Bad Request", [], InvalidRequestError, "HTTP 400, 'Bad Request'", ""),
        (501, b"<h1>Error</h1> response", [], ServerError, "a web server answered HTTP 501, 'Error'", "See the log"),
        (
            500,
            b"<title>\n 500 -\n Oops </title>",
            [b"Server: x"],
            ServerError,
            "x answered '500 - Oops'",
            "the log of x",
        ),
        (403, b"<?xml version='1.0'?><Error><Code>Denied</Code></Error>", [], AuthenticationError, "403, 'Denied'", ""),
        (407, b"", [], StatusError, "HTTP 407 with an empty body", "proxy_headers="),
        (408, b"<html><body><h1>408 Request Time-out</h1>", [], StatusError, "408 Request Time-out", "raise its limit"),
        (405, b"No<p>", [b"Content-Type: Text/HTML"], EndpointNotFoundError, "HTTP 405, 'No'", "Check the base URL"),
        (404, b"\xef\xbb\xbf  <html></html>", [], EndpointNotFoundError, "a page without a title", ADDRESS),
    ],
)
def test_pages_of_other_servers_are_shown_without_markup_too(
    raw_server, provider_of, status, body, headers, error, says, hint
):
    with pytest.raises(ProviderError) as caught:
        provider_of(raw_server(reply(status, body, *headers)), max_retries=0).complete("Hi")
    assert type(caught.value) is error
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert "<" not in str(caught.value)
    assert (TLS in str(caught.value)) == (hint == TLS)
    assert caught.value.body == body.decode()


@for_each(("status", "hint"), [(503, OFF), (521, OFF), (522, OFF), (523, OFF), (524, SLOW)])
def test_the_statuses_of_a_proxy_say_what_is_wrong_behind_it(status, hint):
    assert hint in read_answer(status, {}, "", None).hint


@for_each("status", [502, 504, 413])
def test_an_error_of_a_proxy_in_json_has_the_same_hint(raw_server, provider_of, status):
    with pytest.raises(ProviderError) as caught:
        provider_of(raw_server(reply(status, b'{"error": {"message": "hm"}}'))).complete("Hi")
    assert "'hm'" in caught.value.message
    assert {502: OFF, 504: SLOW, 413: LARGE}[status] in caught.value.hint


@for_each(
    ("page", "title"),
    [
        ("<title>A &amp; B</title>", "A & B"),
        ("<TITLE lang=en>A</TITLE><h1>B</h1>", "A"),
        ("<title></title><h1>B <b>c</b></h1>", "B c"),
        ("<style>p {}</style><body><p>C</p>", "C"),
        ("<style>body{color:red}</style><h2>Down for maintenance</h2>", "Down for maintenance"),
        ("<STYLE type='text/css'>\np > b {}\n</STYLE >Down", "Down"),
        ("<script>var a='<b>'; document.title = '<title>x</title>'</script><p>Off</p>", "Off"),
        ("<!-- <title>x</title> --><body>Off", "Off"),
        ("<svg><title>Logo</title></svg><title>A</title>", "A"),
        ("<head>noise</head><body>Off", "Off"),
        ("<body><svg viewBox='0 0 1 1'><title>Logo</title><path/></svg><h2>B</h2>", "B"),
        ("<script>not closed <h1>", ""),
        ("<script>" * 20_000, ""),
        ("<svg" * 20_000, ""),
        ("<!--" * 20_000, ""),
        ("<title>" * 20_000, ""),
        ("<title" * 20_000, ""),
        ("<" * 100_000, ""),
        ("Hi <p class", "Hi"),
        ("<h1>" + "x" * 200, "x" * 200),
        ("<h1>" + "x" * 1_000_000, f"{'x' * 200}…"),
    ],
)
def test_the_title_of_a_page_is_found_whatever_is_missing(page, title):
    said = read_answer(502, {"Content-Type": "text/html"}, page, None).said
    assert said == (f"a web server answered HTTP 502, {title!r}" if title else said)
    assert len(said) < 300


def test_a_server_may_call_itself_anything():
    said = read_answer(502, {"Server": "x\x1b[31m" + "y" * 1000}, "", None).said
    assert said == f"x[31m{'y' * 55} answered HTTP 502 with an empty body"


@for_each(
    ("location", "says", "hint"),
    [
        (
            "https://host/v1/chat/completions",
            "to 'https://host/v1/chat/completions'",
            "Set the base URL to https://host",
        ),
        ("https://host/x/v1/chat/completions/?a=b", "?a=b'", "Set the base URL to https://host/x"),
        ("https://ann:s3cret@host/v1/models", "to 'https://host/v1/models'", "the address of the server itself"),
        ("//ann@host/login", "to '//host/login'", "a proxy wants a login"),
        ("/login?next=/v1", "to '/login?next=/v1'", "a proxy wants a login"),
        ("/v1/chat/completions", "to '/v1/chat/completions'", "the address of the server itself"),
        ("", "(HTTP 302) without a target", "the address of the server itself"),
    ],
)
def test_a_redirect_names_its_target_without_userinfo(location, says, hint):
    said, advice = redirect(302, {"Location": location}, "/v1/chat/completions")
    assert says in said
    assert f"{hint};" in f"{advice};"
    assert "ann" not in said + advice


@for_each(
    "secret",
    [
        "?token=abcdefghijklmnop",
        "?a=1&api_key=abcdefghijklmnop#top",
        "#access_token=abcdefghijklmnop&state=1",
        "#/callback?idToken=abcdefghijklmnop",
        "?a=1;password=abcdefghijklmnop",
        "?next=/x?client_secret=abcdefghijklmnop",
        "?ticket=ST-abcdefghijklmnop-of-a-single-sign-on",
        "?token=abcdefghi%6a%6b%6c%6dnop",
    ],
)
@for_each("base", ["https://sso/x", "https://h/v1/chat/completions", "/x"])
def test_the_target_of_a_redirect_shows_none_of_its_secrets(base, secret):
    said = " ".join(redirect(302, {"Location": base + secret}, "/v1/chat/completions"))
    assert f"to '{base}" in said
    assert "[hidden]" in said
    assert "abcdefghi" not in said


def test_the_target_of_a_redirect_shows_no_secret(raw_server, provider_of):
    head = f"HTTP/1.1 302 X\r\nLocation: http://h/v1/chat/completions?token={TOKEN.replace(':', '%3A')}\r\n\r\n"
    with pytest.raises(ProtocolError, match="redirect") as caught:
        provider_of(raw_server(head.encode()), api_token=TOKEN).complete("Hi")
    assert "token=[hidden]" in caught.value.message
    assert "Set the base URL to http://h" in caught.value.hint
