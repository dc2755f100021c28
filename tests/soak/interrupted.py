"""A program in which four threads and the main thread call and stream while Ctrl-C comes at any moment.

    python interrupted.py SECONDS SEED LM_STUDIO_URL OLLAMA_URL

The main thread takes SIGINT, which the parent process sends: mostly as KeyboardInterrupt, sometimes twice, and
sometimes by a handler that makes a call itself. It forks, resets and closes now and then. Prints "ready" when it takes
signals, and at the end the number of each action as JSON. A call that takes too long ends the program with SIGALRM,
after the stacks of all threads. Exits with 1 if an answer was wrong, or if a thread or a descriptor is left.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Callable

from lmstudio_provider import LMStudioProvider, OllamaProvider, ProviderClosedError

ANSWER = "one two three"
THREADS = 4
# All threads load and unload the last one.
MODELS = ["m", "text-embedding-m", "loaded-for-a-while"]
# A call that takes more seconds than this hangs.
PATIENCE_S = 30


class Program:
    """The providers that all threads share, the actions on them, and the failures."""

    def __init__(self, seed: str, urls: list[str]) -> None:
        self.random = random.Random(seed)
        self.makers: list[Callable[[], Any]] = [
            lambda: LMStudioProvider(urls[0], model="m", timeout=PATIENCE_S),
            lambda: OllamaProvider(urls[1], model="m", timeout=PATIENCE_S),
        ]
        self.shared = [make() for make in self.makers]
        self.stopping = threading.Event()
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        # The number of exceptions that the next signals may raise in the main thread.
        self.armed = 0

    # The actions of the threads

    def call(self, provider: Any, rng: random.Random) -> None:
        assert provider.chat("Hi").text == ANSWER

    def stream(self, provider: Any, rng: random.Random) -> None:
        stream = provider.stream("Hi")
        text = "".join(stream.text())
        assert text == ANSWER or stream.completion.finish_reason == "cancelled", text

    def deliver(self, provider: Any, rng: random.Random) -> None:
        texts: list[str] = []
        completion = provider.stream("Hi", lambda chunk: texts.append(chunk.delta))
        assert "".join(texts) == completion.text
        assert completion.text == ANSWER or completion.finish_reason == "cancelled", completion

    def leave(self, provider: Any, rng: random.Random) -> None:
        for chunk in provider.stream("Hi"):
            assert ANSWER.startswith(chunk.delta)
            break

    def forget(self, provider: Any, rng: random.Random) -> None:
        stream = provider.stream("Hi")
        next(stream, None)
        self.kept = stream  # by the last thread that comes here; the other streams are collected

    def close_elsewhere(self, provider: Any, rng: random.Random) -> None:
        """Close a stream by another thread than the one that reads it."""
        with provider.stream("Hi") as stream:
            closer = threading.Thread(target=stream.close)
            closer.start()
            text = "".join(stream.text())
            closer.join()
        assert ANSWER.startswith(text)

    def embed(self, provider: Any, rng: random.Random) -> None:
        assert len(provider.embed(["a", "b"], MODELS[1]).vectors) == 2

    def look(self, provider: Any, rng: random.Random) -> None:
        assert provider.list_models(timeout=PATIENCE_S)
        provider.wait_until_configured(PATIENCE_S)  # False if another thread resets it meanwhile

    def load(self, provider: Any, rng: random.Random) -> None:
        if isinstance(provider, LMStudioProvider):
            with provider.native.loaded(MODELS[2]):
                pass
        else:
            provider.load("m")

    def reset(self, provider: Any, rng: random.Random) -> None:
        provider.reset_client()

    def close(self, provider: Any, rng: random.Random) -> None:
        number = rng.randrange(2)
        old, self.shared[number] = self.shared[number], self.makers[number]()
        old.close()

    def fork(self, provider: Any, rng: random.Random) -> None:
        """Have a child, which has none of the other threads, make calls with the providers as they are."""
        if threading.current_thread() is threading.main_thread():
            self.armed = 0  # the child has to be waited for
        child = os.fork()
        if child == 0:
            self._live_as_child(rng)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"the forked child ended with status {status}"

    def _live_as_child(self, rng: random.Random) -> None:
        code = 1
        try:
            signal.alarm(PATIENCE_S)
            for provider in self.shared:
                for action in (self.call, self.stream, self.leave, self.reset, self.look):
                    try:
                        action(provider, rng)
                    except ProviderClosedError:
                        break  # it was closed just when the fork came
            for provider in self.shared:
                provider.close()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    OFTEN = (call, stream, deliver, leave, forget, close_elsewhere, embed, look, load)
    ACTIONS = (*OFTEN * 3, reset, reset, close, fork)

    def act(self, rng: random.Random) -> None:
        action = rng.choice(self.ACTIONS)
        try:
            action(self, rng.choice(self.shared), rng)
        except ProviderClosedError:
            self.done["closed"] += 1  # by another thread
        except Exception:
            self.failures.append(f"{action.__name__}:\n{traceback.format_exc()}")
        self.done[action.__name__] += 1

    def work(self, seed: float) -> None:
        rng = random.Random(seed)
        while not self.stopping.is_set():
            self.act(rng)

    # The main thread, and its interrupts

    def on_signal(self, number: int, frame: object) -> None:
        if not self.armed:
            return
        self.armed -= 1
        self.done["signals"] += 1
        if self.random.random() < 0.2:
            armed, self.armed = self.armed, 0  # one handler at a time
            self.act(self.random)
            self.armed = armed
        else:
            raise KeyboardInterrupt

    def interruptible(self, rng: random.Random) -> None:
        """Act once; a second interrupt may come while the first is on its way out."""
        try:
            self.armed = rng.choice([1, 1, 2])
            try:
                self.act(rng)
            finally:
                self.armed = 0
        except KeyboardInterrupt:
            self.done["interrupted"] += 1

    def run(self, seconds: float) -> None:
        signal.signal(signal.SIGINT, self.on_signal)
        print("ready", flush=True)
        workers = [threading.Thread(target=self.work, args=[self.random.random()]) for _ in range(THREADS)]
        for worker in workers:
            worker.start()
        self.fork(None, self.random)  # while the others make their first calls
        rng, end = random.Random(self.random.random()), time.monotonic() + seconds
        while time.monotonic() < end:
            signal.alarm(PATIENCE_S)
            self.interruptible(rng)
        signal.alarm(PATIENCE_S)
        self.stopping.set()
        for worker in workers:
            worker.join()
        self.kept = None
        for provider in self.shared:
            provider.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # else a signal during the shutdown would kill Python


def descriptors() -> dict[str, str]:
    """Return the open descriptors by number."""
    folder = Path("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd")
    found = {}
    for path in folder.iterdir():
        try:
            found[path.name] = str(path.readlink()) if folder.parts[1] == "proc" else str(os.fstat(int(path.name)))
        except OSError:
            continue  # the one that reads the folder
    return found


def main() -> int:
    seconds, seed, *urls = sys.argv[1:]
    faulthandler.enable()
    faulthandler.register(signal.SIGALRM, chain=True)
    # Python 3.12 and newer warn that a child may inherit held locks. This tests that it does not.
    warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
    before = descriptors()
    program = Program(seed, urls)
    # An interrupt in a __del__, or in a callback of a weak reference, is printed and ends there.
    sys.unraisablehook = lambda event: (
        program.done.update(["unraisable"])
        if issubclass(event.exc_type, KeyboardInterrupt)
        else program.failures.append(f"{event.err_msg}: {event.exc_value!r} in {event.object!r}")
    )
    threading.excepthook = lambda event: program.failures.append(
        "".join(traceback.format_exception(event.exc_type, event.exc_value, event.exc_traceback))
    )
    program.run(float(seconds))
    for thread in threading.enumerate():
        # Python goes on listing a thread whose start() was interrupted before the thread began: that one has no ident.
        if thread is not threading.main_thread() and thread.ident is not None:
            thread.join(PATIENCE_S / 2)
            program.failures += [f"{thread} is left"] if thread.is_alive() else []
    makers, program.makers, program.shared = program.makers, [], []
    del makers
    gc.collect()
    left = {number: what for number, what in descriptors().items() if before.get(number) != what}
    program.failures += [f"descriptors are left: {left}"] if left else []
    print(json.dumps(program.done), flush=True)
    sys.stderr.write("\n\n".join(program.failures[:10]))
    return 1 if program.failures else 0


if __name__ == "__main__":
    sys.exit(main())
