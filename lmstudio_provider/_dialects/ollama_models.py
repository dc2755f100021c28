"""Ollama's API for models, as in the source of its server (0.33)."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping

from .._core.checks import to_json
from .._core.errors import (
    EndpointNotFoundError,
    InvalidRequestError,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
)
from .._core.types import Call, LoadedInstance, ModelInfo
from .json_text import count, items, mapping, member, text_or_none
from .models import is_remote, kinds, word_of_capabilities

if TYPE_CHECKING:
    from .._core.upload import Upload


_BLOBS = "/api/blobs/"
# Only the ending of the name matters to the server.
_FILE = "model.gguf"

# A server that answers so now answers so the next time.
_LASTING = (EndpointNotFoundError, InvalidRequestError, ProtocolError)


def ps_call() -> Call:
    """Return the call for the list of models in memory."""
    return Call("GET", "/api/ps")


def show_call(model: str) -> Call:
    """Return the call for the details of a model."""
    return _post("/api/show", {"model": model})


def load_call(model: str, num_ctx: int | None, keep_alive: float | str | None) -> Call:
    """Return the call that loads a model that chats: a chat without messages."""
    return _post("/api/chat", {"model": model, "messages": [], "stream": False, **load_options(num_ctx, keep_alive)})


def load_by_embedding_call(model: str, num_ctx: int | None, keep_alive: float | str | None) -> Call:
    """Return the call that loads a model that only embeds. The server may refuse an empty text."""
    return _post("/api/embed", {"model": model, "input": "load", **load_options(num_ctx, keep_alive)})


def unload_call(model: str) -> Call:
    """Return the call that unloads a model of any kind."""
    return load_call(model, None, 0)


def load_options(num_ctx: int | None, keep_alive: float | str | None) -> dict[str, Any]:
    """Return the fields that say how to load a model, without those that are None."""
    options = {} if num_ctx is None else {"options": {"num_ctx": num_ctx}}
    return options if keep_alive is None else {**options, "keep_alive": keep_alive}


def copy_call(source: str, destination: str) -> Call:
    """Return the call that gives a model a second name."""
    call = _post("/api/copy", {"source": source, "destination": destination}, source)
    return dataclasses.replace(call, may_be_empty=True)


def delete_call(model: str) -> Call:
    """Return the call that deletes a model."""
    return dataclasses.replace(_post("/api/delete", {"model": model}), method="DELETE", may_be_empty=True)


def pull_call(model: str, insecure: bool) -> Call:
    """Return the call that downloads a model and reports its progress."""
    return _post("/api/pull", {"model": model, "stream": True, **({"insecure": True} if insecure else {})})


def has_file_call(digest: str) -> Call:
    """Return the call that asks whether the server has the file with that SHA-256."""
    return Call("HEAD", f"{_BLOBS}sha256:{digest}", may_be_empty=True)


def send_file_call(digest: str, upload: Upload) -> Call:
    """Return the call that sends the file with that SHA-256."""
    return Call("POST", f"{_BLOBS}sha256:{digest}", upload=upload, may_be_empty=True)


def create_call(model: str, digest: str | None, from_model: str | None, given: Mapping[str, Any]) -> Call:
    """Return the call that makes a model of a file that the server has, or of another model."""
    origin: dict[str, Any] = {"from": from_model} if digest is None else {"files": {_FILE: f"sha256:{digest}"}}
    return _post("/api/create", {"model": model, "stream": True, **origin, **given}, from_model or model)


def _post(path: str, body: Mapping[str, Any], model: str = "") -> Call:
    content = to_json(body, "the request").encode("ascii")
    return Call("POST", path, content, model or body["model"], model_kind="any")


def progress_line(value: Any) -> tuple[str, str | None, int | None, int | None]:
    """Return the status in a line of a download, its part, and the part's bytes so far and in total."""
    status = member(value, "status", str, "a line of the reply")
    return status, text_or_none(value.get("digest")), count(value.get("completed")), count(value.get("total"))


def list_models(ask: Callable[..., Any], details: dict[str, ModelInfo], brief: bool) -> list[ModelInfo]:
    """Return the models on disk with their known details; unless ``brief``, ask for the missing ones.

    Raises ProviderError.
    """
    models: list[ModelInfo] = ask(Call("GET", "/api/tags"), functools.partial(tags_reply, details=details))
    if brief:
        return models
    inquiry = Inquiry(ask, details)
    return [inquiry.confirm(model) for model in inquiry.with_instances(models)]


def tags_reply(value: Any, details: Mapping[str, ModelInfo]) -> list[ModelInfo]:
    """Return the models of a list with their known ``details``; raises ProtocolError."""
    entries = _entries(value)
    names = [member(entry, "name", str, "a model") for entry in entries]
    words = [word_of_capabilities(entry.get("capabilities")) for entry in entries]
    return [_with_details(_model(*each), details) for each in zip(names, kinds(words, names), entries)]


