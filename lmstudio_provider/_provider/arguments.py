"""Checks of the arguments of a provider."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from .._core.checks import FLAG, NAME, Check, check, check_fields, instance, number
from .._core.errors import ConfigurationError
from .._core.types import Limits

_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token of RFC 9110, 5.6.2
_HEADER_VALUE = r"[\t\x20-\x7e\xa0-\xff]*"


def _is_ttl(value: object) -> bool:
    return value == math.inf or bool(number(0).fits(value))


_ARGUMENTS = {
    "max_retries": number(0, whole=True),
    "models_ttl": Check(_is_ttl, "is not valid: use seconds, 0 or more"),
    "refresh": FLAG,
    "limits": instance(Limits, "is not a Limits"),
}


def check_arguments(values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for an argument of a provider that cannot work."""
    headers, http, usage = values["headers"], values["http"], values["usage"]
    # What these three hold may be secret, and stays out of the messages.
    if not isinstance(headers, (Mapping, type(None))):
        raise ConfigurationError(f"headers is {type(headers).__name__}, not a mapping")
    for header, value in (headers or {}).items():
        if not isinstance(header, str) or not re.fullmatch(_HEADER_NAME, header):
            raise ConfigurationError(f"headers: {header!r} is not a name of a header")
        if not isinstance(value, str) or not re.fullmatch(_HEADER_VALUE, value):
            raise ConfigurationError(f"headers: the value of {header!r} is not a single line of Latin-1 text")
    if http is not None and not hasattr(http, "pool_classes_by_scheme"):
        raise ConfigurationError(f"http={type(http).__name__} is not a urllib3 PoolManager or ProxyManager")
    if isinstance(usage, type):
        raise ConfigurationError(f"usage={usage.__name__} is a class", hint=f"Give an instance: {usage.__name__}()")
    if usage is not None and not callable(getattr(usage, "record", None)):
        raise ConfigurationError(f"usage={type(usage).__name__} has no record(UsageRecord)")
    for argument, rule in _ARGUMENTS.items():
        check(argument, values[argument], rule, ConfigurationError)
    check_fields(values, {"id": NAME}, kind=ConfigurationError)
