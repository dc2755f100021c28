"""The figures as a picture: a panel for each question, a bar for each client, the quartiles as its whiskers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.report import number, our_name, spread

PANELS = {
    "chat: CPU a call": "CPU of a chat",
    "SSE, a piece a chunk: CPU a piece": "CPU of a streamed piece (chunked)",
    "SSE, close-delimited: CPU a piece": "CPU of a streamed piece (close-delimited)",
    "NDJSON, a piece a chunk: CPU a piece": "CPU of a piece of Ollama (chunked)",
    "latency, chunked: p50": "Latency of a piece, median (chunked)",
    "import: CPU": "CPU of an interpreter that imports it",
    "installed: packages": "Packages that are installed",
    "open stream: memory": "Memory of an open stream",
}
NOT_SHOWN = ("import lmstudio_provider", "from lmstudio_provider import *")  # of the programs that import
LONGEST = 3  # times the second longest bar: a longer one is cut, and its figure says so


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(title, results["samples"][key]) for key, title in PANELS.items() if key in results["samples"]]
    figure, axes = pyplot.subplots(-(-len(panels) // 2), 2, figsize=(12, 2.1 * -(-len(panels) // 2) + 0.8))
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (title, row) in zip(axes.flat, panels):
        draw_panel(axis, title, row)
    about = results["about"]
    figure.suptitle(
        f"lmstudio_provider beside other clients: less is better ({about['date']}, Python {about['Python']})"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_panel(axis: Any, title: str, row: dict[str, Any]) -> None:
    names = [name for name in row["values"] if name not in NOT_SHOWN and ";" not in name]
    spreads = {name: spread(row["values"][name]) for name in names}
    names.sort(key=lambda name: spreads[name].median, reverse=True)
    medians = [spreads[name].median for name in names]
    whiskers = [
        [max(0.0, spreads[name].median - spreads[name].low) for name in names],
        [max(0.0, spreads[name].high - spreads[name].median) for name in names],
    ]
    colors = ["tab:blue" if name == our_name(row) else "lightgray" for name in names]
    longest = LONGEST * sorted(medians)[-2]
    axis.set_xlim(0, 1.15 * min(longest, max(medians)))
    shown = [name.removeprefix("from lmstudio_provider ") for name in names]
    axis.barh(shown, medians, xerr=whiskers, color=colors, error_kw={"elinewidth": 0.8})
    for place, (name, median) in enumerate(zip(names, medians)):
        cut = median > longest
        end, side = (axis.get_xlim()[1], "right") if cut else (spreads[name].high, "left")
        axis.text(end, place, f" {number(median)}{' →' if cut else ''}", va="center", ha=side, fontsize=8)
    axis.set_title(f"{title}, {row['unit']}" if row["unit"] else title, fontsize=10, loc="left")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
