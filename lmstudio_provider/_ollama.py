"""Ollama."""

from __future__ import annotations

import re
from typing import Any, Literal, Mapping, NoReturn

import urllib3

from ._core.errors import ConfigurationError
from ._core.ollama_options import check_keep_alive
from ._core.options import show_options
from ._core.types import UNSET, Limits, Timeout, Unset
from ._core.usage import UsageRecorder
from ._dialects import ollama, ollama_dialect
from ._ollama_models import OllamaModels
from ._provider.settings import Config, Names, Secret


def _tidy(host: str) -> str:
    """A base URL of what OLLAMA_HOST may hold, as Ollama's Go client reads it (envconfig)."""
    host = host.strip()
    if host.startswith(":") and not host.startswith("::"):
        return f"127.0.0.1{host}"
    if "://" not in host and not {"[", "@", "/"}.intersection(host) and host.count(":") > 1:
        return f"[{host}]"
    # Ollama's own servers take the key over TLS alone, and have no prefix, whatever of this is written.
    cloud = re.fullmatch(r"(?i)(https://)?ollama\.com(:443)?(/+(api|v1)(/.*)?)?/*", host)
    return "https://ollama.com" if cloud else host


@show_options()
class OllamaProvider(OllamaModels):
    """A local Ollama, over its own API.

    Without arguments it is the server at ``$OLLAMA_HOST``, else at ``http://localhost:11434``.
    """

    id = "ollama"
    display_name = "Ollama (Local)"

    _dialect = ollama_dialect
    _server_name = "Ollama"
    _names = Names(
        prefix="ollama",
        variables={
            "base_url": ("OLLAMA_HOST",),
            "model": ("OLLAMA_MODEL",),
            "timeout": ("OLLAMA_TIMEOUT",),
            "api_token": ("OLLAMA_API_KEY",),
            "num_ctx": ("OLLAMA_NUM_CTX",),
        },
        arguments=("num_ctx", "keep_alive"),
        default_url="http://localhost:11434",
        default_port=11434,
        tidy=_tidy,
    )
    _start_hint = "Start Ollama with 'ollama serve', or its app"
    _remote_hint = "Ollama listens to its own machine alone, unless OLLAMA_HOST=0.0.0.0 is set where it starts there"
    _url_hint = "and base_url= or OLLAMA_HOST names another server"
    _api_key_hash = "ollama-local"
    _get_hint = "Pull one with 'ollama pull MODEL', or with pull('MODEL')"
    _context_hint = "Send shorter texts, or take a model with a larger context"
    _default_model = None
    _any_model_calls_tools = False

    def __init__(
        self,
        base_url: str | None = None,
        *,
        model: str | None = None,
        api_token: str | Secret | Literal[False] | None = None,
        timeout: Timeout | Unset = UNSET,
        deadline: float | None = None,
        num_ctx: int | None = None,
        keep_alive: float | str | None = None,
        settings: Any = None,
        usage: UsageRecorder | None = None,
        headers: Mapping[str, str] | None = None,
        http: urllib3.PoolManager | None = None,
        max_retries: int = 2,
        models_ttl: float = 300.0,
        refresh: bool = True,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        id: str | None = None,
        **others: NoReturn,
    ) -> None:
        """Make a provider, with the arguments of LMStudioProvider and two more.

        ``num_ctx`` (tokens, also the setting ``ollama_num_ctx``) and ``keep_alive`` (seconds, or text such as "10m")
        are for the calls that have none of their own.
        """
        check_keep_alive("keep_alive", keep_alive, ConfigurationError)
        given = {name: value for name, value in locals().items() if name not in ("self", "others", "__class__")}
        super().__init__(**given, **others)

    def _defaults(self, config: Config) -> dict[str, Any]:
        return {"num_ctx": config.num_ctx, "keep_alive": self._arguments["keep_alive"]}

    def version(self) -> str:
        """The version of the server, such as "0.33.0"."""
        session, plan = self._where(UNSET, UNSET)
        call = ollama.version_call()
        value = session.ask(call, plan)
        with session.telling(call, plan):
            return ollama.version_reply(value)
