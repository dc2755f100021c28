"""Settings: argument, then mapping, then environment, then INI file, then default; each keeps its source."""

from __future__ import annotations

import difflib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NamedTuple, Protocol

from .._core.checks import number
from .._core.errors import ConfigurationError, preview
from .._core.types import UNSET, Timeouts, check_seconds
from .urls import BaseURL, parse_base_url

if TYPE_CHECKING:
    import configparser

_INI_VARIABLE = "LM_STUDIO_CONFIG"
_INI_NAME = "lmstudio-provider.ini"
_SECTIONS = ("lmstudio", "ollama")
# ``set`` of Windows, and files of variables for containers, make quotes a part of the value.
_AROUND = " \t\r\n\"'`“”„‘’‚«»"  # noqa: RUF001
# The variables that say where the INI file is.
_LOCATING = (_INI_VARIABLE, *(("APPDATA", "USERPROFILE") if sys.platform == "win32" else ("XDG_CONFIG_HOME", "HOME")))
_TIER = "[A-Za-z0-9_-]+"
_DURATION = r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?)\s*"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# Names of other clients for a setting that are not similar to ours.
_MEANT = {
    **dict.fromkeys(("host", "port", "server", "address", "endpoint", "api_base"), "base_url"),
    **dict.fromkeys(("key", "password", "secret"), "api_token"),
}


class Names(NamedTuple):
    """The names of the settings of one kind of server."""

    prefix: str
    """The prefix of each setting's name; the section of the INI file has this name, too."""
    variables: Mapping[str, tuple[str, ...]]
    """The environment variables of each setting; the first one that is set wins."""
    default_url: str
    default_port: int
    arguments: tuple[str, ...] = ()
    """The arguments that only a provider of this kind has."""
    tidy: Callable[[str], str] = str
    """Turns a form of the URL that only clients of this server know into a common one."""

    def has(self, name: str) -> bool:
        """Return whether there is a setting ``name``, such as "model_fast"."""
        return name in self.variables or re.fullmatch(f"model_{_TIER}", name) is not None

    def hint(self, name: str, before: str = "") -> str:
        """Return which setting may have been meant by ``name``; ``before`` stands before each."""
        word, _, tier = name.replace("-", "_").partition("_")
        if difflib.get_close_matches(word.lower(), ["model"]):
            meant = [f"model_{tier}" if self.has(f"model_{tier}") else "model"]
        else:
            meant = difflib.get_close_matches(name, [*self.variables, *_MEANT], 1, 0.5)
        if meant:
            return f"Did you mean {before + _MEANT.get(meant[0], meant[0])!r}?"
        return f"There are {', '.join(before + each for each in self.variables)}, and {before}model_TIER"


class Secret(Protocol):
    """A text that does not show itself, such as pydantic's ``SecretStr``."""

    def get_secret_value(self) -> str:
        """Return the text."""


class Setting(NamedTuple):
    """A value and its source, for messages."""

    value: Any
    source: str


