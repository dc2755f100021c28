"""What must never be shown, and how it is removed from the texts of errors. An answer of a model is never altered."""

from __future__ import annotations

import array
import base64
import functools
import io
import re
from bisect import bisect_left
from typing import Any, Callable, Iterator, Mapping, Sequence
from urllib.parse import unquote

HIDDEN = "[hidden]"

# The words by which the name of a header, or of a part of a query, says that its value is a secret.
_WORDS = frozenset(("auth", "authorization", "token", "key", "apikey", "secret", "cookie", "password"))
_SCHEMES = ("basic", "bearer", "token", "apikey", "digest", "negotiate")
# What people send if a client wants a key and the server needs none, without case, blanks and punctuation.
_PLACEHOLDER = re.compile(
    r"(?!$)(sk)?(lmstudio|ollama|openai|llamacpp|vllm|local(host|ai)?|none|null|nil|na|empty|dummy|fake|placeholder|unused"
    r"|ignored?|any(thing)?|whatever|changeme|example|test|demo|mock|blank|foo(bar)?|abc(123)?|x{2,40}|0{1,40}|1234"
    r"|((api)?(key|token)(is)?)?(no|not|none)(api)?(key|token|auth)?(is)?(needed|required|necessary|used|set)?"
    r"|(your|insert|enter)(own|openai|lmstudio|ollama)?|api)?((api)?(key|token))?(here)?"
)
# A shorter text cannot be removed from another without destroying it, and one that is hardly longer only as a word.
_SHORTEST, _SHORTEST_PART = 4, 6
# Longer than media types, dates, and the other values that queries have.
_LONG = 20
# LM Studio repeats the first ten characters of a token that it refuses.
_CUT_OFF = 10


def is_secret(text: str) -> bool:
    """Return True unless ``text`` is too short to be a secret, or a placeholder such as "lm-studio" or "not-needed"."""
    return len(text) >= _SHORTEST and not _PLACEHOLDER.fullmatch(re.sub(r"[-_\s./<>{}\[\]]", "", text).lower())


