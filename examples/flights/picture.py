"""How long the look-ups took, and how many there were at a time: one picture, drawn by matplotlib."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flights.questions import Answer

BLUE, RED, GREY = "#2f6db3", "#c2452d", "#666666"


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that *percent* of the *ordered* ones do not exceed."""
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def draw(answers: Sequence[Answer], title: str, each: float, path: Path) -> bool:
    """Draw *answers*, in the order of their time, into the file *path*; False if matplotlib is not installed.

    *each* is how many seconds the same look-ups took by `execute_each`: a line beside the threads' throughput.
    """
    try:
        figure = importlib.import_module("matplotlib.figure").Figure(figsize=(12, 4.6), layout="constrained")
    except ImportError:  # the demo runs without it
        return False
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    _latencies(left, sorted(answer.seconds * 1000 for answer in answers))
    _throughput(right, [answer.at for answer in answers], min(answer.at - answer.seconds for answer in answers), each)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_formatter("{x:,.0f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return True


def _latencies(axes: Any, milliseconds: Sequence[float]) -> None:
    middle, late = percentile(milliseconds, 50), percentile(milliseconds, 99)
    end = max(percentile(milliseconds, 99.9), late * 1.05)
    axes.hist([value for value in milliseconds if value <= end], bins=80, range=(0, end), color=BLUE)
    beyond = sum(value > end for value in milliseconds)
    axes.set_title("Latency of a look-up, waiting for a connection included", loc="left")
    axes.set_xlabel(f"milliseconds ({beyond:,} of {len(milliseconds):,} took longer, at most {milliseconds[-1]:.1f})")
    axes.set_ylabel("look-ups")
    axes.set_xlim(0, end)
    top = axes.get_ylim()[1]
    for value, name, color in ((middle, "p50", GREY), (late, "p99", RED)):
        axes.axvline(value, color=color, linewidth=1.5)
        axes.text(value, top * 0.97, f" {name} {value:.2f} ms", color=color, va="top", fontweight="bold")


def _throughput(axes: Any, times: Sequence[float], began: float, each: float) -> None:
    ended = times[-1]
    bins = max(min(40, len(times) // 50), 1)
    width = (ended - began) / bins
    counts = [0] * bins
    for time in times:
        counts[min(int((time - began) / width), bins - 1)] += 1
    rates = [count / width for count in counts]
    mean, by_each = len(times) / (ended - began), len(times) / each
    axes.stairs(rates, [number * width for number in range(bins + 1)], fill=True, color=BLUE)
    for rate, name, color in ((mean, "threads, mean", RED), (by_each, "execute_each, mean", GREY)):
        axes.axhline(rate, color=color, linewidth=1.5)
        text = f"{name} {rate:,.0f}"
        axes.text(bins * width, rate, text, color=color, ha="right", va="bottom", fontweight="bold")
    axes.set_title("Throughput over time", loc="left")
    axes.set_xlabel(f"seconds since the first look-up (each step {width * 1000:.0f} ms)")
    axes.set_ylabel("look-ups a second")
    axes.set_xlim(0, bins * width)
    axes.set_ylim(0, max(*rates, by_each) * 1.18)
