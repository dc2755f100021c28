"""A chat that keeps its messages: within a budget of tokens, saved to a file and loaded from one."""

from __future__ import annotations

import functools
import os
from typing import Any, Callable, Literal, Mapping, Sequence, overload

from .._core.callbacks import Callback
from .._core.checks import FUNCTION, TEXT, Check, check_fields, check_provider, number
from .._core.errors import SHORT, ContextLengthError, InvalidRequestError, ProviderClosedError, preview
from .._core.images import Image
from .._core.messages import Message, Tool
from .._core.options import Unpack, show_options
from .._core.overrides import ToolOverrides
from .._core.requests import ChatRequest
from .._core.types import Chunk, Completion, ToolCall
from .._provider.stream import Stream
from .conversation_file import Turn, grouped, read_conversation, text_of, write_conversation
from .tool_turn import Interruptible, ToolTurn
from .tools import Chats, ToolEvent, listed, tool_steps

# Estimates: the tokens of a message besides its text (role and separators), and of an image.
_MESSAGE_TOKENS = 4
_IMAGE_TOKENS = 1000


_TOKENS = number(1, whole=True)
_BUDGET = Check(lambda value: value == "context" or _TOKENS.fits(value), f"{_TOKENS.problem}, or 'context'")
_CHECKS = {"system_prompt": TEXT, "token_budget": _BUDGET, "count_tokens": FUNCTION}


class TurnOptions(ToolOverrides, total=False):
    """Keyword arguments of ``ask`` and ``stream`` of a Conversation."""

    tools: Sequence[Tool | Callable[..., Any]]
    max_rounds: int
    confirm: Callable[[ToolCall], object] | None
    on_event: Callable[[ToolEvent], object] | None


_OF_TURN = frozenset(TurnOptions.__annotations__).difference(ToolOverrides.__annotations__)


class _Defaults(ChatRequest):
    max_rounds = 10
    confirm = on_event = None


