"""The state of the stand-in for LM Studio: models on disk and in memory, downloads, stored conversations."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, Iterable, Mapping

from ._decisions import decides

# Seconds that a model that a request loaded stays in memory unused, LM Studio's default.
DEFAULT_TTL_S = 3600
# The size of a model on disk.
SIZE_BYTES = 4 * 1024 * 1024
_NOT_LOADED = "No models loaded. Please load a model in the developer page or use the 'lms load' command."
_TOO_LARGE = (
    "Model loading aborted due to insufficient system resources. Overloading the system will likely cause it to freeze."
)
_CONFIG = {"eval_batch_size": 512, "parallel": 4, "flash_attention": True, "offload_kv_cache_to_gpu": True}


class FailedError(Exception):
    """A valid request cannot be served; each endpoint reports this in the form of its API.

    ``kind`` is "no_model_loaded", "model_not_found", "model_load_failed", "context_length" or "grammar". The last two
    are failures of the engine; for them, ``tokens`` is the length of the prompt.
    """

    def __init__(self, kind: str, text: str, tokens: int = 0) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.tokens = tokens


@dataclass
class Instance:
    """A model in memory."""

    id: str
    """The name by which requests and replies mean this instance: the model's key, or that with ``:2``, ``:3``…"""
    model: str
    """The key of the model."""
    config: dict[str, Any]
    """The ``config`` in ``/api/v1/models``; ``context_length`` is in tokens."""
    ttl_s: float | None
    """Seconds without use until it is unloaded; None keeps it."""
    by_jit: bool
    """True if a request that named the model loaded it."""
    used_at: float
    """The time of the last request for it, by the stand-in's clock."""

    @property
    def context_length(self) -> int:
        """The number of tokens that a prompt may have."""
        return int(self.config["context_length"])


@dataclass
class Job:
    """A download; a test may set its ``status`` to "paused" or "failed"."""

    id: str
    """The ``job_id``."""
    model: str
    """The key that the model gets."""
    status: str = "downloading"
    """"downloading", "paused", "completed" or "failed"."""
    total_size_bytes: int = SIZE_BYTES
    downloaded_bytes: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    completed_at: datetime | None = None


def embeds(model: str) -> bool:
    """Return True for an embedding model; LM Studio gives these ids that begin so."""
    return model.startswith("text-embedding-")


def kind_of(model: str) -> str:
    """Return the kind of a model in LM Studio's words."""
    return "embedding" if embeds(model) else "decision" if decides(model) else "llm"


