"""Finding secrets, and removing them from the texts of errors. An answer of a model is never altered."""

from __future__ import annotations

import base64
import functools
import io
import re
from typing import Any, Iterator, Mapping, Sequence
from urllib.parse import unquote

HIDDEN = "[hidden]"

# The value of a header, or of a part of a query, is a secret if its name has one of these words.
_WORDS = frozenset(("auth", "authorization", "token", "key", "apikey", "secret", "cookie", "password"))
_SCHEMES = ("basic", "bearer", "token", "apikey", "digest", "negotiate")
# Values for clients that insist on a key although the server needs none, without case, blanks and punctuation.
_PLACEHOLDER = (
    r"(?!$)(sk)?(lmstudio|ollama|openai|llamacpp|vllm|local(host|ai)?|none|null|nil|na|empty|dummy|fake|placeholder|unused"
    r"|ignored?|any(thing)?|whatever|changeme|example|test|demo|mock|blank|foo(bar)?|abc(123)?|x{2,40}|0{1,40}|1234"
    r"|((api)?(key|token)(is)?)?(no|not|none)(api)?(key|token|auth)?(is)?(needed|required|necessary|used|set)?"
    r"|(your|insert|enter)(own|openai|lmstudio|ollama)?|api)?((api)?(key|token))?(here)?"
)
# A shorter text occurs everywhere, so it is not removed; one that is hardly longer is removed only if it is a word.
_SHORTEST, _SHORTEST_PART = 4, 6
# Longer than a media type, a date, or another common value of a query.
_LONG = 20
# LM Studio repeats the first ten characters of a token that it refuses.
_CUT_OFF = 10
# A pattern of a longer text takes long to compile.
_LONG_ENOUGH = 40


def is_secret(text: str) -> bool:
    """Return True unless ``text`` is too short to be a secret, or a placeholder such as "lm-studio" or "not-needed"."""
    return len(text) >= _SHORTEST and not re.fullmatch(_PLACEHOLDER, re.sub(r"[-_\s./<>{}\[\]]", "", text).lower())


def header_secrets(headers: Mapping[Any, Any]) -> Iterator[str]:
    """Yield the secrets in ``headers``: the values of those whose names have a word such as "token" or "key"."""
    for name, value in headers.items():
        words = _words(str(name))
        if not _WORDS.isdisjoint(words):
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            if "cookie" in words:
                yield from (each.partition("=")[2].strip() or each.strip() for each in text.split(";"))
            else:
                yield from credentials(text, any_scheme="authorization" in words)


def credentials(value: str | None, any_scheme: bool = True) -> Iterator[str]:
    """Yield the secrets in the value of a header such as Authorization, which begins with a scheme (RFC 9110, 11.4).

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
    """Yield the secrets in ``url``: the password, or else the user name, and values of parameters, query and fragment.

    A value is a secret if its name has a word such as "token", or if it is too long to be a common value.
    """
    authority = re.split("[/?#]", url.partition("//")[2])[0]
    user, _, password = authority.rpartition("@")[0].partition(":")
    found = [password or user]
    for part in re.split("[?#;&]", url.replace(authority, "", 1))[1:]:
        name, _, value = part.rpartition("=")
        if len(value) >= _LONG or not _WORDS.isdisjoint(_words(name)):
            found.append(value)
    yield from {form: None for each in found if each for form in (each, unquote(each))}


def _words(name: str) -> list[str]:
    return re.sub(r"[\W_]|(?<=[a-z])(?=[A-Z])", " ", name).lower().split()


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return ``text`` without ``secrets``, and without words that a server has masked with asterisks."""
    return re.sub(_ASTERISKS, HIDDEN, hide(text, secrets))


_ASTERISKS = r"(?<![\w.:~+/=-])[\w.:~+/=-]+\*{4,}[A-Za-z0-9]*"


def hide(text: str, secrets: Sequence[str]) -> str:
    """Return ``text`` without ``secrets``, whole or cut off, as they are, as JSON writes them or percent-encoded.

    The time is linear in the size of ``text``.
    """
    hidden = bytearray(len(text))  # a 1 for each character to hide: a list of places takes far more memory
    spell = _spellings if "\\" in text or "%" in text else functools.partial(map, re.escape)
    for secret in filter(is_secret, set(secrets)):
        for start, stop in _spans(text, list(spell(secret))):
            hidden[start:stop] = b"\1" * (stop - start)
    shown, end = io.StringIO(), 0
    for start, stop in map(re.Match.span, re.finditer(b"\1+", hidden)):
        shown.write(text[end:start] + HIDDEN)
        end = stop
    return shown.getvalue() + text[end:]


def _spans(text: str, secret: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans of a secret, or of its beginning, in ``text``; ``secret`` has a pattern for each character."""
    before, after = (_BEFORE_WORD, "(?![A-Za-z0-9])") if len(secret) < _SHORTEST_PART else ("", "")
    # A beginning may overlap the whole, as in "ababac" of "abac", so that each is looked for.
    for length in (_LONG_ENOUGH, _CUT_OFF) if len(secret) > _CUT_OFF else (_CUT_OFF,):
        for match in re.finditer(f"{before}{''.join(secret[:length])}{after}", text):
            stop = match.end()
            for character in secret[length:]:
                more = re.compile(character).match(text, stop)
                if more is None:
                    break
                stop = more.end()
            yield match.start(), stop
    # A shorter beginning counts only before a mark that the rest was cut off.
    first, *others = ["".join(secret[:_SHORTEST]), *secret[_SHORTEST : _CUT_OFF - 1]]
    beginning = f"{first}{''.join(f'(?:{each}' for each in others)}{')?' * len(others)}"
    yield from map(re.Match.span, re.finditer(rf"{beginning}(?=…|\.\.\.|\*{{3}})", text))


# The last character of an escape is often a letter or a digit, and not a part of the word after it.
_BEFORE_WORD = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4}))"
_BACKSLASH = "\\"
_LETTERS = {"\n": "n", "\r": "r", "\t": "t"}


def _spellings(secret: str) -> Iterator[str]:
    """Yield for each character a pattern of all ways to write it.

    They are the escapes of JSON, of JSON inside JSON (which doubles each backslash) and of Python, and percent-encoding
    in UTF-8. Several backslashes count as one: so no run of backslashes is read more than once.
    """
    backslashes = r"(?<!\\)\\+"
    for character in re.sub(r"\\+", r"\\", secret):
        units = re.findall("....", character.encode("utf-16-be", "surrogatepass").hex())
        forms = ["".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))]
        forms.append(backslashes + r"\\+".join(f"u{unit}" for unit in units))
        forms.append(f"{backslashes}x{units[0].lstrip('0'):0>2}")
        raw = re.escape(character)
        if character == _BACKSLASH:
            raw = r"(?<!\\)\\+(?!\\)"
        elif character in "\"'/":
            raw = f"(?:{backslashes})?{raw}"
        elif character in _LETTERS:
            raw += f"|{backslashes}{_LETTERS[character]}"
        yield f"(?:(?i:{'|'.join(forms)}){'+' if character == _BACKSLASH else ''}|{raw})"
        # The backslashes of the next character may have been read with this one.
        backslashes = r"\\*" if character == _BACKSLASH else r"(?<!\\)\\+"
