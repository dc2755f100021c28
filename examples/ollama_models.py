"""List the models of an Ollama, and make one from a GGUF file, or from the first model that can chat."""

from __future__ import annotations

import sys

from lmstudio_provider import OllamaProvider, Progress, ProviderError


def show(progress: Progress) -> None:
    """Write the progress, over and over on one line."""
    line = f"{progress.status}: {progress.completed_bytes / 1e6:.1f} MB"
    if progress.seconds_left is not None:
        line += f", {progress.seconds_left:.0f} s left"
    print(f"\r{line:70}", end="", flush=True)


def main() -> None:
    with OllamaProvider() as ollama:
        for model in ollama.list_models():
            where = "runs elsewhere" if model.remote else "in memory" if model.loaded else "on disk"
            print(f"{model.id}: {model.type}, {where}, at most {model.max_context_length} tokens")
        if sys.argv[1:]:
            ollama.create("brief", gguf=sys.argv[1], system="Answer in one sentence.", on_progress=show)
        else:
            ollama.create("brief", from_model=ollama.resolve_model(), system="Answer in one sentence.")
        ollama.load("brief", num_ctx=2048, keep_alive="1m")
        for instance in ollama.ps():
            print(f"\n{instance.id} holds {instance.context_length} tokens until {instance.config['expires_at']}")
        print(ollama.complete("Why is the sky blue?", model="brief").text)
        ollama.unload("brief")
        ollama.delete("brief")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
