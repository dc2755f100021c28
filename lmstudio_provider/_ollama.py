"""Ollama."""

from __future__ import annotations

from ._http_provider import HTTPProvider
from ._settings import Names
from ._wire import ollama_dialect


class OllamaProvider(HTTPProvider):
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
        },
        default_url="http://localhost:11434",
        default_port=11434,
    )
    _start_hint = "Start Ollama with 'ollama serve', or its app"
    _url_hint = "and base_url= or OLLAMA_HOST names another server"
    _api_key_hash = "ollama-local"
    _default_model = "local-model"
