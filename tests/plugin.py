"""A provider as a third party writes it: it derives from Provider, and answers without a server."""

from __future__ import annotations

from lmstudio_provider import Capabilities, Completion, Embeddings, Health, ModelInfo, Provider


class Plugin(Provider):
    """Records each call in ``calls``, and raises ``error`` if there is one."""

    display_name = "Plug-in"

    def __init__(self, id="plugin", models=("plugged",), error=None, vision=None):
        self.id = id
        self.models = models
        self.error = error
        self.vision = vision
        self.calls = []
        self.closed = False

    def _answer(self, operation, *arguments):
        self.calls.append((operation, *arguments))
        if self.error is not None:
            raise self.error
        return Completion(operation, "plugged", "plugged", provider_id=self.id)

    @property
    def base_url(self):
        return f"plugin://{self.id}"

    @property
    def capabilities(self):
        return Capabilities(False, False, self.vision, tuple(self.models))

    def refresh_models(self, timeout=3.0):
        self.calls.append(("refresh_models", timeout))
        return self.error is None

    def list_models(self, timeout=None):
        self._answer("list_models", timeout)
        return [ModelInfo(each) for each in self.models]

    def is_configured(self):
        return bool(self.models)

    def wait_until_configured(self, timeout=3.0):
        return bool(self.models)

    def resolve_model(self, tier=None):
        return f"{self.id}-{tier}"

    def reset_client(self):
        self.calls.append(("reset_client",))

    def health_check(self, timeout=3.0):
        return Health(self.error is None, 0.1, tuple(self.models), self.error)

    def complete(self, request, **overrides):
        return self._answer("complete", request, overrides)

    def chat(self, request, **overrides):
        return self._answer("chat", request, overrides)

    def complete_text(self, request, **overrides):
        return self._answer("complete_text", request, overrides)

    def stream(self, request, on_chunk=None, **overrides):
        return self._answer("stream", request, on_chunk, overrides)

    def complete_with_tools(self, request, **overrides):
        return self._answer("complete_with_tools", request, overrides)

    def embed(self, texts, model=None, **overrides):
        self._answer("embed", texts, model, overrides)
        return Embeddings([[1.0] for _ in texts], "plugged", "plugged")

    def close(self):
        self.closed = True
