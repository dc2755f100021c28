"""LM Studio's settings, hints and OpenAI-compatible endpoints, without its own API."""

from __future__ import annotations

from .._dialects import lmstudio
from .http_provider import HTTPProvider
from .settings import Names


class LMStudioServer(HTTPProvider):
    """The provider that LMStudioProvider extends by LM Studio's own API; the parts of that API can make one."""

    id = "lm-studio"
    display_name = "LM Studio (Local)"

    _dialect = lmstudio.DIALECT
    _server_name = "LM Studio"
    _names = Names(
        prefix="lmstudio",
        variables={
            # Those of other clients for the same server come last.
            "base_url": ("LM_STUDIO_URL", "LM_STUDIO_API_BASE", "LMSTUDIO_BASE_URL"),
            "model": ("LM_STUDIO_MODEL",),
            "timeout": ("LM_STUDIO_TIMEOUT",),
            # The documentation names the first, one version of the Python SDK reads the second.
            "api_token": ("LM_API_TOKEN", "LMSTUDIO_API_TOKEN", "LM_STUDIO_API_KEY"),
        },
        default_url="http://localhost:1234",
        default_port=1234,
    )
    _start_hint = "Start LM Studio's server with 'lms server start', or on its Developer tab"
    _remote_hint = (
        "LM Studio serves only its own machine, unless 'Serve on Local Network' is on there (Developer tab, Server "
        "Settings; or 'lms server start --bind 0.0.0.0')"
    )
    _url_hint = "and base_url= or LM_STUDIO_URL names another server"
    _api_key_hash = "lmstudio-local"
    _get_hint = "Download one with 'lms get MODEL', or with native.download('MODEL')"
    _context_hint = "Send shorter texts, or load the model with a larger context ('lms load MODEL --context-length N')"
    _default_model = "local-model"
    # Those that were not trained for it do it less well (LM Studio docs, tool use).
    _any_model_calls_tools = True
