"""LM Studio's settings, hints and OpenAI-compatible endpoints, without its own API."""

from __future__ import annotations

from .._dialects import lmstudio
from .session import ServerInfo
from .settings import Names

try:
    from .deciding import DecidingProvider
except ImportError:  # a vendored copy may leave it out
    from .http_provider import HTTPProvider as DecidingProvider  # type: ignore[assignment]


class LMStudioServer(DecidingProvider):
    """The provider that LMStudioProvider extends by LM Studio's own API; the parts of that API can make one."""

    id = "lm-studio"
    display_name = "LM Studio (Local)"

    _server = ServerInfo(
        name="LM Studio",
        dialect=lmstudio.DIALECT,
        api_key_hash="lmstudio-local",
        start_hint="Start LM Studio's server with 'lms server start', or on its Developer tab",
        remote_hint="LM Studio serves only its own machine, unless 'Serve on Local Network' is on there "
        "(Developer tab, Server Settings; or 'lms server start --bind 0.0.0.0')",
        url_hint="and base_url= or LM_STUDIO_URL names another server",
        get_hint="Download one with 'lms get MODEL', or with native.download('MODEL')",
        context_hint="Send shorter texts, or load the model with a larger context "
        "('lms load MODEL --context-length N')",
        default_model="local-model",
        any_model_calls_tools=True,  # the others call tools less well (LM Studio docs, "Tool Use")
    )
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
