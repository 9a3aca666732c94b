"""The drawings of the page: plain SVG that says in words what it shows.

They stretch to the width of the page, so all text stands beside them and not in them.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Row = dict[str, Any]

WIDTH = 1000
HEIGHT = 100

#: The share of a stretch of time that must have been spent waiting for it to be shaded.
MOSTLY = 0.5


def bar(counts: Mapping[str, int], label: str) -> str:
    """Draw how a whole is made up.

    Args:
        counts: The parts by name, which is also their CSS class.
        label: What the bar shows, in words.
    """
    whole, at, parts = sum(counts.values()), 0.0, []
    for name, count in counts.items():
        if count:
            share = WIDTH * count / whole
            title = f"<title>{count:,} {escape(name)}</title>"
            parts.append(
                f'<rect class="{escape(name)}" x="{at:.2f}" y="0" width="{share:.2f}" '
                f'height="{HEIGHT}">{title}</rect>'
            )
            at += share
    return _svg("bar", label, parts)


def line(points: Sequence[Row], figure: str, label: str) -> str:
    """Draw how fast a figure rose, with the time spent waiting shaded.

    Args:
        points: The time line of the report.
        figure: The name of the figure in it.
        label: What the line shows, in words.
    """
    end, top = points[-1]["seconds"], highest(points, figure)
    shades = [
        f'<rect class="waiting" x="{WIDTH * began / end:.2f}" y="0" height="{HEIGHT}" '
        f'width="{WIDTH * (ended - began) / end:.2f}"><title>waiting</title></rect>'
        for began, ended in waits(points)
    ]
    path = [f"M0 {HEIGHT}"]
    for began, ended, rate in rates(points, figure):
        height = HEIGHT - (HEIGHT - 2) * rate / top if top else HEIGHT
        path.append(
            f"L{WIDTH * began / end:.2f} {height:.2f}L{WIDTH * ended / end:.2f} {height:.2f}"
        )
    path.append(f"L{WIDTH} {HEIGHT}")
    return _svg("line", label, [*shades, f'<path d="{"".join(path)}"/>'])


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


def _svg(kind: str, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(label)}"><title>{escape(label)}</title>'
        f"{''.join(parts)}</svg>"
    )
