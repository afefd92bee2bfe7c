"""The curves of an Animation Report, drawn with Pillow alone."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from ..trip_core.metrics.by_frame import FrameSeries

_WIDTH, _HEIGHT, _MARGIN = 768, 146, 28  # pixels of the picture; of a panel; around it
_NAMES = 26  # pixels of a panel that its curves' names need
_INK, _PALE, _GROUND = (40, 40, 46), (214, 214, 220), (250, 250, 252)
_COLOURS = ((205, 92, 52), (60, 110, 170), (60, 140, 90))


def draw_series(series: FrameSeries) -> Image.Image:
    """Return a panel of each kind of figure over the frames, and the warnings below."""
    drift = [
        ("colour drift, %", _percent(series.colour)),
        ("brightness drift, %", _percent(series.brightness)),
    ]
    panels = [(drift, 2.0), ([("change from frame to frame, %", _percent(series.change))], 0.5)]
    if series.motion:
        panels.append(([("motion, px/frame", series.motion)], 0.5))
    words = _MARGIN + len(panels) * (_HEIGHT + _MARGIN)  # where they begin, pixels from the top
    picture = Image.new("RGB", (_WIDTH, words + 100), _GROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for row, (curves, least) in enumerate(panels):
        top = _MARGIN + row * (_HEIGHT + _MARGIN)
        _panel(draw, font, (60, top, _WIDTH - 20, top + _HEIGHT), curves, least)
    lines = series.warnings() or ["Nothing to complain about."]
    head = f"first frame {series.first_frame_psnr:.1f} dB, {len(series.colour)} frames"
    for row, line in enumerate([head, *lines][:4]):
        draw.text((60, words + 20 * row), line, fill=_INK, font=font)
    return picture


def _panel(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    box: tuple[int, int, int, int],
    curves: Sequence[tuple[str, Sequence[float]]],
    least: float,
) -> None:
    """Draw curves in one box below their names, their common scale at least ``least`` high."""
    left, top, right, bottom = box
    values = [value for _, curve in curves for value in curve]
    low, high = min(0.0, *values), max(least, *values)
    low = -least if low < 0 and -low < least else low
    high += (high - low) * _NAMES / (bottom - top - _NAMES)

    def place(index: int, count: int, value: float) -> tuple[float, float]:
        x = left + (right - left) * index / max(count - 1, 1)
        return x, bottom - (bottom - top) * (value - low) / (high - low)

    draw.rectangle(box, outline=_PALE)
    _, zero = place(0, 1, 0.0)
    draw.line((left, zero, right, zero), fill=_PALE)
    draw.text((8, top - 4), f"{high:.1f}", fill=_INK, font=font)
    draw.text((8, bottom - 12), f"{low:.1f}", fill=_INK, font=font)
    at = left + 8
    for (name, curve), colour in zip(curves, _COLOURS, strict=False):
        points = [place(index, len(curve), value) for index, value in enumerate(curve)]
        if len(points) > 1:
            draw.line(points, fill=colour, width=3, joint="curve")
        draw.text((at, top + 4), name, fill=colour, font=font)
        at += int(draw.textlength(name, font=font)) + 24


def _percent(values: Sequence[float]) -> list[float]:
    return [100 * value for value in values]
