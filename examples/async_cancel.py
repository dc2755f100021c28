"""Use the package from asyncio: a call runs in a thread, and cancelling the task closes its connection."""

from __future__ import annotations

import asyncio
import sys

from lmstudio_provider import Completion, LMStudioProvider, ProviderError, Stream


def close_it(opening: asyncio.Future[Stream]) -> None:
    if opening.exception() is None:
        opening.result().close()


async def complete(lm: LMStudioProvider, text: str) -> Completion:
    """Return the reply. If the task is cancelled, the server stops generating."""
    opening = asyncio.ensure_future(asyncio.to_thread(lm.stream, text))
    try:
        stream = await asyncio.shield(opening)
    except asyncio.CancelledError:  # the thread still waits for the server, and closes what it gets
        opening.add_done_callback(close_it)
        raise
    try:
        await asyncio.to_thread("".join, stream.text())
    finally:
        stream.close()  # wakes the thread that reads; after the end of the stream it does nothing
    return stream.completion


async def main() -> None:
    with LMStudioProvider() as lm:
        one, other = await asyncio.gather(complete(lm, "Why is the sky blue?"), complete(lm, "Why is grass green?"))
        print(one.text, other.text, sep="\n")

        try:
            await asyncio.wait_for(complete(lm, "Tell me a very long story."), timeout=0.02)
            print("The story was short.")
        except asyncio.TimeoutError:
            print("The story took too long, and was cancelled.")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except ProviderError as error:
        sys.exit(str(error))
