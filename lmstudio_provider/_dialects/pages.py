"""Answers that come from a reverse proxy, or from another program, instead of the server that was asked."""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, NamedTuple

from .._core.redaction import hide, url_secrets
from .._http.exchange import USE_HTTPS

# The hint if a web page answers.
CHECK_ADDRESS = "Another program, or a proxy, answers at that address: check host and port"

# How nginx, Apache, Go (Caddy, Traefik), and Tomcat refuse plain HTTP at such a port.
_WANTS_TLS = (
    r"plain HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL|HTTP request to an HTTPS server"
    r"|combination of host and port requires TLS"
)

_OFF = "The server behind the proxy is off or out of its reach: start it, or check the address in the proxy's settings"
_SLOW = (
    "The proxy gave up waiting for the reply: the limit is the proxy's (nginx: proxy_read_timeout), not timeout=; "
    "raise it there, or stream, so that each piece of the reply counts"
)
# The hints for statuses that proxies send, if nothing more is known.
HINTS: Mapping[int, str] = {
    404: f"{CHECK_ADDRESS}, and the path of the base URL",
    405: "Check the base URL: the server there does not take such requests",
    407: "Give the proxy's name and password: "
    "http=urllib3.ProxyManager(url, proxy_headers=urllib3.make_headers(proxy_basic_auth='NAME:PASSWORD'))",
    408: "The request took too long for the proxy: raise its limit, or send less",
    413: "There is a limit on the size of a request's body, most often the proxy's (nginx: client_max_body_size): "
    "raise it, or send less, such as smaller images",
    429: "Ask again later, or raise the proxy's limit on the rate of requests",
    502: _OFF,
    503: f"{_OFF}; if it is only busy, or just starting, ask again shortly",
    504: _SLOW,
    521: _OFF,
    522: _OFF,
    523: _OFF,
    524: _SLOW,
}


class Answer(NamedTuple):
    """An answer that does not report its error as JSON."""

    text: str
    """The title of a page, or the beginning of a text."""
    said: str
    """A sentence with the sender, the status and the text."""
    hint: str


def read_answer(status: int, headers: Mapping[str, str], text: str, value: object) -> Answer:
    """Read an answer that does not report an error as JSON; ``value`` is its JSON, None if it is not JSON.

    A page is shown by its title, never as markup.
    """
    server = "".join(filter(str.isprintable, headers.get("Server") or ""))[:60]
    if value is not None:
        kind = headers.get("Content-Type") or "no content type"
        detail = _cut(_detail(value), 300)
        return Answer(detail, f"HTTP {status}, {kind}: {detail}", HINTS.get(status, ""))
    markup = is_page(headers, text)
    title = _cut(" ".join((_title(text) if markup else text[:1000]).split()), 200)
    who = server or ("a web server" if markup else "the server")
    if not title:
        said = f"{who} answered HTTP {status} with {'a page without a title' if markup else 'an empty body'}"
    else:
        said = f"{who} answered {title!r}" if str(status) in title else f"{who} answered HTTP {status}, {title!r}"
    if status == 400 and re.search(_WANTS_TLS, text[:4000], re.I):
        hint = USE_HTTPS
    elif markup and status < 300:
        hint = CHECK_ADDRESS
    else:
        hint = HINTS.get(status) or (f"See the log of {who}" if markup and status >= 500 else "")
    return Answer(title, said, hint)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _detail(value: object) -> str:
    """Return the text of JSON that is not an error of a known form: FastAPI has a "detail", and Kong a "message"."""
    if isinstance(value, dict):
        value = value.get("detail") or value.get("message") or value
    return value if isinstance(value, str) else json.dumps(value)


def is_page(headers: Mapping[str, str], text: str) -> bool:
    """Return True if an answer is HTML or XML, by its type or by how it begins."""
    kind = (headers.get("Content-Type") or "").lower()
    return "html" in kind or "xml" in kind or text[:1000].lstrip("\ufeff \t\r\n").startswith("<")


def _title(text: str) -> str:
    """Return the title of a page, else its first heading, else its beginning without markup; linear in its size."""
    text = re.sub(_NOT_SHOWN, " ", text[:_MOST_READ], flags=re.I | re.S)
    lower = text.lower()
    for name in ("title", "h1"):
        start = lower.find(f"<{name}")
        begin, end = lower.find(">", start) + 1, lower.find(f"</{name}", start)
        if 0 <= start < begin <= end and text[begin:end].strip():
            return _text(text[begin:end])
    return _text(text[lower.find("<body") :] if "<body" in lower else text)


_MOST_READ = 64 * 1024
# The parts that a browser does not show as text. The titles in a drawing are not that of the page.
_NOT_SHOWN = r"<!--.*?(?:-->|\Z)|<(style|script|template|svg)\b.*?(?:</\1\s*>|\Z)"


def _text(markup: str) -> str:
    import html  # noqa: PLC0415 (only errors need it)

    # Of a number of more digits than Python reads, unescape() would raise ValueError.
    return html.unescape(re.sub(r"<[^<>]*>?", " ", markup)[:_MOST_DIGITS]).strip("\ufeff \t\r\n")


_MOST_DIGITS = 4000


def redirect(status: int, headers: Mapping[str, str], path: str) -> tuple[str, str]:
    """Return the message and the hint for a redirect of a call to ``path``."""
    target = (headers.get("Location") or "").strip()
    target = re.sub(r"//[^/?#]*@", "//", target[:500])  # without userinfo
    if not target:
        said = f"the server answered with a redirect (HTTP {status}) without a target"
        return said, _SERVER_ITSELF
    shown = hide(target, tuple(url_secrets(target)))
    said = f"the server answered with a redirect (HTTP {status}) to {shown!r}, which is not followed"
    base = re.split("[?#]", shown)[0]
    if "://" in base and path and base.rstrip("/").endswith(path):
        return said, f"Set the base URL to {base.rstrip('/')[: -len(path)]}"
    return said, f"{_SERVER_ITSELF}; if the target is a login page, a proxy wants a login"


_SERVER_ITSELF = "Set the base URL to the address of the server itself"


def wants_basic(headers: Mapping[str, Any]) -> bool:
    """Return True if the answer asks for a name and a password (RFC 7617), as proxies do."""
    return str(headers.get("WWW-Authenticate")).lower().startswith("basic")
