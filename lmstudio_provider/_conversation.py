"""A chat that remembers: turn by turn, within a budget of tokens, saved and loaded."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from ._exceptions import ConfigurationError, InvalidRequestError
from ._files import write_whole
from ._images import Image
from ._json import loads
from ._messages import Message, Tool
from ._options import Unpack, show_options
from ._overrides import ToolOverrides
from ._requests import ChatRequest
from ._stream import Stream
from ._tools import Chats, run_tools
from ._types import Completion, ToolCall

# What a message takes beside its text (role and separators), and what an image takes, in tokens; both roughly.
_MESSAGE_TOKENS = 4
_IMAGE_TOKENS = 1000


@show_options(ChatRequest)
class Conversation:
    """A chat with ``provider``, which is sent all of it each time.

    ``token_budget`` bounds what is sent, shown and saved: the oldest turns (a question, and all up to its answer) are
    dropped whole. Tokens are counted by ``count_tokens(text)``, or estimated at one for three bytes of UTF-8; leave
    room for the answer. A turn is kept when its answer is there: a call that fails leaves the conversation as it was.
    Turns are added one at a time, whichever thread asks.
    """

    def __init__(
        self,
        provider: Chats,
        system_prompt: str | None = None,
        *,
        token_budget: int | None = None,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        if not hasattr(provider, "chat"):
            raise InvalidRequestError(
                f"Conversation got {type(provider).__name__}, not a provider",
                hint="Write Conversation(lm, system_prompt)",
            )
        if system_prompt is not None and not isinstance(system_prompt, str):
            raise InvalidRequestError(f"system_prompt is {type(system_prompt).__name__}, not text")
        if token_budget is not None and (
            isinstance(token_budget, bool) or not isinstance(token_budget, int) or token_budget < 1
        ):
            raise InvalidRequestError(f"token_budget={token_budget!r} is no whole number of at least 1")
        if count_tokens is not None and not callable(count_tokens):
            raise InvalidRequestError(f"count_tokens={count_tokens!r} cannot be called")
        self.provider = provider
        self.system_prompt = system_prompt
        self.token_budget = token_budget
        self._count = count_tokens or _estimate
        # Turns are only ever added, which is atomic: no lock that a fork could leave locked.
        self._turns: list[tuple[Message, ...]] = []

    @property
    def messages(self) -> list[Message]:
        """The conversation as it is sent: the system prompt, then the turns that fit into the budget."""
        return self._with(())

    def ask(
        self,
        text: str,
        images: Image | Sequence[Image] = (),
        *,
        tools: Sequence[Tool | Callable[..., Any]] = (),
        max_rounds: int = 10,
        confirm: Callable[[ToolCall], object] | None = None,
        **overrides: Unpack[ToolOverrides],
    ) -> Completion:
        """Say ``text`` and return the answer; with ``tools``, they are run as by ``run_tools``, and kept in the turn.

        Further keyword arguments, and what is raised, are as in ``chat``.
        """
        question = Message.user(text, images)
        messages = self._with((question,))
        if tools:
            completion, transcript = run_tools(
                self.provider, messages, tools, max_rounds=max_rounds, confirm=confirm, **overrides
            )
            answer = [message for message in transcript[len(messages) :] if isinstance(message, Message)]
        else:
            completion = self.provider.chat(messages, **overrides)
            # An answer that was read from the reasoning is one.
            answer = [Message.assistant(completion.text or (completion.reasoning if completion.parsed else ""))]
        self._turns.append((question, *answer))
        return completion

    def stream(self, text: str, images: Image | Sequence[Image] = (), **overrides: Unpack[ToolOverrides]) -> Stream:
        """Say ``text`` and return the stream of the answer, which is kept when the stream is over.

        Of a stream that was closed early, what came is kept as the answer; of one that broke, nothing.
        """
        if "on_chunk" in overrides:
            raise InvalidRequestError(
                "stream() of a conversation takes no on_chunk", hint="Iterate over what it returns"
            )
        question = Message.user(text, images)

        def over(completion: Completion, error: BaseException | None) -> None:
            if error is None and (completion.text or completion.finish_reason != "cancelled"):
                self._turns.append((question, Message.assistant(completion.text)))

        stream = self.provider.stream(self._with((question,)), **overrides)
        stream.add_done_callback(over)
        return stream

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the conversation to a file, whole or not at all, as JSON with messages in OpenAI's form.

        A new file is readable by its owner alone. Raises ConfigurationError where it cannot be written.
        """
        turns = [message.as_dict() for turn in self._kept(()) for message in turn]
        content = {"system_prompt": self.system_prompt, "messages": turns}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        if not text.isprintable() and re.search("[\ud800-\udfff]", text):  # half a character, which UTF-8 has not
            text = json.dumps(content, indent=2)
        try:
            write_whole(path, text + "\n")
        except (OSError, ValueError, TypeError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"cannot write the conversation to {path!r}: {why}") from error

    def load(self, path: str | os.PathLike[str]) -> Conversation:
        """Go on with a conversation that was saved: replaces system prompt and messages, and returns itself.

        Raises ConfigurationError where the file cannot be read or is no conversation; nothing has changed then.
        """
        if not isinstance(self, Conversation):
            raise InvalidRequestError("load() is called on a conversation", hint="Write Conversation(lm).load(path)")
        try:
            content = loads(Path(path).read_text(encoding="utf-8"))
            system_prompt, turns = _read(content)
        except (OSError, ValueError, TypeError, RecursionError, InvalidRequestError) as error:
            why = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
            raise ConfigurationError(f"cannot read a conversation from {path!r}: {why}") from error
        self.system_prompt, self._turns = system_prompt, turns
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


def _estimate(text: str) -> int:
    """Tokens of a text, on the safe side: English has about four bytes to a token, other languages fewer."""
    return -(-len(text.encode("utf-8", "replace")) // 3)


def _read(content: object) -> tuple[str | None, list[tuple[Message, ...]]]:
    """System prompt and turns of a file; raises InvalidRequestError."""
    if not isinstance(content, Mapping) or not isinstance(content.get("messages"), list):
        raise InvalidRequestError("it has no list 'messages'")
    system_prompt = content.get("system_prompt")
    if not isinstance(system_prompt, (str, type(None))):
        raise InvalidRequestError("its 'system_prompt' is no text")
    turns: list[list[Message]] = []
    for message in map(Message.from_dict, content["messages"]):
        if message.role == "user":
            turns.append([message])
        elif not turns or message.role == "system":
            raise InvalidRequestError(f"its message of role {message.role!r} does not follow one of the user")
        else:
            turns[-1].append(message)
    for turn in turns:
        if turn[-1].role != "assistant":
            raise InvalidRequestError(f"its question {str(turn[0].content)[:50]!r} has no answer")
    return system_prompt, [tuple(turn) for turn in turns]
