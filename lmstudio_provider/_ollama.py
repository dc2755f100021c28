"""A local Ollama, over its own API, with the models on its disk and in its memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import time
from typing import Any, Callable, Generator, Iterator, Literal, Mapping, NoReturn, Sequence

from ._core.callbacks import Callback
from ._core.errors import (
    ConfigurationError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    RequestTimeoutError,
    StatusError,
    StreamInterruptedError,
    preview,
)
from ._core.ollama_options import check_keep_alive
from ._core.options import show_options
from ._core.progress import Meter
from ._core.requests import embed_options
from ._core.types import UNSET, Call, Limits, LoadedInstance, ModelInfo, Progress, Timeout, Timeouts, Unset
from ._core.upload import StoppedError, Upload
from ._core.usage import UsageRecorder
from ._dialects import ollama
from ._dialects import ollama_models as wire
from ._http.exchange import Deadline, PoolManager
from ._provider.local_models import Fits, first, patience
from ._provider.session import CallOptions, ServerInfo, Session
from ._provider.settings import Config, Names, Secret

try:
    from ._provider.deciding import DecidingProvider
except ImportError:  # a vendored copy may leave it out
    from ._provider.http_provider import HTTPProvider as DecidingProvider  # type: ignore[assignment]

OnProgress = Callable[[Progress], object]


class OllamaModels(DecidingProvider):
    """The methods that manage the models of an Ollama."""

    def ps(self) -> list[LoadedInstance]:
        """Return the models in memory; ``config`` has ``size``, ``size_vram``, ``expires_at`` and so on."""
        session, options = self._for_call(UNSET, UNSET)
        instances: list[LoadedInstance] = session.ask(wire.ps_call(), options, wire.ps_reply)
        return instances

    def show(self, model: str) -> ModelInfo:
        """Return the details of a model on the server's disk; ``raw`` has its template, parameters, licence and so on.

        Raises ModelNotFoundError.
        """
        session, options = self._for_call(UNSET, UNSET)
        call = wire.show_call(_name(model))
        info: ModelInfo = session.ask(call, options, functools.partial(wire.show_reply, name=model))
        return wire.with_type(info)

    def load(
        self,
        model: str,
        *,
        num_ctx: int | None = None,
        keep_alive: float | str | None = None,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> None:
        """Load ``model`` and return when it is in memory.

        ``num_ctx`` is the number of tokens that its context holds, ``keep_alive`` the time that it stays without use:
        seconds, or text such as "10m"; -1 is for ever. Without them, those of the provider hold. If this ends before
        the model is loaded, the loading ends too. Raises ModelNotFoundError.
        """
        session, options = self._for_call(timeout, deadline)
        # The same as of the next call, which would load the model again if it had another context.
        fields = embed_options(self._defaults(options.config), num_ctx=num_ctx, keep_alive=keep_alive)
        if keep_alive is not None and not re.search("[1-9]", str(keep_alive)):  # "0s" is 0 as well
            raise InvalidRequestError(f"keep_alive={keep_alive} unloads the model", hint="To unload it, call unload()")
        if not re.search("[1-9]", str(fields["keep_alive"])):
            fields["keep_alive"] = None  # 0 of the provider is for the calls to come
        try:
            session.ask(wire.load_call(_name(model), **fields), options)
        except InvalidRequestError as error:
            if "does not support chat" not in error.message:
                raise
            session.ask(wire.load_by_embedding_call(model, **fields), options)
        self._forget_models()

    def unload(self, model: str) -> None:
        """Unload ``model`` if it is in memory. Raises ModelNotFoundError if it is not on disk either."""
        self._change(wire.unload_call(_name(model)))

    def copy(self, source: str, destination: str) -> None:
        """Give the model ``source`` a second name, ``destination``. Raises ModelNotFoundError."""
        self._change(wire.copy_call(_name(source, "source"), _name(destination, "destination")))

    def delete(self, model: str) -> None:
        """Delete ``model`` from the server's disk. Raises ModelNotFoundError if it is not there."""
        self._change(wire.delete_call(_name(model)), gone=model)

    def _change(self, call: Call, gone: str | None = None) -> None:
        session, options = self._for_call(UNSET, UNSET)
        session.ask(call, options)
        self._forget_models(gone)

    def pull(
        self,
        model: str,
        on_progress: OnProgress | None = None,
        *,
        insecure: bool = False,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> None:
        """Download ``model`` and return when it is complete. An interrupted download continues.

        ``on_progress`` is called with the Progress of all parts together; an exception in it ends the download.
        ``insecure`` lets the server use plain HTTP, for a name such as "http://host:port/library/x". Without a
        ``timeout`` the server may be silent for 600 s, as it is while it checks the files. Errors have ``progress``.
        """
        callback = Callback("on_progress", on_progress)
        call = wire.pull_call(_name(model), bool(insecure))
        session, options = self._for_slow_call(timeout, deadline)
        _report(_steps(call, session, options, Meter(), "Call pull() again: it continues the download"), callback)

    def create(
        self,
        model: str,
        *,
        gguf: str | os.PathLike[str] | None = None,
        from_model: str | None = None,
        system: str | None = None,
        template: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> None:
        """Make ``model`` of a GGUF file on this machine, or of another model, and return when it is complete.

        The file is hashed, and sent piece by piece if the server does not have it. ``from_model`` is pulled if it is
        not there. ``system`` and ``template`` become those of the model, ``parameters`` its options, such as
        ``{"num_ctx": 8192}``. ``on_progress``, ``timeout`` and the errors are as of ``pull``.
        """
        callback = Callback("on_progress", on_progress)
        _name(model)
        if (gguf is None) == (from_model is None):
            raise InvalidRequestError("create() needs either gguf= or from_model=", hint="Give one of the two")
        given = _given(system, template, parameters)
        session, options = self._for_slow_call(timeout, deadline)
        meter, digest = Meter(), None
        if from_model is not None:
            _name(from_model, "from_model")
        else:
            digest = self._send_file(gguf, session, options, meter, callback)
        call = wire.create_call(model, digest, from_model, given)
        again = "Call create() again: the server keeps a file that was sent"
        _report(_steps(call, session, options, meter, again), callback)

    def _send_file(
        self, path: object, session: Session, options: CallOptions, meter: Meter, callback: Callback[Progress]
    ) -> str:
        """Send a file if the server does not have it; return its SHA-256."""
        upload = Upload("gguf", path, lambda sent: callback(meter.update("uploading", "uploading", sent, upload.size)))
        sha256 = hashlib.sha256()
        _report(self._hashed(upload, sha256.update, options, meter), callback)
        digest = sha256.hexdigest()
        with contextlib.closing(upload), _with_progress(meter):
            if not _has_file(digest, session, options):
                meter.restart()
                with contextlib.suppress(StoppedError):
                    session.ask(wire.send_file_call(digest, upload), options)
        if upload.failure is not None:
            raise upload.failure
        return digest

    def _hashed(
        self, upload: Upload, update: Callable[[bytes], object], options: CallOptions, meter: Meter
    ) -> Generator[Progress, None, None]:
        """Hash the file, and yield the progress."""
        done = 0
        with _with_progress(meter), contextlib.closing(upload.pieces()) as pieces:
            for piece in pieces:
                self._check_open()
                _check_deadline(options)
                update(piece)
                done += len(piece)
                yield meter.update("hashing", "hashing", done, upload.size)

    def _for_slow_call(self, timeout: Timeout | Unset, deadline: float | Unset | None) -> tuple[Session, CallOptions]:
        """Return the session, and options that let the server be silent for long if no timeout is set."""
        session, options = self._for_call(timeout, deadline)
        if timeout is UNSET and options.config.timeouts is None:
            options = options._replace(timeouts=Timeouts(idle=600.0))
        return session, options

    def _first(
        self, models: Sequence[ModelInfo], options: CallOptions, *wanted: Fits
    ) -> tuple[ModelInfo | None, CallOptions]:
        # A model that runs elsewhere is never chosen, so nothing is asked about it.
        local = asked = [model for model in models if not model.remote]
        session, started = self._session(options.config), time.monotonic()
        limited = options._replace(deadline=Deadline(patience(options), started))
        inquiry = wire.Inquiry(lambda call, read: session.ask(call, limited, read), session.cache.details)
        try:
            if len(local) > 1 and not session.cache.is_completed and any(model.loaded is None for model in local):
                local = inquiry.with_instances(local)
            found = first(local, *wanted, confirm=inquiry.confirm)
        except ProviderError as error:
            error.sent = False  # the call itself was not sent
            raise
        session.cache.complete(asked, inquiry.known(local))
        if inquiry.is_silent:
            options = options._replace(waited_s=options.waited_s + time.monotonic() - started)
        return found, options


def _steps(
    call: Call, session: Session, options: CallOptions, meter: Meter, again: str
) -> Generator[Progress, None, None]:
    """Send ``call`` and yield the progress that the server reports; ``again`` says what to do if it stops midway."""
    try:
        lines = session.events(call, options)
        with _with_progress(meter), session.annotate_errors(call, options), contextlib.closing(lines):
            for line in lines:
                yield meter.update(*wire.progress_line(line))
                if meter.progress.status == "success":
                    return
            raise StreamInterruptedError(
                f"the server stopped at {meter.progress.status!r} with {call.model!r}, before the end",
                hint=again,
                sent=True,
            )
    except ModelNotFoundError as error:
        error.hint = "Check the name and its tag: there is no such model to download"
        raise
    finally:
        session.cache.forget()


def _report(steps: Generator[Progress, None, None], callback: Callback[Progress]) -> None:
    with contextlib.closing(steps):
        for progress in steps:
            callback(progress)


@contextlib.contextmanager
def _with_progress(meter: Meter) -> Iterator[None]:
    """Add the progress to the errors of the block."""
    try:
        yield
    except ProviderError as error:
        error.progress = meter.progress
        raise


def _has_file(digest: str, session: Session, options: CallOptions) -> bool:
    try:
        session.ask(wire.has_file_call(digest), options)
    except StatusError as error:
        if error.status not in (404, 405):  # a proxy may not let HEAD through
            raise
        return False
    return True


def _check_deadline(options: CallOptions) -> None:
    """Raise RequestTimeoutError if the time of the call is over."""
    deadline = options.deadline
    if deadline is not None and deadline.left() <= 0:
        waited_s = time.monotonic() - deadline.started
        raise RequestTimeoutError(
            f"the file was not hashed after {waited_s:.1f} s, and deadline is {deadline.seconds:g} s",
            hint="Raise deadline= (seconds for the whole call), or give None for no limit",
            limit="deadline",
            waited_s=waited_s,
        )


def _given(system: object, template: object, parameters: object) -> dict[str, Any]:
    """Check the system prompt, the template and the parameters of a new model; return those that are given."""
    given = {name: each for name, each in (("system", system), ("template", template)) if each is not None}
    for name, each in given.items():
        if not isinstance(each, str):
            raise InvalidRequestError(f"{name}={preview(each)} is not text")
    if parameters is None:
        return given
    if not isinstance(parameters, Mapping):
        hint = "Give a dict, such as {'num_ctx': 8192}"
        raise InvalidRequestError(f"parameters={preview(parameters)} is not a mapping", hint=hint)
    options = dict(parameters)
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]  # the server takes only a list, and refuses a text when the model is used
    return {**given, "parameters": options}


def _name(model: object, what: str = "model") -> str:
    if not isinstance(model, str) or not model.strip():
        hint = "Give the name of a model, such as qwen3:8b"
        raise InvalidRequestError(f"{what}={preview(model)} is not a name", hint=hint)
    return model


def _tidy(host: str) -> str:
    """Return the base URL that a value of OLLAMA_HOST means, as Ollama's Go client reads it (envconfig)."""
    host = host.strip()
    if host.startswith(":") and not host.startswith("::"):
        return f"127.0.0.1{host}"
    if "://" not in host and not {"[", "@", "/"}.intersection(host) and host.count(":") > 1:
        return f"[{host}]"
    # ollama.com takes the key only over TLS, and has no prefix: correct both.
    cloud = re.fullmatch(r"(?i)(https://)?ollama\.com(:443)?(/+(api|v1)(/.*)?)?/*", host)
    return "https://ollama.com" if cloud else host


@show_options()
class OllamaProvider(OllamaModels):
    """A local Ollama, over its own API.

    Without arguments it is the server at ``$OLLAMA_HOST``, else at ``http://localhost:11434``.
    """

    id = "ollama"
    display_name = "Ollama (Local)"

    _server = ServerInfo(
        name="Ollama",
        dialect=ollama.DIALECT,
        api_key_hash="ollama-local",
        start_hint="Start Ollama with 'ollama serve', or its app",
        remote_hint="Ollama serves only its own machine, unless OLLAMA_HOST=0.0.0.0 is set when it starts there",
        url_hint="and base_url= or OLLAMA_HOST names another server",
        get_hint="Pull one with 'ollama pull MODEL', or with pull('MODEL')",
        context_hint="Send shorter texts, or take a model with a larger context",
        default_model=None,
        any_model_calls_tools=False,
    )
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
        http: PoolManager | None = None,
        max_retries: int = 2,
        models_ttl: float = 300.0,
        refresh: bool = True,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        id: str | None = None,
        **others: NoReturn,
    ) -> None:
        """Make a provider, with the arguments of LMStudioProvider and two more.

        ``num_ctx`` (tokens, also the setting ``ollama_num_ctx``) and ``keep_alive`` (seconds, or text such as "10m")
        are for the calls that do not set them.
        """
        check_keep_alive("keep_alive", keep_alive, ConfigurationError)
        given = {name: value for name, value in locals().items() if name not in ("self", "others", "__class__")}
        super().__init__(**given, **others)

    def _defaults(self, config: Config) -> dict[str, Any]:
        return {"num_ctx": config.num_ctx, "keep_alive": self._arguments["keep_alive"]}

    def version(self) -> str:
        """Return the version of the server, such as "0.33.0"."""
        session, options = self._for_call(UNSET, UNSET)
        call = ollama.version_call()
        value = session.ask(call, options)
        with session.annotate_errors(call, options):
            return ollama.version_reply(value)