def ps_reply(value: Any) -> list[LoadedInstance]:
    """Return the models in memory; raises ProtocolError."""
    return [
        LoadedInstance(member(entry, "name", str, "a model"), count(entry.get("context_length")), entry)
        for entry in _entries(value)
    ]


def show_reply(value: Any, name: str) -> ModelInfo:
    """Return the details of the model with that name; raises ProtocolError.

    The type is None if the server does not report the purpose of its models.
    """
    member({"reply": value}, "reply", dict, "the description of the model")
    info, thinking = mapping(value.get("model_info")), mapping(value.get("thinking"))
    model = _model(name, word_of_capabilities(value.get("capabilities")), value)
    longest = count(info.get(f"{info.get('general.architecture')}.context_length"))
    return dataclasses.replace(
        model,
        max_context_length=longest or model.max_context_length,
        reasoning_options=tuple(filter(None, map(_option, items(thinking.get("values"))))),
        reasoning_default=_option(thinking.get("default")),
    )


def with_type(model: ModelInfo) -> ModelInfo:
    """Return the model with a type, by its name if the type is not known."""
    return dataclasses.replace(model, type=kinds([model.type], [model.id])[0])


class Inquiry:
    """Asks once for the details that the list of models lacks; without them, the list is still useful."""

    def __init__(self, ask: Callable[..., Any], details: dict[str, ModelInfo]) -> None:
        self._ask = ask
        self._details = details
        self.is_silent = False
        """True if the server did not answer: the next question would wait as long."""

    def with_instances(self, models: list[ModelInfo]) -> list[ModelInfo]:
        """Return the models with their instances in memory; raises ProviderClosedError."""
        running = self._more(ps_call(), ps_reply)
        if not isinstance(running, list):
            return models
        loaded = {each.id: each for each in running}
        return [_with_instance(model, loaded.get(model.id)) for model in models]

    def confirm(self, model: ModelInfo) -> ModelInfo:
        """Return the model with the server's details of it, which are right if the list is wrong.

        Raises ProviderClosedError.
        """
        if _key(model) not in self._details:
            shown = self._more(show_call(model.id), functools.partial(show_reply, name=model.id))
            if isinstance(shown, _LASTING):
                shown = ModelInfo(model.id, None)
            if isinstance(shown, ModelInfo):
                self._details[_key(model)] = dataclasses.replace(shown, raw={})  # which holds a licence and a template
        return _with_details(model, self._details)

    def known(self, models: Iterable[ModelInfo]) -> list[ModelInfo]:
        """Return the models with the details that are known."""
        return [_with_details(model, self._details) for model in models]

    def _more(self, call: Call, read: Callable[[Any], Any]) -> Any:
        """Return the reply, or the error that came instead, or None as soon as the server has been silent."""
        if self.is_silent:
            return None
        try:
            return self._ask(call, read)
        except ProviderClosedError:
            raise
        except ProviderError as error:
            self.is_silent = isinstance(error, (RequestTimeoutError, ServerUnavailableError))
            return error


def _model(name: str, kind: str | None, entry: Mapping[str, Any]) -> ModelInfo:
    capabilities, details = entry.get("capabilities"), mapping(entry.get("details"))
    can = set(map(str, capabilities)) if isinstance(capabilities, list) else None
    return ModelInfo(
        name,
        kind,
        quantization=text_or_none(details.get("quantization_level")),
        size_bytes=count(entry.get("size")),
        vision=None if can is None else "vision" in can,
        tool_use=None if can is None else "tools" in can,
        max_context_length=count(details.get("context_length")),
        raw=entry,
        remote=is_remote(name, entry),
    )


def _with_details(model: ModelInfo, details: Mapping[str, ModelInfo]) -> ModelInfo:
    shown = details.get(_key(model))
    if shown is None:
        return model
    return dataclasses.replace(
        model,
        type=shown.type or model.type,
        vision=model.vision if shown.vision is None else shown.vision,
        tool_use=model.tool_use if shown.tool_use is None else shown.tool_use,
        max_context_length=shown.max_context_length or model.max_context_length,
        reasoning_options=shown.reasoning_options,
        reasoning_default=shown.reasoning_default,
        remote=model.remote or shown.remote,
    )


def _with_instance(model: ModelInfo, instance: LoadedInstance | None) -> ModelInfo:
    if instance is None:
        return dataclasses.replace(model, loaded=False)
    return dataclasses.replace(model, loaded=True, context_length=instance.context_length, instances=(instance,))


def _key(model: ModelInfo) -> str:
    """Return a key that another version of the model does not have."""
    return text_or_none(model.raw.get("digest")) or f"{model.id} {model.raw.get('modified_at')}"


def _entries(value: Any) -> list[Any]:
    """Return the models of a list; raises ProtocolError."""
    if isinstance(value, dict) and value.get("models", ...) is None:
        return []  # Go writes an empty list so
    models: list[Any] = member(value, "models", list, "the list")
    return models


def _option(value: object) -> str | None:
    """Return a value of ``think`` in the words that all servers use."""
    return "on" if value is True else "off" if value is False else text_or_none(value)
