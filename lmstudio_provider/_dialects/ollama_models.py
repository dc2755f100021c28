"""Ollama's lists of models, as the source of its server has them (0.33), and what it says of a single one."""

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
from .json_text import count, member, text_or_none
from .models import is_remote, kinds, word_of_capabilities

if TYPE_CHECKING:
    from .._core.upload import Upload


_BLOBS = "/api/blobs/"
# The name does not matter to the server, but its ending does.
_FILE = "model.gguf"

# What answers so now answers so the next time.
_LASTING = (EndpointNotFoundError, InvalidRequestError, ProtocolError)


def ps_call() -> Call:
    """Ask what is in memory."""
    return Call("GET", "/api/ps")


def show_call(model: str) -> Call:
    """Ask what a model is."""
    return _post("/api/show", {"model": model})


def load_call(model: str, num_ctx: int | None, keep_alive: float | str | None) -> Call:
    """Load a model that chats, which a chat without messages does."""
    return _post("/api/chat", {"model": model, "messages": [], "stream": False, **_how(num_ctx, keep_alive)})


def load_by_embedding_call(model: str, num_ctx: int | None, keep_alive: float | str | None) -> Call:
    """Load a model that only embeds; an empty text may be refused."""
    return _post("/api/embed", {"model": model, "input": "load", **_how(num_ctx, keep_alive)})


def unload_call(model: str) -> Call:
    """Unload a model, whatever it is for."""
    return load_call(model, None, 0)


def _how(num_ctx: int | None, keep_alive: float | str | None) -> dict[str, Any]:
    options = {} if num_ctx is None else {"options": {"num_ctx": num_ctx}}
    return options if keep_alive is None else {**options, "keep_alive": keep_alive}


def copy_call(source: str, destination: str) -> Call:
    """Give a model another name besides."""
    call = _post("/api/copy", {"source": source, "destination": destination}, source)
    return dataclasses.replace(call, may_be_empty=True)


def delete_call(model: str) -> Call:
    """Delete a model."""
    return dataclasses.replace(_post("/api/delete", {"model": model}), method="DELETE", may_be_empty=True)


def pull_call(model: str, insecure: bool) -> Call:
    """Download a model, and tell how far it is."""
    return _post("/api/pull", {"model": model, "stream": True, **({"insecure": True} if insecure else {})})


def has_file_call(digest: str) -> Call:
    """Ask whether the server has the file of that SHA-256."""
    return Call("HEAD", f"{_BLOBS}sha256:{digest}", may_be_empty=True)


def send_file_call(digest: str, upload: Upload) -> Call:
    """Send the file of that SHA-256."""
    return Call("POST", f"{_BLOBS}sha256:{digest}", upload=upload, may_be_empty=True)


def create_call(model: str, digest: str | None, from_model: str | None, given: Mapping[str, Any]) -> Call:
    """Make a model of a file that the server has, or of another model."""
    origin: dict[str, Any] = {"from": from_model} if digest is None else {"files": {_FILE: f"sha256:{digest}"}}
    return _post("/api/create", {"model": model, "stream": True, **origin, **given}, from_model or model)


def _post(path: str, body: Mapping[str, Any], model: str = "") -> Call:
    content = to_json(body, "the request").encode("ascii")
    return Call("POST", path, content, model or body["model"], model_kind="any")


def progress_line(value: Any) -> tuple[str, str | None, int | None, int | None]:
    """Return what a line of a download tells: the status, which part, and its bytes so far and altogether."""
    status = member(value, "status", str, "a line of the reply")
    return status, text_or_none(value.get("digest")), count(value.get("completed")), count(value.get("total"))


def list_models(ask: Callable[..., Any], details: dict[str, ModelInfo], brief: bool) -> list[ModelInfo]:
    """Return the models on disk with what is known of them; unless ``brief``, all else is asked for that is not.

    Raises ProviderError.
    """
    models: list[ModelInfo] = ask(Call("GET", "/api/tags"), functools.partial(tags_reply, details=details))
    if brief:
        return models
    inquiry = Inquiry(ask, details)
    return [inquiry.confirm(model) for model in inquiry.with_instances(models)]


def tags_reply(value: Any, details: Mapping[str, ModelInfo]) -> list[ModelInfo]:
    """Return the models of a list with what is known of them besides; raises ProtocolError."""
    entries = _entries(value)
    names = [member(entry, "name", str, "a model") for entry in entries]
    words = [word_of_capabilities(entry.get("capabilities")) for entry in entries]
    return [_with_details(_model(*each), details) for each in zip(names, kinds(words, names), entries)]


def ps_reply(value: Any) -> list[LoadedInstance]:
    """Return what is in memory; raises ProtocolError."""
    return [
        LoadedInstance(member(entry, "name", str, "a model"), count(entry.get("context_length")), entry)
        for entry in _entries(value)
    ]


def show_reply(value: Any, name: str) -> ModelInfo:
    """Return what the server says of the model of that name; raises ProtocolError.

    The type is None if the server does not say what its models are for.
    """
    member({"reply": value}, "reply", dict, "what the server says of the model")
    info, thinking = _mapping(value.get("model_info")), _mapping(value.get("thinking"))
    values = thinking.get("values")
    model = _model(name, word_of_capabilities(value.get("capabilities")), value)
    longest = count(info.get(f"{info.get('general.architecture')}.context_length"))
    return dataclasses.replace(
        model,
        max_context_length=longest or model.max_context_length,
        reasoning_options=tuple(filter(None, map(_option, values if isinstance(values, list) else ()))),
        reasoning_default=_option(thinking.get("default")),
    )


def with_type(model: ModelInfo) -> ModelInfo:
    """Return the model with a type, which its name decides if nobody has said more."""
    return dataclasses.replace(model, type=kinds([model.type], [model.id])[0])


class Inquiry:
    """Asks what the list of models does not say, and not twice; a list is worth having without it."""

    def __init__(self, ask: Callable[..., Any], details: dict[str, ModelInfo]) -> None:
        self._ask = ask
        self._details = details
        #: Whether the server did not answer: it would be waited for as long the next time.
        self.is_silent = False

    def with_instances(self, models: list[ModelInfo]) -> list[ModelInfo]:
        """Return the models with what is in memory of them; raises ProviderClosedError."""
        running = self._more(ps_call(), ps_reply)
        if not isinstance(running, list):
            return models
        loaded = {each.id: each for each in running}
        return [_with_instance(model, loaded.get(model.id)) for model in models]

    def confirm(self, model: ModelInfo) -> ModelInfo:
        """Return the model with what the server says of it, which is right if the list is not.

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
        """Return the models with what has been asked about them."""
        return [_with_details(model, self._details) for model in models]

    def _more(self, call: Call, read: Callable[[Any], Any]) -> Any:
        """Return the reply or the error that came instead, and None once the server has been silent."""
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
    capabilities, details = entry.get("capabilities"), _mapping(entry.get("details"))
    can = {str(each) for each in capabilities} if isinstance(capabilities, list) else None
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
    """Return what another version of the model does not have."""
    return text_or_none(model.raw.get("digest")) or f"{model.id} {model.raw.get('modified_at')}"


def _entries(value: Any) -> list[Any]:
    """Return the models of a list; raises ProtocolError."""
    if isinstance(value, dict) and value.get("models", ...) is None:
        return []  # which is how Go writes an empty list
    models: list[Any] = member(value, "models", list, "the list")
    return models


def _option(value: object) -> str | None:
    """Return a value of ``think`` in the words of all servers."""
    return "on" if value is True else "off" if value is False else text_or_none(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
