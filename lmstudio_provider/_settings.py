"""Settings: argument, then mapping, then environment, then INI file, then default; each knows where it came from."""

from __future__ import annotations

import configparser
import difflib
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple

from ._exceptions import ConfigurationError, shown
from ._types import UNSET, Limits, Timeouts, check_seconds
from ._urls import BaseURL, parse_base_url

_INI_VARIABLE = "LM_STUDIO_CONFIG"
_INI_NAME = "lmstudio-provider.ini"


@dataclass(frozen=True)
class Names:
    """What the settings of one kind of server are called."""

    #: Before the name of a setting, and the section of the INI file.
    prefix: str
    #: The environment variables of each setting, first one first.
    variables: Mapping[str, tuple[str, ...]]
    default_url: str
    default_port: int
    #: Makes a base URL that other clients take of text that only this server's clients know.
    tidy: Callable[[str], str] = str


class Setting(NamedTuple):
    """A value and, for messages, where it came from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Config:
    """The settings of one call."""

    base_url: BaseURL
    base_url_source: str
    #: None where nobody has set any.
    timeouts: Timeouts | None
    #: Where they came from, where that was a setting, which counts milliseconds.
    timeouts_source: str | None
    api_token: str | None = field(repr=False)
    api_token_source: str | None

    @property
    def authorization(self) -> str | None:
        """The header that says who asks, where there is anything to say."""
        return f"Bearer {self.api_token}" if self.api_token else self.base_url.authorization


class Settings:
    """Looks settings up, anew at each use, so that a change takes effect."""

    def __init__(self, names: Names, arguments: Mapping[str, object], mapping: Any) -> None:
        if mapping is not None and not callable(getattr(mapping, "get", None)):
            raise ConfigurationError(f"settings={type(mapping).__name__} has no get(name)", hint="Give a mapping")
        self._names = names
        self._arguments = dict(arguments)
        self._mapping = mapping
        self._ini: tuple[object, dict[str, str]] = (None, {})

    def config(self) -> Config:
        """All that a call needs but the model; raises ConfigurationError."""
        url = self.find("base_url") or Setting(self._names.default_url, "the default")
        token = self.find("api_token")
        if token is not None and token.value is False:
            token = None
        timeouts, timeouts_source = self._timeouts()
        return Config(
            base_url=parse_base_url(self._names.tidy(_text(url, "base_url")), url.source, self._names.default_port),
            base_url_source=url.source,
            timeouts=timeouts,
            timeouts_source=timeouts_source,
            api_token=None if token is None else _token(token),
            api_token_source=None if token is None else token.source,
        )

    def model(self, tier: str | None) -> str | None:
        """The model that is set for ``tier``, else for all, else None."""
        if tier is not None and not (isinstance(tier, str) and re.fullmatch(r"[A-Za-z0-9_-]+", tier)):
            raise ConfigurationError(f"tier={shown(tier)} is no name of letters, digits, - and _")
        setting = (self.find(f"model_{tier}") if tier else None) or self.find("model")
        return None if setting is None else _text(setting, "model").strip()

    def find(self, name: str) -> Setting | None:
        """The setting ``name``, such as "base_url"; blank text counts as not set."""
        for value, source in self._candidates(name):
            if value is not None and value is not UNSET and not (isinstance(value, str) and not value.strip()):
                return Setting(value, source)
        return None

    def _candidates(self, name: str) -> Any:
        yield self._arguments.get(name), f"the argument {name}"
        full_name = f"{self._names.prefix}_{name}"
        if self._mapping is not None:
            try:
                value = self._mapping.get(full_name)
            except Exception as error:
                raise ConfigurationError(f"settings.get({full_name!r}) raised {type(error).__name__}") from error
            yield value, f"the setting {full_name}"
        for variable in self._variables(name):
            yield os.environ.get(variable), f"the environment variable {variable}"
        path, required = _ini_path()
        if path is not None:
            source = f"{name} in [{self._names.prefix}] of {path}"
            yield self._read_ini(path, required).get(name.lower()), source

    def _variables(self, name: str) -> tuple[str, ...]:
        if name.startswith("model_"):  # of a tier
            return (f"{self._names.variables['model'][0]}_{name[6:].upper().replace('-', '_')}",)
        return self._names.variables.get(name, ())

    def _timeouts(self) -> tuple[Timeouts | None, str | None]:
        argument = self._arguments.get("timeout", UNSET)
        if argument is not UNSET:
            return as_timeouts(argument), None
        setting = self.find("timeout")
        if setting is None:
            return None, None
        try:
            seconds = float("nan" if isinstance(setting.value, bool) else setting.value) / 1000
            check_seconds("timeout", seconds)
        except (TypeError, ValueError, OverflowError, ConfigurationError) as error:
            raise ConfigurationError(
                f"timeout={setting.value!r}, from {setting.source}, is no positive number of milliseconds"
            ) from error
        return as_timeouts(seconds), f"{setting.source}, in milliseconds"

    def _read_ini(self, path: Path, required: bool) -> dict[str, str]:
        """The section of the INI file, read again when the file has changed."""
        try:
            stat = path.stat()
            state = (path, stat.st_mtime_ns, stat.st_size)
            if self._ini[0] != state:
                self._ini = (state, self._parse_ini(path))
        except OSError as error:
            if required:
                why = error.strerror or type(error).__name__
                raise ConfigurationError(f"cannot read {path}, named by {_INI_VARIABLE}: {why}") from error
            return {}  # nobody said that it was there, and not every account has a home
        return self._ini[1]

    def _parse_ini(self, path: Path) -> dict[str, str]:
        parser = configparser.ConfigParser(interpolation=None)  # a "%" in a token is no reference
        try:
            parser.read_string(path.read_text(encoding="utf-8-sig"))
        except (configparser.Error, UnicodeDecodeError) as error:
            lines = getattr(error, "errors", None) or [(getattr(error, "lineno", None), "")]
            where = f", line {lines[0][0]}" if lines[0][0] else ""
            wrong = f"the settings in {path}{where} are no INI file ({type(error).__name__})"
        else:
            return self._section(parser, path)
        # Out here the error has no context, which would quote the line, or all of the file: it may hold a token.
        raise ConfigurationError(wrong)

    def _section(self, parser: configparser.ConfigParser, path: Path) -> dict[str, str]:
        prefix = self._names.prefix
        for name in parser.sections():
            if name != prefix and re.sub(r"\W|_", "", name).lower() == prefix:
                raise ConfigurationError(f"the section [{name}] of {path} is never read", hint=f"Write [{prefix}]")
        values = dict(parser[prefix]) if parser.has_section(prefix) else {}
        known = [*self._names.variables]
        for key in values:
            if key not in known and not key.startswith("model_"):
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(known)}, and model_TIER"
                raise ConfigurationError(f"{key!r} in [{prefix}] of {path} is no setting", hint=hint)
        return values


def _ini_path() -> tuple[Path | None, bool]:
    """Where the INI file is, and whether it has to be there."""
    named = os.environ.get(_INI_VARIABLE)
    if named:
        return Path(named), True
    if sys.platform == "win32":
        folder = os.environ.get("APPDATA")
    elif sys.platform == "darwin":
        folder = "~/Library/Application Support"
    else:
        folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    folder = os.path.expanduser(folder or "~")  # noqa: PTH111 (Path.expanduser raises where there is no home)
    return (Path(folder, _INI_NAME), False) if not folder.startswith("~") else (None, False)


def as_timeouts(value: object) -> Timeouts:
    """The three limits that ``timeout=value`` sets; raises ConfigurationError."""
    if isinstance(value, Timeouts):
        return value
    check_seconds("timeout", value)
    return Timeouts(value, value, value)  # type: ignore[arg-type]


def _text(setting: Setting, name: str) -> str:
    if not isinstance(setting.value, str):
        # A URL of another type may have a password inside.
        named = name if name == "base_url" else f"{name}={shown(setting.value)}"
        raise ConfigurationError(f"{named}, from {setting.source}, is {type(setting.value).__name__}, not text")
    return setting.value


def _token(setting: Setting) -> str:
    # Anything else would break the header, or smuggle one in; the value stays out of the message.
    token = setting.value.strip() if isinstance(setting.value, str) else ""
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigurationError(
            f"the API token from {setting.source} is no line of printable ASCII without blanks",
            hint="A token is one word; LM Studio's look like sk-lm-AbCd1234:0123456789abcdefghij",
        )
    return token


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, 5.6.2
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


def check_arguments(
    headers: object,
    http: object,
    usage: object,
    max_retries: object,
    models_ttl: object,
    refresh: object,
    limits: object,
) -> None:
    """Raise ConfigurationError for an argument of a provider that cannot work."""
    if not isinstance(headers, (Mapping, type(None))):
        raise ConfigurationError(f"headers is {type(headers).__name__}, not a mapping")
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"headers: {name!r} is no name of a header")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(f"headers: the value of {name!r} is no single line of Latin-1 text")
    if http is not None and not hasattr(http, "pool_classes_by_scheme"):
        raise ConfigurationError(f"http={type(http).__name__} is no urllib3 PoolManager or ProxyManager")
    if isinstance(usage, type):
        raise ConfigurationError(f"usage={usage.__name__} is a class", hint=f"Give an instance: {usage.__name__}()")
    if usage is not None and not callable(getattr(usage, "record", None)):
        raise ConfigurationError(f"usage={type(usage).__name__} has no record(UsageRecord)")
    if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
        raise ConfigurationError(f"max_retries={shown(max_retries)} is no whole number of at least 0")
    if isinstance(models_ttl, bool) or not isinstance(models_ttl, (int, float)) or not models_ttl >= 0:
        raise ConfigurationError(f"models_ttl={shown(models_ttl)} is no number of seconds")
    if not isinstance(refresh, bool):
        raise ConfigurationError(f"refresh={shown(refresh)} is neither True nor False")
    if not isinstance(limits, Limits):
        raise ConfigurationError(f"limits={shown(limits)} is no Limits")
