"""A small plot as SVG: what was taken in each second, and what could have been."""

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 720, 220
_LEFT, _BOTTOM, _TOP = 48, 28, 28


def plot(title: str, taken: Sequence[float], capacity: Sequence[float]) -> str:
    """Draw the picture. Both are messages per second, one value for each second."""
    seconds = min(len(taken), len(capacity))
    highest = max(1.0, *capacity[:seconds]) * 1.15
    smooth = [sum(taken[max(0, at - 4) : at + 1]) / min(5, at + 1) for at in range(seconds)]

    def points(values: Sequence[float]) -> str:
        wide, high = WIDTH - _LEFT - 8, HEIGHT - _BOTTOM - _TOP
        return " ".join(
            f"{_LEFT + wide * at / max(1, seconds - 1):.1f},"
            f"{HEIGHT - _BOTTOM - high * min(value, highest) / highest:.1f}"
            for at, value in enumerate(values)
        )

    marks = "".join(
        f'<text x="{_LEFT + (WIDTH - _LEFT - 8) * share:.0f}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{seconds * share:.0f} s</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="#444" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        f'<text x="{_LEFT}" y="17" fill="#111">{escape(title)}</text>\n'
        f'<text x="4" y="{_TOP + 8}">{highest:.0f}/s</text>'
        f'<text x="4" y="{HEIGHT - _BOTTOM}">0</text>{marks}\n'
        f'<polyline fill="none" stroke="#bbb" stroke-width="2" stroke-dasharray="5 3" '
        f'points="{points(capacity[:seconds])}"/>\n'
        f'<polyline fill="none" stroke="#1565c0" stroke-width="1.5" points="{points(smooth)}"/>\n'
        f"</svg>\n"
    )
