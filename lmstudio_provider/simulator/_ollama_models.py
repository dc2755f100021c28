"""The models that the stand-in for Ollama has, on disk and in memory."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Iterable, Mapping

from ._decisions import decides, sees
from ._ollama_json import refused

# The date of every model.
STAMP = "2026-03-01T09:12:33.48291507Z"
# The size of a model on disk, and of the entry of one that runs elsewhere.
SIZE_BYTES, REMOTE_BYTES = 4096, 384
# Seconds that a model stays in memory unused, Ollama's default.
KEEP_ALIVE_S = 300.0
_FOR_EVER = timedelta(days=292 * 365)  # as much as fits into 64 bits of nanoseconds
_REMOTE_HOST = "https://ollama.com:443"


@dataclass(frozen=True)
class OllamaModel:
    """A model for SimulatedOllama whose name does not say enough."""

    name: str
    """The name, with or without a tag; without one, it gets ``latest``."""
    capabilities: tuple[str, ...] = ("completion", "tools", "thinking")
    """The capabilities in ``/api/show``: "completion", "tools", "thinking", "vision", "insert", "embedding"."""
    listed_capabilities: tuple[str, ...] | None = None
    """The capabilities in ``/api/tags``, which may be wrong; None repeats ``capabilities``, and () leaves them out."""
    context_length: int = 131072
    """The most tokens that the model can hold, even if ``num_ctx`` is larger."""
    think_values: tuple[bool | str, ...] = (False, True, "low", "medium", "high")
    """The values of ``think`` that ``/api/show`` lists; () leaves them out, as older servers do."""
    think_default: bool | str = False
    """The value of ``think`` if a request does not set it."""
    remote_model: str | None = None
    """The name of the model on ``remote_host``, if it runs elsewhere."""
    remote_host: str | None = None
    """The origin of the server that runs it, such as "https://ollama.com:443"."""
    system: str = ""
    """The model's system prompt."""
    template: str = "{{ .Prompt }}"
    """The model's prompt template, in Go's form."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The model's own options, such as ``{"num_ctx": 8192}``."""
    digest: str = ""
    """64 hexadecimal digits; the default is a hash of the name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", tagged(self.name))
        object.__setattr__(self, "digest", self.digest or hashlib.sha256(self.name.encode()).hexdigest())


def named(name: str) -> OllamaModel:
    """Return a model with the capabilities that its name suggests."""
    name = tagged(name)
    if decides(name):
        return OllamaModel(name, capabilities=("decision", "vision") if sees(name) else ("decision",))
    if "embed" in name:
        return OllamaModel(name, capabilities=("embedding",), context_length=2048)
    model = OllamaModel(name, capabilities=("completion", "tools", "thinking", "vision"))
    if name.endswith(("-cloud", ":cloud")):
        return dataclasses.replace(model, remote_model=name[: -len("-cloud")], remote_host=_REMOTE_HOST)
    return model


def tagged(name: str) -> str:
    """Return the name with its tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


@dataclass(frozen=True)
class _Loaded:
    context_length: int
    until_s: float | None
    """The time by the shelf's clock at which the model is unloaded; None is never."""


