"""Latency against load, as an SVG that is written by hand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log10
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "latency.svg"

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 60
FONT = 'font-family="sans-serif" font-size="12"'
SERIES = (("p50", "#2a6fbb", "p50_ms"), ("p99", "#c0392b", "p99_ms"))


@dataclass(frozen=True, slots=True)
class Point:
    """Latency in milliseconds when so many ads a second are asked for."""

    ads_per_s: float
    p50_ms: float
    p99_ms: float


def draw(points: Sequence[Point], caption: str) -> str:
    """The picture: ads a second to the right, milliseconds upwards on a logarithmic scale."""
    most = max(point.ads_per_s for point in points) * 1.05
    decades = max(1, ceil(log10(max(point.p99_ms for point in points))))

    def x(ads_per_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ads_per_s / most

    def y(milliseconds: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * max(0.0, log10(milliseconds)) / decades

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="14">{caption}</text>',
    ]
    for milliseconds in (10**decade for decade in range(decades + 1)):
        parts.append(_line(LEFT, y(milliseconds), WIDTH - RIGHT, y(milliseconds)))
        parts.append(_text(LEFT - 8, y(milliseconds) + 4, f"{milliseconds} ms", "end"))
    for ads_per_s in _ticks(most):
        parts.append(_line(x(ads_per_s), TOP, x(ads_per_s), HEIGHT - BOTTOM))
        parts.append(_text(x(ads_per_s), HEIGHT - BOTTOM + 18, f"{ads_per_s:,}", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 18, "ads asked for, a second", "middle"))
    for number, (name, colour, field) in enumerate(SERIES):
        places = [(x(point.ads_per_s), y(getattr(point, field))) for point in points]
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3" fill="{colour}"/>' for across, up in places]
        parts.append(f'<text x="{LEFT + 12 + 50 * number}" y="{TOP + 16}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _ticks(most: float) -> Iterator[int]:
    """Round numbers along the axis."""
    step = 10 ** int(log10(most))
    if most / step < 3:
        step = max(1, step // 4)
    yield from range(0, int(most) + 1, step)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
