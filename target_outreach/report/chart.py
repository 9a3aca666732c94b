"""The drawings of the page as numbers, which its template makes into SVG.

They stretch to the width of the page, so all text is beside them and not in them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Row = dict[str, Any]

WIDTH = 1000
HEIGHT = 100

#: The share of a stretch of time that must have been spent waiting for it to be shaded.
MOSTLY = 0.5


def bar(counts: Mapping[str, int]) -> list[dict[str, str]]:
    """Return how a whole is made up: rectangles, each with the name and the count of its part.

    Args:
        counts: The parts by name, which is also their CSS class.
    """
    whole, at, parts = sum(counts.values()), 0.0, []
    for name, count in counts.items():
        if count:
            share = WIDTH * count / whole
            place = {"x": f"{at:.2f}", "width": f"{share:.2f}"}
            parts.append({"name": name, "count": f"{count:,}", **place})
            at += share
    return parts


def line(points: Sequence[Row], figure: str) -> dict[str, Any]:
    """Return how fast a figure rose: a path, and rectangles for the time spent waiting.

    Args:
        points: The time line of the report.
        figure: The name of the figure in it.
    """
    end, top = points[-1]["seconds"], highest(points, figure)
    shades = [
        {"x": f"{WIDTH * began / end:.2f}", "width": f"{WIDTH * (ended - began) / end:.2f}"}
        for began, ended in waits(points)
    ]
    path = [f"M0 {HEIGHT}"]
    for began, ended, rate in rates(points, figure):
        height = HEIGHT - (HEIGHT - 2) * rate / top if top else HEIGHT
        path.append(
            f"L{WIDTH * began / end:.2f} {height:.2f}L{WIDTH * ended / end:.2f} {height:.2f}"
        )
    path.append(f"L{WIDTH} {HEIGHT}")
    return {"shades": shades, "path": "".join(path)}


def rates(points: Sequence[Row], figure: str) -> Iterator[tuple[float, float, float]]:
    """Yield for each stretch of time when it began and ended, and the figure's rise a second."""
    for earlier, later in pairwise(points):
        began, ended = earlier["seconds"], later["seconds"]
        if ended > began:
            yield began, ended, (later[figure] - earlier[figure]) / (ended - began)


def highest(points: Sequence[Row], figure: str) -> float:
    """Return the fastest rise of a figure, a second."""
    return max((rate for _, _, rate in rates(points, figure)), default=0.0)


def waits(points: Sequence[Row]) -> list[tuple[float, float]]:
    """List the stretches of time that were mostly spent waiting, neighbours joined."""
    found: list[tuple[float, float]] = []
    for began, ended, share in rates(points, "seconds_waited"):
        if share < MOSTLY:
            continue
        if found and found[-1][1] == began:
            began = found.pop()[0]  # noqa: PLW2901 - it goes on from where the one before began
        found.append((began, ended))
    return found
