"""LM Studio."""

from __future__ import annotations

from ._download import Download
from ._http_provider import HTTPProvider
from ._native import Native
from ._settings import Names
from ._wire import lmstudio


class LMStudioProvider(HTTPProvider):
    """LM Studio's local server, over its OpenAI-compatible endpoints; ``native`` is LM Studio's own API.

    Without arguments it is the server at ``$LM_STUDIO_URL``, else at ``http://localhost:1234``.
    """

    id = "lm-studio"
    display_name = "LM Studio (Local)"

    _dialect = lmstudio
    _server_name = "LM Studio"
    _names = Names(
        prefix="lmstudio",
        variables={
            "base_url": ("LM_STUDIO_URL",),
            "model": ("LM_STUDIO_MODEL",),
            "timeout": ("LM_STUDIO_TIMEOUT",),
            # The documentation names the first, one version of the Python SDK reads the second.
            "api_token": ("LM_API_TOKEN", "LMSTUDIO_API_TOKEN"),
        },
        default_url="http://localhost:1234",
        default_port=1234,
    )
    _start_hint = "Start LM Studio's server with 'lms server start', or on its Developer tab"
    _url_hint = "and base_url= or LM_STUDIO_URL names another server"
    _api_key_hash = "lmstudio-local"
    _default_model = "local-model"

    @property
    def native(self) -> Native:
        """LM Studio's own API: chats with progress and state, and loading, unloading and downloading models."""
        return Native(self)


Download._by_settings = staticmethod(lambda: LMStudioProvider(refresh=False))