class Shelf:
    """The models on disk and in memory. It is safe to use from several threads."""

    def __init__(
        self, models: Iterable[str | OllamaModel] | None, context_length: int, clock: Callable[[], float]
    ) -> None:
        models = [models] if isinstance(models, (str, OllamaModel)) else models
        known = [named(each) if isinstance(each, str) else each for each in models or ()]
        # The names, newest first; a test may change this list, as ``SimulatedOllama.models``.
        self.names = [each.name for each in known]
        self.is_null = models is None
        self._known = {each.name: each for each in known}
        self._context_length = context_length
        self._clock = clock
        self._loaded: dict[str, _Loaded] = {}
        self._lock = threading.RLock()

    @property
    def models(self) -> list[OllamaModel]:
        """The models on disk, newest first."""
        return [self._known.get(name) or named(name) for name in list(self.names)]

    @property
    def loaded(self) -> dict[str, _Loaded]:
        """The models in memory now, by name, in the order in which they were loaded."""
        with self._lock:
            now = self._clock()
            self._loaded = {
                name: each for name, each in self._loaded.items() if each.until_s is None or now < each.until_s
            }
            return dict(self._loaded)

    def find(self, name: Any, text: str = "model '{}' not found") -> OllamaModel:
        """Return the model with that name; raise RefusedError with ``text`` if it does not exist."""
        if not isinstance(name, str) or not name:
            raise refused(400, "model is required")
        model = self.get(name)
        if model is None:
            raise refused(404, text.format(name))
        return model

    def get(self, name: str) -> OllamaModel | None:
        """Return the model with that name, in any letter case, or None."""
        wanted = tagged(name.strip()).lower()
        return next((model for model in self.models if model.name.lower() == wanted), None)

    def add(self, model: OllamaModel) -> None:
        """Put a model on disk; it replaces one with the same name."""
        with self._lock:
            self._known[model.name] = model
            if model.name not in self.names:
                self.names.insert(0, model.name)

    def copy(self, model: OllamaModel, name: str) -> None:
        """Put the same model on disk under another name."""
        self.add(dataclasses.replace(model, name=name))

    def delete(self, model: OllamaModel) -> None:
        """Delete a model."""
        with self._lock:
            self.names.remove(model.name)
            self._known.pop(model.name, None)
            self._loaded.pop(model.name, None)

    def room(self, model: OllamaModel, num_ctx: float | None) -> int:
        """Return the number of tokens that the context has for a request."""
        wanted = int(num_ctx or model.parameters.get("num_ctx") or self._context_length)
        return min(wanted, model.context_length)

    def load(self, model: OllamaModel, room: int, keep_s: float | None) -> None:
        """Load a model, or keep it in memory for longer; forever if ``keep_s`` is None."""
        with self._lock:
            until_s = None if keep_s is None else self._clock() + keep_s
            self._loaded = {**self.loaded, model.name: _Loaded(room, until_s)}

    def unload(self, model: OllamaModel) -> None:
        """Unload a model if it is in memory."""
        with self._lock:
            self._loaded.pop(model.name, None)

    def tags(self) -> dict[str, Any]:
        """Return the reply of ``/api/tags``."""
        return {"models": None if self.is_null and not self.names else [_entry(model) for model in self.models]}

    def running(self) -> dict[str, Any]:
        """Return the reply of ``/api/ps``."""
        now_s, now = self._clock(), datetime.now(timezone.utc)
        values = []
        for name, each in self.loaded.items():
            entry = _entry(self._known.get(name) or named(name))
            left = _FOR_EVER if each.until_s is None else timedelta(seconds=each.until_s - now_s)
            more = {"expires_at": (now + left).isoformat().replace("+00:00", "Z"), "size_vram": 0}
            plain = {key: entry[key] for key in ("name", "model", "size", "digest", "details")}
            values.append({**plain, **more, "context_length": each.context_length})
        return {"models": values}


def remote(model: OllamaModel) -> dict[str, str]:
    """Return the additional fields of a model that runs elsewhere."""
    if model.remote_host is None:
        return {}
    return {"remote_model": model.remote_model or model.name, "remote_host": model.remote_host}


def show(model: OllamaModel) -> dict[str, Any]:
    """Return the reply of ``/api/show``."""
    width = max([8, *map(len, model.parameters)]) + 1
    values: dict[str, Any] = {
        "modelfile": f"FROM {model.name}\n",
        "parameters": "\n".join(f"{name:{width}} {value}" for name, value in model.parameters.items()),
        "template": model.template,
        "system": model.system,
        "details": _details(model),
        **remote(model),
        "model_info": {
            "general.architecture": "simulated",
            "general.parameter_count": 1000000000,
            "simulated.context_length": model.context_length,
            "simulated.embedding_length": 32,
            "tokenizer.ggml.tokens": None,
        },
        "capabilities": list(model.capabilities),
        "modified_at": STAMP,
    }
    if "thinking" in model.capabilities and model.think_values:
        values["thinking"] = {"values": list(model.think_values), "default": model.think_default}
    return {key: each for key, each in values.items() if each != ""}


def _entry(model: OllamaModel) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": model.name,
        "model": model.name,
        **remote(model),
        "modified_at": STAMP,
        "size": REMOTE_BYTES if model.remote_host else SIZE_BYTES,
        "digest": model.digest,
        "details": _details(model),
    }
    can = model.capabilities if model.listed_capabilities is None else model.listed_capabilities
    return {**entry, "capabilities": list(can)} if can else entry


def _details(model: OllamaModel) -> dict[str, Any]:
    local = model.remote_host is None
    return {
        "parent_model": "",
        "format": "gguf" if local else "",
        "family": "simulated" if local else "",
        "families": ["simulated"] if local else None,
        "parameter_size": "1B",
        "quantization_level": "Q4_K_M",
    }