class Config(NamedTuple):
    """The settings of one call."""

    base_url: BaseURL
    base_url_source: str
    timeouts: Timeouts | None
    """None if they are not set."""
    timeouts_source: str | None
    """The source of the timeouts if it is a setting, which counts milliseconds; None if it is an argument."""
    api_token: str | None
    api_token_source: str | None
    model: str | None = None
    """The model for all tiers."""
    num_ctx: int | None = None
    """Tokens that a context can hold, if the server takes the number with each call."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # it holds secrets

    @property
    def authorization(self) -> str | None:
        """The value of the ``Authorization`` header; None without a token and userinfo."""
        return f"Bearer {self.api_token}" if self.api_token else self.base_url.authorization


class _Sources(NamedTuple):
    """Where settings are looked up, besides arguments and mapping."""

    path: Path | None
    """The path of the INI file; None if the account has no home."""
    required: bool
    """True if the file has to exist."""
    file: tuple[int, ...] | None
    """What changes if the file does; None if there is no file."""
    environment: Mapping[str, str | None]


class Settings:
    """Looks settings up; a change takes effect at the next use."""

    def __init__(self, names: Names, arguments: Mapping[str, object], mapping: Any) -> None:
        if mapping is not None and not callable(getattr(mapping, "get", None)):
            raise ConfigurationError(f"settings={type(mapping).__name__} has no get(name)", hint="Give a mapping")
        self._names = names
        self._arguments = dict(arguments)
        self._mapping = mapping
        self._ini: tuple[object, dict[str, str]] = (None, {})
        # Not those of a setting that an argument decides; only a Secret may be blank at another time.
        given = {name for name, value in arguments.items() if _is_set(value) and _revealed(value) is value}
        variables = [each for name in names.variables if name not in given for each in names.variables[name]]
        self._watched = (*variables, *_LOCATING)
        self._last = _Sources(None, False, None, {})
        # What was found, and the state of the sources at that time.
        self._found: tuple[object, Config | None] = (None, None)
        model = self._arguments.get("model")
        if isinstance(model, str) and not model.strip():
            hint = "Give the id of a model, as list_models() has it, or leave model out for one that is there"
            raise ConfigurationError(f"the argument model={model!r} is blank", hint=hint)

    def config(self) -> Config:
        """Return the settings of a call; raise ConfigurationError."""
        self._check_keys()
        given, sources = state = self._given(), self._sources()
        known, config = self._found
        if config is None or known != state:
            config = self._look_up(sources)
            # Not if the values cannot be compared, or another thread has changed one meanwhile.
            if given is not None and self._given() == given:
                self._found = state, config
        return config

    def _given(self) -> object:
        """Return the values that may change in argument and mapping, or None for objects that may change inside."""
        if self._mapping is None and type(self._arguments.get("api_token")) in (str, type(None)):
            return ()
        values = [self._arguments.get("api_token")]  # only a Secret may have another value at each use
        if self._mapping is not None:
            try:
                values += [self._mapping.get(f"{self._names.prefix}_{name}") for name in self._names.variables]
            except Exception:  # looking the setting up raises it again
                return None
        values = [_revealed(value) for value in values]
        types = list(map(type, values))
        return (values, types) if {str, int, float, bool, type(None)}.issuperset(types) else None

    def _sources(self) -> _Sources:
        """Return the environment and the INI file as they are now."""
        environment = {variable: os.environ.get(variable) for variable in self._watched}
        path, required, _, known = self._last
        if environment != known:
            path, required = _ini_path(environment)
        file = None
        if path is not None:
            try:
                stat = os.stat(path)  # noqa: PTH116 (quicker)
                file = stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
            except OSError:
                pass  # there is none
        self._last = sources = _Sources(path, required, file, environment)
        return sources

    def _look_up(self, sources: _Sources) -> Config:
        url = self.find("base_url", sources) or Setting(self._names.default_url, "the default")
        token = self.find("api_token", sources)
        if token is not None and token.value is False:
            token = None
        timeouts, timeouts_source = self._timeouts(sources)
        model = self.find("model", sources)
        return Config(
            base_url=parse_base_url(self._names.tidy(_text(url, "base_url")), url.source, self._names.default_port),
            base_url_source=url.source,
            timeouts=timeouts,
            timeouts_source=timeouts_source,
            api_token=None if token is None else _token(token),
            api_token_source=None if token is None else token.source,
            model=None if model is None else _text(model, "model").strip(),
            num_ctx=_tokens(self.find("num_ctx", sources)) if "num_ctx" in self._names.variables else None,
        )

    def model(self, tier: str | None, config: Config | None = None) -> str | None:
        """Return the model that is set for ``tier``, else the one for all tiers, else None."""
        if tier is None:
            return (config or self.config()).model
        if not (isinstance(tier, str) and re.fullmatch(_TIER, tier)):
            hint = f"Write tier='fast' for the setting {self._names.prefix}_model_fast, or leave tier out"
            raise ConfigurationError(f"tier={preview(tier)} is not a name of letters, digits, - and _", hint=hint)
        self._check_keys()
        setting = self.find(f"model_{tier}")
        return _text(setting, "model").strip() if setting else (config or self.config()).model

    def find(self, name: str, sources: _Sources | None = None) -> Setting | None:
        """Return the setting ``name``, such as "base_url"; blank text counts as not set."""
        for given, source in self._candidates(name, sources or self._sources()):
            value = _revealed(given)
            if _is_set(value):
                return Setting(value, source)
        return None

    def _candidates(self, name: str, sources: _Sources) -> Any:
        yield self._arguments.get(name), f"the argument {name}"
        full_name = f"{self._names.prefix}_{name}"
        if self._mapping is not None:
            try:
                value = self._mapping.get(full_name)
            except Exception as error:
                raise ConfigurationError(f"settings.get({full_name!r}) raised {type(error).__name__}") from error
            yield value, f"the setting {full_name}"
        for variable in self._variables(name):
            environment = sources.environment if variable in sources.environment else os.environ
            yield _value(variable, environment), f"the environment variable {variable}"
        if sources.file is not None or sources.required:
            source = f"{name} in [{self._names.prefix}] of {sources.path}"
            yield self._read_ini(sources).get(name.lower(), "").strip(_AROUND), source

    def _check_keys(self) -> None:
        """Raise ConfigurationError for a key of the mapping that would never be read."""
        if self._mapping is None:
            return
        prefix = f"{self._names.prefix}_"
        try:
            keys = list(self._mapping) if isinstance(self._mapping, Iterable) else []
        except RuntimeError:  # another thread changed the mapping meanwhile; the next call checks it
            return
        except Exception as error:
            raise ConfigurationError(f"reading the keys of settings raised {type(error).__name__}") from error
        for key in keys:
            if isinstance(key, str) and key.startswith(prefix) and not self._names.has(key[len(prefix) :]):
                hint = self._names.hint(key[len(prefix) :], prefix)
                raise ConfigurationError(f"settings: {key!r} is not a setting", hint=hint)

    def _variables(self, name: str) -> tuple[str, ...]:
        if name.startswith("model_"):  # of a tier
            return (f"{self._names.variables['model'][0]}_{name[6:].upper().replace('-', '_')}",)
        return self._names.variables.get(name, ())

    def _timeouts(self, sources: _Sources) -> tuple[Timeouts | None, str | None]:
        argument = self._arguments.get("timeout", UNSET)
        if argument is not UNSET:
            return as_timeouts(argument), None
        setting = self.find("timeout", sources)
        if setting is None:
            return None, None
        value, source = setting
        value = value.strip() if isinstance(value, str) else value
        try:
            seconds = _seconds(value)
            if seconds is None:
                seconds = float("nan" if isinstance(value, bool) else value) / 1000
                source += f", in milliseconds: {value} means {value} ms, write {value}s for seconds"
            check_seconds("timeout", seconds)
        except (TypeError, ValueError, OverflowError, ConfigurationError) as error:
            what = f"timeout={preview(value)}, from {setting.source}, is not a positive length of time"
            raise ConfigurationError(what, hint="Write '30s', '500ms' or '2m', or a number of milliseconds") from error
        return as_timeouts(seconds), source

    def _read_ini(self, sources: _Sources) -> dict[str, str]:
        """Return the section of the INI file, which is read again if the file has changed."""
        path, required, file, _ = sources
        known, values = self._ini
        if file is None or known != (path, file):
            try:
                values = self._parse_ini(Path(path or ""), required)
            except OSError as error:
                if required:
                    why = error.strerror or type(error).__name__
                    raise ConfigurationError(f"cannot read {path}, named by {_INI_VARIABLE}: {why}") from error
                return {}  # the file is optional
            self._ini = (path, file), values
        return values

    def _parse_ini(self, path: Path, shared: bool) -> dict[str, str]:
        import configparser  # noqa: PLC0415 (imported with each provider)

        parser = configparser.ConfigParser(interpolation=None)  # a "%" in a token is not a reference
        try:
            text = path.read_text(encoding="utf-8-sig")
            # The parser's time is the square of the length of a run of blanks.
            parser.read_string(re.sub(r"[^\S\n]{100,}", " " * 100, text))
        except (configparser.Error, UnicodeDecodeError) as error:
            lines = getattr(error, "errors", None) or [(getattr(error, "lineno", None), "")]
            where = f", line {lines[0][0]}" if lines[0][0] else ""
            wrong = f"the settings in {path}{where} are not a valid INI file ({type(error).__name__})"
        else:
            return self._section(parser, path, shared)
        # Out here the error has no context, which would quote the line, or all of the file: it may hold a token.
        raise ConfigurationError(wrong)

    def _section(self, parser: configparser.ConfigParser, path: Path, shared: bool) -> dict[str, str]:
        """Return our section; a file that is ``shared`` with an application may have other sections."""
        prefix = self._names.prefix
        for name in parser.sections():
            near = difflib.get_close_matches(re.sub(r"\W|_", "", name).lower(), _SECTIONS, 1, 0.8)
            if name not in _SECTIONS and (near or not shared):
                hint = f"Write [{near[0]}]" if near else "The sections are [lmstudio] and [ollama]"
                raise ConfigurationError(f"the section [{name}] of {path} is never read", hint=hint)
        values = dict(parser[prefix] if parser.has_section(prefix) else parser.defaults())
        for key in values:
            if not self._names.has(key):
                hint = self._names.hint(key)
                raise ConfigurationError(f"{key!r} in [{prefix}] of {path} is not a setting", hint=hint)
        return values


def _is_set(value: object) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None and value is not UNSET


def _revealed(value: Any) -> Any:
    """Return the text of a Secret, and any other value as it is."""
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def _value(variable: str, environment: Mapping[str, str | None]) -> str:
    """Return the value of a variable without the quotes around it; blank if it is not set."""
    return (environment.get(variable) or "").strip(_AROUND)


def _ini_path(environment: Mapping[str, str | None]) -> tuple[Path | None, bool]:
    """Return the path of the INI file, and True if it has to exist."""
    named = _value(_INI_VARIABLE, environment)
    if named:
        return Path(os.path.expanduser(named)), True  # noqa: PTH111 (Path.expanduser raises if there is no home)
    if sys.platform == "win32":
        folder = _value("APPDATA", environment)
    elif sys.platform == "darwin":
        folder = "~/Library/Application Support"
    else:
        folder = _value("XDG_CONFIG_HOME", environment) or "~/.config"
    folder = os.path.expanduser(folder or "~")  # noqa: PTH111
    return (Path(folder, _INI_NAME), False) if not folder.startswith("~") else (None, False)


def as_timeouts(value: object) -> Timeouts:
    """Return the three limits that ``timeout=value`` sets; raise ConfigurationError."""
    if isinstance(value, Timeouts):
        return value
    check_seconds("timeout", value)
    return Timeouts(value, value, value)  # type: ignore[arg-type]


def _seconds(value: object) -> float | None:
    """Return the seconds of a text such as "30s", "500ms" or "1m30s"; None if it is another."""
    if not isinstance(value, str) or not re.fullmatch(f"({_DURATION})+", value, re.I | re.A):
        return None
    parts = re.findall(_DURATION, value.lower(), re.A)
    return sum(float(number) * _SECONDS[unit if unit == "ms" else unit[0]] for number, unit in parts)


def _text(setting: Setting, name: str) -> str:
    if type(setting.value) is int and name == "base_url":
        return str(setting.value)  # a port: parse_base_url() says how to write it
    if not isinstance(setting.value, str):
        # A URL of another type may have a password inside.
        named = name if name == "base_url" else f"{name}={preview(setting.value)}"
        raise ConfigurationError(f"{named}, from {setting.source}, is {type(setting.value).__name__}, not text")
    return setting.value


def _token(setting: Setting) -> str:
    # Anything else would break the header, or smuggle one in; the value stays out of the message.
    token = setting.value.strip() if isinstance(setting.value, str) else ""
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigurationError(
            f"the API token from {setting.source} is not a line of printable ASCII without blanks",
            hint="A token is one word; LM Studio's look like sk-lm-AbCd1234:0123456789abcdefghij",
        )
    return token


def _tokens(setting: Setting | None) -> int | None:
    if setting is None:
        return None
    value = setting.value.strip() if isinstance(setting.value, str) else setting.value
    if isinstance(value, str) and re.fullmatch("[0-9]{1,15}", value):
        value = int(value)
    if not number(1, 1e15, whole=True).fits(value):
        what = f"num_ctx={preview(setting.value)}, from {setting.source}, is not a whole number of tokens"
        raise ConfigurationError(what, hint="Write how many tokens the context can hold, such as 8192")
    return int(value)
