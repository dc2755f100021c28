"""A chat that LM Studio remembers."""

from __future__ import annotations

from typing import Any, Callable, Protocol, Sequence, cast

from .._core.errors import InvalidRequestError, ProtocolError
from .._core.images import Image
from .._core.options import Unpack, show_options
from .._core.reasoning import renamed
from .._core.requests import check_name, override
from .native import Native
from .stream import NativeStream
from .types import ELSEWHERE, NativeCompletion, NativeRequest, TurnOptions


class HasNative(Protocol):
    """The part of an LMStudioProvider that a NativeConversation uses."""

    @property
    def id(self) -> str: ...

    @property
    def native(self) -> Native: ...


@show_options(NativeRequest)
class NativeConversation:
    """A chat over ``lm.native``. Each turn sends only the new text, because the server keeps the rest.

    ``options`` are keyword arguments of ``native.chat`` for every turn. ``response_id`` is that of the last turn; save
    it to go on with the chat later, in a new ``NativeConversation(lm, response_id=...)``. A turn that fails does not
    change it. Take one turn at a time: after two at once, the chat goes on from the one that ended last.
    """

    def __init__(
        self,
        provider: HasNative,
        system_prompt: str | None = None,
        *,
        response_id: str | None = None,
        **options: Unpack[TurnOptions],
    ) -> None:
        if not isinstance(getattr(provider, "native", None), Native):
            raise InvalidRequestError(
                f"NativeConversation got {type(provider).__name__}, not an LMStudioProvider",
                hint="Write NativeConversation(lm, system_prompt)",
            )
        check_name("response_id", response_id)
        self.provider = provider
        self.system_prompt = system_prompt
        self.response_id = response_id
        limits = {name: value for name, value in options.items() if name in ("timeout", "deadline")}
        given = {name: value for name, value in _checked(options).items() if name not in limits}
        request = override(NativeRequest("", system_prompt=system_prompt), ELSEWHERE, **given)
        # The checked values, because an iterator can be read only once.
        self._options: dict[str, Any] = {**limits, **{name: getattr(request, name) for name in given}}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self.provider.id}, response_id {self.response_id!r}>"

    def ask(self, text: str, images: Image | Sequence[Image] = (), **options: Unpack[TurnOptions]) -> NativeCompletion:
        """Say ``text`` and return the answer. Raises ResponseNotFoundError if the server has forgotten the chat."""
        completion = _stored(self.provider.native.chat(text, **self._turn(images, options)))
        self._go_on(completion, None)
        return completion

    def stream(
        self,
        text: str,
        images: Image | Sequence[Image] = (),
        *,
        on_progress: Callable[[str, float], object] | None = None,
        **options: Unpack[TurnOptions],
    ) -> NativeStream:
        """Say ``text`` and return the stream of the answer; the chat goes on from it when it has been read whole.

        A stream that is left early, or interrupted by Ctrl-C, is not part of the chat, because the server keeps only
        whole answers.
        """
        stream = self.provider.native._stream(text, on_progress, self._turn(images, options), _stored)
        stream._keep_with(self._go_on)
        return stream

    def branch(self) -> NativeConversation:
        """Return another conversation that goes on from here; neither sees the later turns of the other."""
        return NativeConversation(self.provider, self.system_prompt, response_id=self.response_id, **self._options)

    def _turn(self, images: Any, options: TurnOptions) -> dict[str, Any]:
        turn: dict[str, Any] = {**self._options, **_checked(options), "images": images}
        if self.response_id is not None:
            turn["previous_response_id"] = self.response_id
        elif self.system_prompt is not None:
            # Only in the first turn: later it would be a second system message, which strict chat templates refuse
            # (LM Studio bug-tracker 2219).
            turn["system_prompt"] = self.system_prompt
        return turn

    def _go_on(self, completion: NativeCompletion, error: BaseException | None) -> None:
        if error is None and completion.response_id is not None:
            self.response_id = completion.response_id


def _stored(completion: NativeCompletion) -> NativeCompletion:
    if completion.response_id is None:
        raise ProtocolError(
            "the server did not store its answer, so that the conversation cannot go on from it",
            hint=".partial is the answer",
            sent=True,
            partial=completion,
        )
    return completion


def _checked(options: TurnOptions) -> TurnOptions:
    for name in ("store", "previous_response_id", "system_prompt", "images"):
        if name in options:
            raise InvalidRequestError(f"a NativeConversation sets {name!r} itself")
    return cast(TurnOptions, renamed(options))
