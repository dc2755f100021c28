"""A chat that remembers: turn by turn, within a budget of tokens, saved and loaded."""

from __future__ import annotations

import functools
import os
from typing import Any, Callable, Mapping, Sequence, overload

from .._core.callbacks import Callback
from .._core.checks import FUNCTION, TEXT, check_fields, number
from .._core.errors import InvalidRequestError, ProviderClosedError
from .._core.images import Image
from .._core.messages import Message, Tool
from .._core.options import Unpack, show_options
from .._core.overrides import ToolOverrides
from .._core.requests import ChatRequest
from .._core.types import Chunk, Completion, ToolCall, abridged
from .._provider.stream import Stream
from .conversation_file import grouped, read_conversation, text_of, write_conversation
from .tool_turn import Interruptible, ToolTurn
from .tools import Chats, ToolEvent, check_provider, listed, tool_steps

# What a message takes beside its text (role and separators), and what an image takes, in tokens; both roughly.
_MESSAGE_TOKENS = 4
_IMAGE_TOKENS = 1000


_CHECKS = {"system_prompt": TEXT, "token_budget": number(1, whole=True), "count_tokens": FUNCTION}


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
    """A chat with ``provider``, which is sent the conversation each time.

    A turn is a question and all up to its answer. It is kept when its answer is there: a call that fails leaves the
    conversation as it was. Of a stream that is closed or interrupted by Ctrl-C, what came is kept as the answer; of a
    turn in which tools were called, these calls and their results are kept wherever it ends, so that nothing is called
    twice. Turns are added one at a time, whichever thread asks.

    ``token_budget`` bounds what is sent, and shown as ``messages``: the oldest turns are left out whole, and kept all
    the same. Tokens are counted by ``count_tokens(text)``, or estimated at one for three bytes of UTF-8; leave room for
    the answer.
    """

    def __init__(
        self,
        provider: Chats,
        system_prompt: str | None = None,
        *,
        token_budget: int | None = None,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        check_provider("Conversation", provider)
        own = {"system_prompt": system_prompt, "token_budget": token_budget, "count_tokens": count_tokens}
        check_fields(own, _CHECKS)
        self.provider = provider
        self.system_prompt = system_prompt
        self.token_budget = token_budget
        self._count = count_tokens or _estimate
        # They are added by one operation each, which is atomic: no lock that a fork could leave locked.
        self._turns: list[tuple[Message, ...]] = []

    def __repr__(self) -> str:
        turns, who = list(self._turns), getattr(self.provider, "id", None) or type(self.provider).__name__
        last = f", the last {abridged(text_of(turns[-1][0]))}" if turns else ""
        return f"<{type(self).__name__} with {who}, {len(turns)} turns{last}>"

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as it is sent: the system prompt, then the turns that fit into the budget.

        ``add``, ``undo`` and ``clear`` change it. Without a budget it is all that is kept.
        """
        return tuple(self._with(()))

    def add(self, *messages: Message | Mapping[str, Any] | str) -> None:
        """Add what was said elsewhere: messages, dicts in OpenAI's form, or texts of the user.

        Each message of the user begins a turn. A system message that comes first is the ``system_prompt``, unless
        there is one; any other goes with the question after it. Raises InvalidRequestError, and adds nothing, for the
        result of a tool that no call waits for.
        """
        added = [_message(position, message) for position, message in enumerate(messages)]
        count = len(self._turns)
        begin = max(0, count - 1)  # what is added may belong to the last turn
        self.system_prompt, turns = grouped(added, self.system_prompt, self._turns[begin:count])
        self._turns[begin:count] = turns

    def undo(self) -> tuple[Message, ...]:
        """Remove the last turn, and return its messages; there are none if there was no turn."""
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
        """Say ``text`` and return the answer; with ``tools``, they are run as by ``run_tools``, and kept in the turn.

        ``on_event`` is given a ToolEvent for each step. With ``on_chunk`` the answer is streamed, as by ``stream``.
        Further keyword arguments, and what is raised, are as in ``chat``.
        """
        if on_chunk is not None:
            return self.stream(text, images, on_chunk=on_chunk, **options)
        question = Message.user(text, images)
        if _has_steps(options):
            return self._run(question, False, options)._deliver(lambda chunk: None)
        completion = self.provider.chat(self._with((question,)), **_of_call(options))
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
        """Say ``text`` and return the stream of the answer, which is kept when the stream is over.

        With ``on_chunk``, that is called for each chunk, and the whole answer returned. With ``tools`` the stream goes
        on until there is an answer in words: the chunks of all rounds come, those with calls before they are made, in
        the thread that reads the stream; ``completion`` is the last answer. Such a stream asks when it is first read.
        """
        callback = Callback("on_chunk", on_chunk)
        question = Message.user(text, images)
        if _has_steps(options):
            stream = self._run(question, True, options)
        else:
            stream = self.provider.stream(self._with((question,)), **_of_call(options))
            stream._keep_with(functools.partial(self._keep_answer, question))
        return stream if on_chunk is None else stream._deliver(callback)

    def _run(self, question: Message, stream: bool, options: TurnOptions) -> Stream:
        """Return the answers to ``question``, calls of tools between them; without ``stream`` each in one piece."""
        tools, rounds, confirm = options.get("tools"), options.get("max_rounds", 10), options.get("confirm")
        model, tell = options.get("model") or "", Callback("on_event", options.get("on_event"))
        transcript: list[Message] = []
        provider, offered = Interruptible(self.provider), listed(tools) if tools else []
        given = self._with((question,))
        steps = tool_steps(provider, given, offered, rounds, stream, confirm, transcript, _of_call(options))
        turn = ToolTurn(question, transcript, steps, tell)
        answers = turn.stream(model, str(getattr(self.provider, "id", "")), provider.interrupt)
        answers._keep_with(lambda answer, error: self._keep(turn.messages("" if _failed(error) else answer.text)))
        return answers

    def _keep_answer(self, question: Message, completion: Completion, error: BaseException | None) -> None:
        if not _failed(error) and (completion.text or completion.finish_reason != "cancelled"):
            # An answer that was read from the reasoning is one.
            text = completion.text or (completion.reasoning if completion.parsed is not None else "")
            self._keep((question, Message.assistant(text)))

    def _keep(self, turn: tuple[Message, ...]) -> None:
        """Add a turn, if there is anything in it; once, because Ctrl-C may have this called again."""
        if turn and not any(each[0] is turn[0] for each in self._turns):
            self._turns.append(turn)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all turns to a file, whole or not at all, as JSON with messages in OpenAI's form.

        A new file is readable by its owner alone. Raises ConfigurationError if it cannot be written.
        """
        write_conversation(path, self.system_prompt, list(self._turns))

    def load(self, path: str | os.PathLike[str]) -> Conversation:
        """Go on with a conversation that was saved: replaces system prompt and messages, and returns itself.

        Raises ConfigurationError if the file cannot be read or is not a conversation; nothing has changed then.
        """
        if not isinstance(self, Conversation):
            raise InvalidRequestError("load() is called on a conversation", hint="Write Conversation(lm).load(path)")
        self.system_prompt, self._turns = read_conversation(path)
        return self

    def _with(self, new: tuple[Message, ...]) -> list[Message]:
        system = [] if self.system_prompt is None else [Message.system(self.system_prompt)]
        return [*system, *(message for turn in self._kept(new) for message in turn), *new]

    def _kept(self, new: tuple[Message, ...]) -> list[tuple[Message, ...]]:
        """The latest turns that fit into the budget beside what is ``new``."""
        turns = list(self._turns)
        if self.token_budget is None:
            return turns
        left = self.token_budget - sum(self._tokens(message) for message in new)
        left -= 0 if self.system_prompt is None else self._tokens(Message.system(self.system_prompt))
        first = len(turns)
        while first:
            left -= sum(self._tokens(message) for message in turns[first - 1])
            # The turn that was just had is shown, whatever its size, until there is a new one.
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
    """Tokens of a text, on the safe side: English has about four bytes to a token, other languages fewer."""
    return -(-len(text.encode("utf-8", "replace")) // 3)


def _failed(error: BaseException | None) -> bool:
    """Return True for a stream that broke; one whose provider was closed was left by its reader before."""
    return error is not None and not isinstance(error, ProviderClosedError)