@show_options(_Defaults)
class Conversation:
    """A chat with ``provider`` that sends all messages each time.

    A turn is a question and everything up to its answer. It is kept when its answer is complete: a call that fails
    leaves the conversation unchanged. If a stream is closed or interrupted by Ctrl-C, the text so far is kept as the
    answer. If tools were called in a turn, the calls, their results and the text so far are always kept, so that no
    tool is called twice for them. Turns are added one at a time, from any thread.

    ``token_budget`` limits the messages that are sent, and that ``messages`` shows: the oldest turns are left out, each
    as a whole, but stay in the conversation. ``count_tokens(text)`` counts tokens; without it they are estimated, one
    for three bytes of UTF-8. Leave room for the answer.

    ``token_budget="context"`` is three quarters of ``provider.context_length()``, which leaves a quarter to the answer.
    The provider counts, with ``count_tokens()``, so a question that follows others costs two or more further requests.
    Nothing is left out if the context is not known, as before the model is loaded. ``messages`` shows all turns.
    """

    def __init__(
        self,
        provider: Chats,
        system_prompt: str | None = None,
        token_budget: int | Literal["context"] | None = None,
        *,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        check_provider("Conversation", provider)
        own = {"system_prompt": system_prompt, "token_budget": token_budget, "count_tokens": count_tokens}
        check_fields(own, _CHECKS)
        for name in ("context_length", "count_tokens") if isinstance(token_budget, str) else ():
            if not callable(getattr(provider, name, None)) and own.get(name) is None:
                what = f"token_budget='context' needs {name}() of the provider, and {type(provider).__name__} has none"
                raise InvalidRequestError(what, hint="Give the budget as a number of tokens")
        self.provider = provider
        self.system_prompt = system_prompt
        self.token_budget = token_budget
        self._count = count_tokens or _estimate
        self._provider_counts = count_tokens is None
        # Each is added by one atomic operation, because a fork could leave a lock locked.
        self._turns: list[Turn] = []

    def __repr__(self) -> str:
        turns, who = list(self._turns), getattr(self.provider, "id", None) or type(self.provider).__name__
        last = f", the last {preview(text_of(turns[-1][0]), SHORT)}" if turns else ""
        return f"<{type(self).__name__} with {who}, {len(turns)} turns{last}>"

    @property
    def messages(self) -> tuple[Message, ...]:
        """The system prompt, then the turns that fit into a budget of that many tokens; without one, all.

        ``add``, ``undo`` and ``clear`` change them.
        """
        return tuple(self._with((), {}))

    def add(self, *messages: Message | Mapping[str, Any] | str) -> None:
        """Add messages from elsewhere: Messages, dicts in OpenAI's form, or texts of the user.

        Each message of the user begins a turn. If there is no ``system_prompt`` yet, a system message that comes first
        becomes it; any other belongs to the question after it. Raises InvalidRequestError for a tool result without a
        call, and adds nothing then.
        """
        added = [_message(position, message) for position, message in enumerate(messages)]
        count = len(self._turns)
        begin = max(0, count - 1)  # the first messages may belong to the last turn
        self.system_prompt, turns = grouped(added, self.system_prompt, self._turns[begin:count])
        self._turns[begin:count] = turns

    def undo(self) -> tuple[Message, ...]:
        """Remove the last turn and return its messages; without a turn, return an empty tuple."""
        try:
            return self._turns.pop()
        except IndexError:
            return ()

    def clear(self) -> None:
        """Remove all turns; the ``system_prompt`` stays."""
        self._turns.clear()

    def ask(
        self,
        text: str,
        images: Image | Sequence[Image] = (),
        *,
        on_chunk: Callable[[Chunk], object] | None = None,
        **options: Unpack[TurnOptions],
    ) -> Completion:
        """Send ``text`` and return the answer. ``tools`` are called as by ``run_tools``, and kept in the turn.

        ``on_event`` is called with a ToolEvent for each step. With ``on_chunk`` the answer is streamed, as by
        ``stream``. Further keyword arguments and errors are those of ``chat``.
        """
        if on_chunk is not None:
            return self.stream(text, images, on_chunk=on_chunk, **options)
        question = Message.user(text, images)
        if _has_steps(options):
            return self._run(question, False, options)._deliver(lambda chunk: None)
        try:
            completion = self.provider.chat(self._with((question,), options), **_of_call(options))
        except Warning as warning:
            self._keep_answer(question, getattr(warning, "partial", None), warning)
            raise
        self._keep_answer(question, completion, None)
        return completion

    @overload
    def stream(
        self, text: str, images: Image | Sequence[Image] = (), *, on_chunk: None = None, **options: Unpack[TurnOptions]
    ) -> Stream: ...

    @overload
    def stream(
        self,
        text: str,
        images: Image | Sequence[Image] = (),
        *,
        on_chunk: Callable[[Chunk], object],
        **options: Unpack[TurnOptions],
    ) -> Completion: ...

    def stream(
        self,
        text: str,
        images: Image | Sequence[Image] = (),
        *,
        on_chunk: Callable[[Chunk], object] | None = None,
        **options: Unpack[TurnOptions],
    ) -> Stream | Completion:
        """Send ``text`` and return the stream of the answer, which is kept when the stream ends.

        With ``on_chunk``, call it for each chunk and return the whole answer. With ``tools``, the stream goes on until
        the model answers in words, and ``completion`` is that last answer. It yields the chunks of all rounds, a call
        before the call is made, and calls the tools in the thread that reads it. Such a stream sends its first request
        when it is first read.
        """
        callback = Callback("on_chunk", on_chunk)
        question = Message.user(text, images)
        if _has_steps(options):
            stream = self._run(question, True, options)
        else:
            stream = self.provider.stream(self._with((question,), options), **_of_call(options))
            stream._keep_with(functools.partial(self._keep_answer, question))
        return stream if on_chunk is None else stream._deliver(callback)

    def _run(self, question: Message, stream: bool, options: TurnOptions) -> Stream:
        """Return the answers to ``question`` as one stream; without ``stream`` each answer is one step."""
        tools, rounds, confirm = options.get("tools"), options.get("max_rounds", 10), options.get("confirm")
        model, callback = options.get("model") or "", Callback("on_event", options.get("on_event"))
        transcript: list[Message] = []
        provider, offered = Interruptible(self.provider), listed(tools) if tools else []
        given = self._with((question,), options)
        steps = tool_steps(provider, given, offered, rounds, stream, confirm, transcript, _of_call(options))
        turn = ToolTurn(question, transcript, steps, callback)
        provider_id, response_format = str(getattr(self.provider, "id", "")), options.get("response_format")
        answers = turn.stream(model, provider_id, response_format, provider.interrupt)

        def keep(answer: Completion, error: BaseException | None) -> None:
            whole = getattr(error, "partial", None) or answer  # of a Warning, if each answer is one step
            self._keep(turn.messages(whole.text, _failed(error)))

        answers._keep_with(keep)
        return answers

    def _keep_answer(self, question: Message, completion: Completion | None, error: BaseException | None) -> None:
        if completion and not _failed(error) and (completion.text or completion.finish_reason != "cancelled"):
            # A structured answer may have been read from the reasoning.
            text = completion.text or (completion.reasoning if completion.parsed is not None else "")
            self._keep((question, Message.assistant(text)))

    def _keep(self, turn: tuple[Message, ...]) -> None:
        """Add a turn, unless it is empty or there already, because after Ctrl-C this may be called again."""
        if turn and not any(each[0] is turn[0] for each in self._turns):
            self._turns.append(turn)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all turns to a file as JSON with messages in OpenAI's form; on an error, the old file stays.

        Only its owner can read a new file. Raises ConfigurationError if it cannot be written.
        """
        write_conversation(path, self.system_prompt, list(self._turns))

    def load(self, path: str | os.PathLike[str]) -> Conversation:
        """Replace the system prompt and the turns by those of a saved conversation, and return this object.

        Raises ConfigurationError if the file cannot be read or is not a conversation, and changes nothing then.
        """
        if not isinstance(self, Conversation):
            raise InvalidRequestError("load() is called on a conversation", hint="Write Conversation(lm).load(path)")
        self.system_prompt, self._turns = read_conversation(path)
        return self

    def _with(self, new: tuple[Message, ...], options: TurnOptions) -> list[Message]:
        """Return the messages to send: the latest turns that fit into the budget, and the messages in ``new``."""
        turns = list(self._turns)
        if isinstance(self.token_budget, str):
            turns = self._within_context(turns, new, options) if turns and new else turns
        elif self.token_budget is not None:
            turns = self._latest(turns, new, self.token_budget)
        return self._joined(turns, new)

    def _joined(self, turns: Sequence[Turn], new: tuple[Message, ...]) -> list[Message]:
        system = [] if self.system_prompt is None else [Message.system(self.system_prompt)]
        return [*system, *(message for turn in turns for message in turn), *new]

    def _within_context(self, turns: list[Turn], new: tuple[Message, ...], options: TurnOptions) -> list[Turn]:
        """Return the latest turns that leave a quarter of the model's context to the answer."""
        provider: Any = self.provider  # it has these methods, as was checked
        model, tier = options.get("model"), options.get("tier")
        model = model or (provider.resolve_model(tier) if tier else None)
        patience = {"timeout": options["timeout"]} if "timeout" in options else {}
        context = options.get("num_ctx") or provider.context_length(model, **patience)
        if context is None:
            return turns
        budget = context * 3 // 4
        if not self._provider_counts:
            return self._latest(turns, new, budget)
        given = {**_of_call(options), "tools": options.get("tools") or ()}
        while turns:
            messages = self._joined(turns, new)
            try:
                counted = provider.count_tokens(messages, **given)
            except ContextLengthError:
                counted = 2 * context  # the server does not say how long it is
            if counted <= budget:
                break
            # The estimate is wrong by about the same factor for the turns that stay.
            estimated = sum(map(self._tokens, messages)) * budget // counted
            turns = self._latest(turns[1:], new, estimated)
        return turns

    def _latest(self, turns: list[Turn], new: tuple[Message, ...], budget: int) -> list[Turn]:
        """Return the latest turns that fit into the budget together with the messages in ``new``."""
        left = budget - sum(map(self._tokens, self._joined((), new)))
        first = len(turns)
        while first:
            left -= sum(self._tokens(message) for message in turns[first - 1])
            # The last turn is always shown, until there is a new question.
            if left < 0 and (new or first < len(turns)):
                break
            first -= 1
        return turns[first:]

    def _tokens(self, message: Message) -> int:
        parts = [{"text": message.content or ""}] if isinstance(message.content, (str, type(None))) else message.content
        texts = [str(part.get("text", "")) for part in parts] + [call.raw_arguments for call in message.tool_calls]
        images = sum("text" not in part for part in parts)
        return sum(map(self._count, texts)) + images * _IMAGE_TOKENS + _MESSAGE_TOKENS


def _has_steps(options: TurnOptions) -> bool:
    return bool(options.get("tools")) or options.get("on_event") is not None


def _of_call(options: TurnOptions) -> Any:
    """Return the options of the calls to the provider."""
    return {name: value for name, value in options.items() if name not in _OF_TURN}


def _message(position: int, message: object) -> Message:
    if isinstance(message, str):
        return Message.user(message)
    if isinstance(message, Mapping):
        return Message.from_dict(message)
    if not isinstance(message, Message):
        hint = "Write add(*messages)" if isinstance(message, (list, tuple)) else ""
        what = f"add: the argument {position} is {type(message).__name__}, not a Message, a dict or a text"
        raise InvalidRequestError(what, hint=hint)
    return message


def _estimate(text: str) -> int:
    """Return a high estimate of the tokens of a text: English has about four bytes a token, other languages fewer."""
    return -(-len(text.encode("utf-8", "replace")) // 3)


def _failed(error: BaseException | None) -> bool:
    """Return True if the reply broke off.

    If the provider was closed, the reader had left the stream before; if the user turns warnings into errors, the
    reply is whole.
    """
    return not isinstance(error, (ProviderClosedError, Warning, type(None)))