class State:
    """The models, downloads and conversations. It is safe to use from several threads."""

    def __init__(
        self,
        models: Iterable[str],
        loaded: Iterable[str] | None,
        jit: bool,
        context_length: int,
        clock: Callable[[], float],
    ) -> None:
        self.models = [models] if isinstance(models, str) else list(models)
        self.jit = jit
        self.jobs: dict[str, Job] = {}
        # The messages of each conversation, in OpenAI's form, by the id of its last reply.
        self.responses: dict[str, list[dict[str, Any]]] = {}
        self._context_length = context_length
        self._clock = clock
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._instances: list[Instance] = []
        if loaded is None:
            loaded = [model for model in self.models if _fits(model)]
        if context_length < 0:
            raise ValueError(f"context_length={context_length} is not valid; use a number of tokens, 0 or more")
        for model in [loaded] if isinstance(loaded, str) else loaded:
            try:
                self.load(model)
            except FailedError as failed:
                raise ValueError(f"loaded: {failed.text}") from failed

    @property
    def instances(self) -> list[Instance]:
        """The instances in memory now, in the order in which they were loaded."""
        with self._lock:
            now = self._clock()
            self._instances = [
                each for each in self._instances if each.ttl_s is None or now - each.used_at < each.ttl_s
            ]
            return list(self._instances)

    def number(self) -> int:
        """Return a new number for an id."""
        return next(self._numbers)

    def response_id(self) -> str:
        """Return a new id for a reply that can be continued."""
        return f"resp_{self.number():048x}"

    def stored(self, id: str | None) -> list[dict[str, Any]] | None:
        """Return the stored conversation with that id: empty if ``id`` is None, None if the id is unknown."""
        return [] if id is None else self.responses.get(id)

    def model_of(self, name: object) -> str | None:
        """Return the model that ``name`` means, a key, a key with ``@variant`` or an instance's id, or None."""
        if not isinstance(name, str):
            return None
        by_id = {each.id: each.model for each in self.instances}
        keys = {each.lower(): each for each in self.models}  # in any letter case, unlike an id (recorded)
        return name if name in self.models else by_id.get(name, keys.get(name.partition("@")[0].lower()))

    def load(self, name: str, context_length: int | None = None, **config: Any) -> Instance:
        """Load a model that stays in memory, as one loaded by hand does. Raise FailedError if that fails."""
        return self._load(name, context_length, config, None)

    def unload(self, id: str) -> None:
        """Unload an instance. Raise FailedError if the id is unknown."""
        with self._lock:
            left = [each for each in self.instances if each.id != id]
            if len(left) == len(self._instances):
                raise FailedError("model_not_found", f'No model instance with the id "{id}" is loaded.')
            self._instances = left

    def take(
        self, name: object, kind: str = "llm", ttl_s: float | None = None, context_length: int | None = None
    ) -> tuple[Instance, bool]:
        """Return the instance that answers a request for ``name``, and whether this request loaded it.

        ``ttl_s`` and ``context_length`` count only if this request loads it. Raise FailedError if none can answer.
        """
        with self._lock:
            instance = self._loaded(name, kind)
            if instance is not None:
                instance.used_at = self._clock()
                return instance, False
            # Auto-evict, which is on by default: a request that loads a model unloads the one that a request loaded.
            self._instances = [each for each in self._instances if not each.by_jit]
            return self._load(str(name), context_length, {}, DEFAULT_TTL_S if ttl_s is None else ttl_s), True

    def start_download(self, model: str) -> Job:
        """Start a download of ``model``."""
        with self._lock:
            job = Job(f"job_{self.number():010x}", model)
            self.jobs[job.id] = job
            return job

    def advance(self, job: Job) -> None:
        """Advance a running download by a quarter; at the end, add the model to those on disk."""
        with self._lock:
            if job.status != "downloading":
                return
            job.downloaded_bytes = min(job.total_size_bytes, job.downloaded_bytes + -(-job.total_size_bytes // 4))
            if job.downloaded_bytes == job.total_size_bytes:
                job.status, job.completed_at = "completed", datetime.now(timezone.utc)
                if job.model not in self.models:
                    self.models.append(job.model)

    def _loaded(self, name: object, kind: str) -> Instance | None:
        """Return the instance for ``name``, None if it has to be loaded; raise FailedError if neither is possible."""
        instances = [each for each in self.instances if kind_of(each.model) == kind]
        models = [model for model in self.models if kind_of(model) == kind]
        model = self.model_of(name)
        fitting = [each for each in instances if each.id == name] or [each for each in instances if each.model == model]
        if fitting:
            return fitting[0]
        if self.jit and model in models:
            return None
        if len(instances) == 1 and kind == "llm":
            return instances[0]  # with one model loaded, LM Studio ignores the name (its bug-tracker, 619)
        if not instances and (not self.jit or not models or name is None):
            raise FailedError("no_model_loaded", _NOT_LOADED)
        raise not_found(name, models if self.jit else [each.id for each in instances])

    def _load(self, name: str, context_length: int | None, config: Mapping[str, Any], ttl_s: float | None) -> Instance:
        with self._lock:
            model = self.model_of(name)
            if model is None:
                raise not_found(name, self.models)
            if not _fits(model):
                raise FailedError("model_load_failed", f'Failed to load model "{model}". Error: {_TOO_LARGE}')
            taken = {each.id for each in self.instances}
            ids = itertools.chain([model], (f"{model}:{number}" for number in itertools.count(2)))
            whole: dict[str, Any] = {"context_length": context_length or self._context_length}
            if not embeds(model):
                whole.update(_CONFIG, **config)
            id_ = next(each for each in ids if each not in taken)
            self._instances.append(Instance(id_, model, whole, ttl_s, ttl_s is not None, self._clock()))
            return self._instances[-1]


def _fits(model: str) -> bool:
    return "too-large" not in model


def not_found(name: object, known: Iterable[str]) -> FailedError:
    """Return the error to raise for an unknown model; ``known`` are the names to suggest."""
    text = f'Invalid model identifier "{name}". Please specify a valid downloaded model (e.g., {", ".join(known)}).'
    return FailedError("model_not_found", text)
