"""Base URLs, in the forms in which people write them."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from ._exceptions import ConfigurationError

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# What a server listens on everywhere is no address to connect to, on Windows at least: loopback is meant.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
# What documentation for other clients tells people to append, or what people copy from a log.
_API_PATH = re.compile(
    r"/+(api/v[01]|v1)(/(chat(/completions)?|completions|embeddings|models|responses|messages))?$", re.I
)


@dataclass(frozen=True)
class BaseURL:
    """Where a server is; ``text`` has no userinfo, no API path and no slash at its end."""

    text: str
    #: The ``Authorization`` that the userinfo asks for.
    authorization: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def parse_base_url(value: str, source: str, default_port: int) -> BaseURL:
    """The base URL that ``value`` means; raises ConfigurationError, which names ``source``.

    ``default_port`` is for a host without a scheme; with one, its own default holds.
    """
    text = value.strip()

    def refuse(why: str) -> ConfigurationError:
        shown = re.sub(r"(://|^).*@", r"\1[hidden]@", re.sub(r"\?[^@]*$", "?…", text), flags=re.S)
        return ConfigurationError(
            f"the base URL {shown!r}, from {source}, {why}", hint=f"Write it like http://localhost:{default_port}"
        )

    has_scheme = "://" in text
    if re.match(r"(?i)(https?|wss?):?/(?!/)|(https?|wss?)//", text):
        raise refuse("has a scheme without ://")
    parts = _split(text if has_scheme else f"http://{text}")
    if parts is None:
        raise refuse("has a port or an IPv6 address that cannot be")
    port = parts.port
    if parts.scheme not in _SCHEMES:
        raise refuse(f"has the scheme {parts.scheme!r}, not http, https, ws or wss")
    if not parts.hostname or re.search(r"[\s\\%]", parts.hostname):
        raise refuse("names no host")
    if ":" in parts.hostname and "[" not in parts.netloc:
        raise refuse("has an IPv6 address without brackets")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise refuse("has a query or a fragment")
    host = _LOOPBACK.get(parts.hostname, parts.hostname)
    host = f"[{host}]" if ":" in host else host
    if port is None and not has_scheme:
        port = default_port
    path = _API_PATH.sub("", parts.path.rstrip("/")).rstrip("/")
    authorization = password = None
    if parts.username is not None:
        password = unquote(parts.password or "")
        pair = f"{unquote(parts.username)}:{password}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    return BaseURL(
        f"{_SCHEMES[parts.scheme]}://{host}{'' if port is None else f':{port}'}{path}", authorization, password
    )


def _split(url: str) -> SplitResult | None:
    """The parts of ``url``, or None; the error itself would show the userinfo."""
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port else None
    except ValueError:
        return None