def header_secrets(headers: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what is secret in ``headers``: the values of those whose names have a word such as "token" or "key"."""
    for name, value in headers.items():
        words = str(name).lower().split("-")
        if not _WORDS.isdisjoint(words):
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            if "cookie" in words:
                yield from (each.partition("=")[2].strip() or each.strip() for each in text.split(";"))
            else:
                yield from credentials(text, any_scheme="authorization" in words)


def credentials(value: str | None, any_scheme: bool = True) -> Iterator[str]:
    """Yield what is secret in the value of a header such as Authorization, which names a scheme first (RFC 9110, 11.4).

    ``any_scheme`` is False for a header whose value may be several words without a scheme.
    """
    value = (value or "").strip()
    scheme, _, rest = value.partition(" ")
    if not rest or not (any_scheme or scheme.lower() in _SCHEMES):
        rest = value
    yield rest.strip()
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(rest, validate=True).decode("utf-8", "replace").partition(":")
        except ValueError:
            return
        yield password or user


def url_secrets(url: str) -> Iterator[str]:
    """Yield what is secret in ``url``: the password, or a name without one, and values of the query and the fragment.

    A value is one if its name has a word such as "token", or if it is too long to be a word.
    """
    url, _, fragment = url.partition("#")
    url, _, query = url.partition("?")
    user, _, password = url.partition("//")[2].partition("/")[0].rpartition("@")[0].partition(":")
    found = [password or user]
    for part in re.split("[&;]", f"{query}&{fragment}"):
        name, _, value = part.rpartition("=")
        words = re.split(r"[\W_]|(?<=[a-z])(?=[A-Z])", name)
        if len(value) >= _LONG or not _WORDS.isdisjoint(word.lower() for word in words):
            found.append(value)
    yield from {form: None for each in found if each for form in (each, unquote(each))}


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return ``text`` without ``secrets``, and without words that a server has masked with asterisks."""
    return _ASTERISKS.sub(HIDDEN, hide(text, secrets))


_ASTERISKS = re.compile(r"(?<![\w.:~+/=-])[\w.:~+/=-]+\*{4,}[A-Za-z0-9]*")


def hide(text: str, secrets: Sequence[str]) -> str:
    """Return ``text`` without ``secrets``, whole or cut off, as they are, as JSON writes them or percent-encoded.

    The time is linear in the size of ``text``.
    """
    known = {each for each in secrets if is_secret(each)}
    hidden = bytearray(len(text))  # a 1 for each character that is to be hidden: a list of places takes far more memory
    for secret in known:
        for start, stop in _spans(text, secret):
            hidden[start:stop] = b"\1" * (stop - start)
    if known and ("\\" in text or "%" in text):
        plain, origin = _decoded(text)
        # As they are too: what looks like an escape in a secret is none, until the secret is escaped.
        for secret in known.union(_decoded(each)[0] for each in known):
            for start, stop in (map(origin, span) for span in _spans(plain, secret)):
                hidden[start:stop] = b"\1" * (stop - start)
    shown, end = io.StringIO(), 0
    for start, stop in map(re.Match.span, re.finditer(b"\1+", hidden)):
        shown.write(text[end:start] + HIDDEN)
        end = stop
    return shown.getvalue() + text[end:]


def _spans(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """Yield where ``secret`` is, whole, and where its beginning is."""
    whole = re.escape(secret)
    if len(secret) < _SHORTEST_PART:
        whole = f"(?<![A-Za-z0-9]){whole}(?![A-Za-z0-9])"
    yield from map(re.Match.span, re.finditer(whole, text))
    begun = re.finditer(_beginning(secret, _CUT_OFF, _LOOKED_FOR), text) if len(secret) > _CUT_OFF else ()
    for start, stop in map(re.Match.span, begun):
        more = 0
        if stop - start == _LOOKED_FOR:
            while text[stop + more : stop + more + 1] == secret[_LOOKED_FOR + more : _LOOKED_FOR + more + 1] != "":
                more += 1
        yield start, stop + more
    # A shorter beginning counts only where the text itself shows that something was cut off.
    cut_off = _beginning(secret, _SHORTEST, _CUT_OFF - 1) + r"(?=…|\.\.\.|\*{3})"
    yield from map(re.Match.span, re.finditer(cut_off, text))


def _beginning(secret: str, least: int, most: int) -> str:
    """Return a pattern of what ``secret`` begins with: ``least`` characters or more, up to ``most``."""
    first, *more = (re.escape(each) for each in [secret[:least], *secret[least:most]])
    return f"{first}{''.join(f'(?:{each}' for each in more)}{')?' * len(more)}"


# A pattern is fast, and cannot be nested as deeply as a secret may be long.
_LOOKED_FOR = 40


# The ways in which one character is written in JSON, also in JSON inside of JSON, which doubles each backslash, in the
# escapes of Python, and percent-encoded in UTF-8.
_ESCAPE = re.compile(
    r"\\+u[dD][89abAB][0-9a-fA-F]{2}\\+u[dD][c-fC-F][0-9a-fA-F]{2}|\\+u[0-9a-fA-F]{4}|\\+x[0-9a-fA-F]{2}|\\+[\"'/nrt]|\\+"
    r"|%[0-7][0-9a-fA-F]|%[c-dC-D][0-9a-fA-F]%[89abAB][0-9a-fA-F]"
    r"|%[eE][0-9a-fA-F](?:%[89abAB][0-9a-fA-F]){2}|%[fF][0-7](?:%[89abAB][0-9a-fA-F]){3}"
)
_LETTERS = {"": "\\", "n": "\n", "r": "\r", "t": "\t"}


def _decoded(text: str) -> tuple[str, Callable[[int], int]]:
    """Return ``text`` with its escapes undone, and a function from a position in that to the one in ``text``."""
    # Where the character of each escape stands, and where the escape ends.
    places, ends = array.array("q", [-1]), array.array("q", [0])
    plain, length = io.StringIO(), 0
    for match in _ESCAPE.finditer(text):
        before = text[ends[-1] : match.start()]
        length += len(before) + 1
        plain.write(before + _character(match[0]))
        places.append(length - 1)
        ends.append(match.end())

    def origin(position: int) -> int:
        at = bisect_left(places, position) - 1
        return ends[at] + position - places[at] - 1

    return plain.getvalue() + text[ends[-1] :], origin


@functools.lru_cache(maxsize=1000)
def _character(escape: str) -> str:
    escape = escape.lstrip("\\")
    if escape[:1] == "%":
        return bytes.fromhex(escape.replace("%", "")).decode("utf-8", "replace")[0]
    if escape[:1] in ("u", "x"):
        digits = "".join(re.findall(r"[ux]([0-9a-fA-F]+)", escape))
        return bytes.fromhex(digits.rjust(4, "0")).decode("utf-16-be", "surrogatepass")
    return _LETTERS.get(escape, escape)
