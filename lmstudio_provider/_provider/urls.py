"""Base URLs, in the forms in which people write them."""

from __future__ import annotations

import base64
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from .._core.errors import ConfigurationError

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# The roots and endpoints of LM Studio and Ollama, which the documentation of other clients has people append, or which
# people copy from a log.
_ENDPOINT = r"""
    (?:api/v[01]|v1)(?:/+(?:
        chat(?:/+completions)? | completions | embeddings | models(?:/.*)? | responses | messages(?:/+count_tokens)?
        | decisions | systemone | audio/+transcriptions
    ))?
    | api/+(?:
        chat | generate | tags | embed | embeddings | show | ps | version | pull | push | create | copy | delete
        | blobs(?:/.*)? | status | me | signout | experimental/+web_(?:search|fetch)
    )
    | lmstudio-greeting | lms-status
"""
_API_PATH = rf"/(?:{_ENDPOINT})$"
# The SDK's WebSockets have these besides; a path of that name in another URL is the prefix of a proxy.
_SDK_PATH = rf"/(?:{_ENDPOINT} | llm | embedding | system)$"
_NOT_IN_HOSTS = frozenset("\\%\"'`<>{}|^;&=")
# What begins a query, a fragment or a parameter, which may hold a key; percent-encoded too.
_PARAMETERS = "[?#;&]|%2[36]|%3[BFbf]"
_IPV6_HOST = r"\[([^%\]]*)(?:%[\w.~-]+)?\](?::[0-9]*)?"  # the zone as in RFC 6874, 2


class BaseURL(NamedTuple):
    """Where a server is; ``text`` has no userinfo, no API path and no slash at its end."""

    text: str
    authorization: str | None = None
    """The ``Authorization`` that the userinfo asks for."""
    password: str | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # it holds secrets


def parse_base_url(value: str, source: str, default_port: int) -> BaseURL:
    """Return the base URL that ``value`` means; raise ConfigurationError, which names ``source``.

    ``default_port`` is for a host without a scheme; with one, its own default holds.
    """
    text = value.strip()

    def refuse(why: str, port: int = default_port) -> ConfigurationError:
        userinfo, at, shown = text.rpartition("@")
        if re.search(f"{_PARAMETERS}|=", userinfo):  # or it is a query with an @
            at, shown = "", "[hidden]"
        shown = ("[hidden]@" if at else "") + re.sub(f"({_PARAMETERS}|=)(?s:.*)", r"\1…", shown)
        hint = f"Write it like http://localhost:{port}"
        return ConfigurationError(f"the base URL {shown!r}, from {source}, {why}", hint=hint)

    if " " in text or not text.isprintable():  # urlsplit() drops some of these and joins the parts
        raise refuse("has a blank or a control character inside")
    has_scheme = "://" in text
    if re.match(r"(?i)(https?|wss?):?/(?!/)|(https?|wss?)//", text):
        raise refuse("has a scheme without ://")
    parts = _split(text if has_scheme else f"http://{text}")
    if parts is None:
        raise refuse("has a port or an IPv6 address that cannot be")
    if parts.scheme not in _SCHEMES:
        raise refuse(f"has the scheme {parts.scheme!r}, not http, https, ws or wss")
    port, name = parts.port, parts.hostname or ""
    if re.fullmatch("[0-9]*", name):
        meant = port or int(name[:6] or 0)
        raise refuse("names a port, but no host", meant) if 0 < meant < 65536 else refuse("names no host")
    if "[" not in parts.netloc and ":" in name:
        raise refuse("has an IPv6 address without brackets")
    if ":" not in name and not _NOT_IN_HOSTS.isdisjoint(name):
        raise refuse("names no host")
    if parts.query or parts.fragment or text.endswith(("?", "#")) or re.search(_PARAMETERS, parts.path):
        raise refuse("has a query, a fragment or parameters")
    if port is None and not has_scheme:
        port = default_port
    path = parts.path.rstrip("/")
    if path:
        known = _SDK_PATH if parts.scheme in ("ws", "wss") else _API_PATH
        path = re.sub(known, "", path, flags=re.IGNORECASE | re.VERBOSE).rstrip("/")
    if path.lower().endswith("/api") and (port in (1234, 11434) or is_loopback(name)):
        path = path[: -len("/api")].rstrip("/")  # elsewhere it may be the prefix of a reverse proxy
    authorization = password = None
    if parts.username is not None:
        password = unquote(parts.password or "")
        pair = f"{unquote(parts.username)}:{password}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    origin = f"{_SCHEMES[parts.scheme]}://{_host(name)}{'' if port is None else f':{port}'}"
    return BaseURL(origin + path, authorization, password)


def _split(url: str) -> SplitResult | None:
    """Return the parts of ``url``, or None; the error itself would show the userinfo."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        if "[" in host:  # Python 3.9 does not look into the brackets
            match = re.fullmatch(_IPV6_HOST, host, re.ASCII)
            ipaddress.IPv6Address(match[1] if match else host)
        return None if parts.port == 0 else parts
    except ValueError:
        return None


def _host(name: str) -> str:
    """Return the host ``name`` as it stands in a URL."""
    # A server that listens on all addresses shows 0.0.0.0, to which Windows cannot connect: loopback is meant.
    if ":" not in name:
        return "127.0.0.1" if name == "0.0.0.0" else name  # noqa: S104
    address, _, zone = name.partition("%")
    host = "::1" if ipaddress.IPv6Address(address).is_unspecified else address
    zone = re.sub("^25(?=.)", "", zone)  # RFC 6874 writes "%25" before it, and people "%"
    return f"[{host}%25{zone}]" if zone else f"[{host}]"


def is_loopback(name: str) -> bool:
    """Return True if the host ``name`` is this machine."""
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name.rstrip(".").rpartition(".")[2] == "localhost"
    return address.is_loopback or address.is_unspecified
