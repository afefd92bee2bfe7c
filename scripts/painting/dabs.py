"""What is painted with single touches of the brush: trees, shrubs, reeds, grass."""

import numpy as np
from PIL import Image, ImageDraw

from .noise import Array, mix

Colour = tuple[float, float, float]


class Layer:
    """A transparent sheet of ``size`` pixels to draw on, with colours in display RGB 0..1."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def dab(self, x: float, y: float, rx: float, ry: float, colour: Array) -> None:
        """One touch of the brush, in pixels."""
        fill = (*(int(255 * c) for c in np.clip(colour, 0, 1)), 255)
        self.draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=fill)

    def stroke(self, points: list[tuple[float, float]], width: float, colour: Array) -> None:
        """A line of the brush, in pixels."""
        fill = (*(int(255 * c) for c in np.clip(colour, 0, 1)), 255)
        self.draw.line(points, fill=fill, width=max(1, round(width)), joint="curve")

    def shape(self, outline: list[tuple[float, float]], colour: Array) -> None:
        """A flat patch, in pixels."""
        self.draw.polygon(outline, fill=(*(int(255 * c) for c in np.clip(colour, 0, 1)), 255))

    def over(self, picture: Array, veil: Array | None = None, amount: float = 0.0) -> Array:
        """Lay the sheet over a linear picture, seen through ``amount`` of haze colour ``veil``."""
        sheet = np.asarray(self.image, float) / 255
        colour = sheet[..., :3] ** 2.2
        if veil is not None:
            colour = mix(colour, np.asarray(veil), amount)
        return mix(picture, colour, sheet[..., 3])


def broadleaf(
    layer: Layer,
    x: float,
    foot: float,
    height: float,
    rng: np.random.Generator,
    dark: Colour,
    bright: Colour,
    light: tuple[float, float] = (-0.6, -0.8),
) -> None:
    """A round tree: clumps of leaves, from shade to light, over a trunk; lengths in pixels."""
    trunk = 0.5 * (np.asarray(dark) + np.array([0.40, 0.29, 0.20]))
    lean, glance = rng.normal(0, 0.03) * height, np.asarray(light)
    bole = max(1.0, 0.036 * height)
    layer.stroke([(x, foot), (x + 0.5 * lean, foot - 0.3 * height)], bole, trunk * 0.75)
    layer.stroke(
        [(x + 0.5 * lean, foot - 0.3 * height), (x + lean, foot - 0.5 * height)],
        bole * 0.7,
        trunk * 0.7,
    )
    middle = np.array([x + lean, foot - 0.54 * height])
    count = rng.integers(17, 25)
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    centres = np.stack(
        [0.33 * reach * np.cos(angle), 0.31 * reach * np.sin(angle)], -1
    )  # in heights
    radii = rng.uniform(0.09, 0.16, count)
    for centre in centres[reach > 0.5]:
        layer.stroke(
            [(x + lean, foot - 0.40 * height), tuple(middle + centre * height)],
            0.3 * bole,
            trunk * 0.7,
        )
    touches = int(np.clip(15 * height, 90, 14000))
    clump = rng.integers(0, count, touches)
    turn, out = rng.uniform(0, 2 * np.pi, touches), np.sqrt(rng.uniform(0, 1, touches))
    out = out * rng.uniform(0.7, 1.15, touches)
    offset = np.stack([out * np.cos(turn), out * np.sin(turn)], -1)
    place = middle + height * (centres[clump] + radii[clump, None] * offset)
    lit = (
        0.40
        + 0.44 * (offset @ glance)
        + 0.75 * (centres[clump] @ glance)
        + rng.normal(0, 0.10, touches)
    )
    depth = (centres @ glance)[clump] * 2.0 + 0.8 * lit + rng.normal(0, 0.05, touches)
    size = max(0.9, 0.0044 * height)
    for k in np.argsort(depth):
        colour = mix(np.asarray(dark), np.asarray(bright), np.clip(lit[k], 0, 1.1)) * rng.uniform(
            0.85, 1.15
        )
        layer.dab(*place[k], size * rng.uniform(0.6, 1.5), size * rng.uniform(0.5, 1.1), colour)


def conifer(
    layer: Layer,
    x: float,
    foot: float,
    height: float,
    rng: np.random.Generator,
    dark: Colour,
    bright: Colour,
    light: tuple[float, float] = (-0.6, -0.8),
) -> None:
    """A fir: skirts of boughs from below, needles lit on one side; lengths in pixels."""
    width = height * rng.uniform(0.15, 0.21)
    trunk = np.asarray(dark) * 0.6
    layer.stroke([(x, foot), (x, foot - 0.9 * height)], max(1.0, 0.022 * height), trunk)
    tiers = int(np.clip(height / 9, 5, 26))
    for tier in range(tiers):
        level = (tier + rng.uniform(-0.3, 0.3)) / tiers
        reach = width * (1 - level) ** 0.85 * rng.uniform(0.8, 1.12) + 0.012 * height
        top, drop = foot - height * (0.10 + 0.90 * level), 1.5 * height / tiers
        centre = x + rng.normal(0, 0.05) * reach
        # A skirt with a ragged hem, dark below ...
        hem = np.linspace(-1, 1, int(np.clip(reach / 2.5, 5, 23)))
        sag = drop * (0.55 + 0.45 * np.abs(hem)) * rng.uniform(0.62, 1.12, hem.size)
        outline = [(centre, top - 0.9 * drop), *zip(centre + hem * reach, top + sag, strict=True)]
        shade = mix(np.asarray(dark), np.asarray(bright), 0.10 + 0.12 * level)
        layer.shape(outline, shade * rng.uniform(0.85, 1.1))
        # ... and needles that catch the light, more of them on its side.
        for _ in range(int(np.clip(reach * 1.3, 3, 46))):
            side = np.clip(rng.normal(0.25 * np.sign(light[0]), 0.5), -1, 1)
            lit = 0.42 + 0.36 * side * np.sign(light[0]) + rng.normal(0, 0.2)
            colour = mix(np.asarray(dark), np.asarray(bright), np.clip(lit, 0, 1))
            start = (
                centre + side * reach * 0.8,
                top + drop * (0.15 + 0.5 * abs(side)) * rng.uniform(0.2, 1),
            )
            tip = (start[0] + 0.13 * reach * np.sign(side), start[1] + 0.22 * drop)
            layer.stroke([start, tip], max(1.0, 0.006 * height), colour)


def grass(
    layer: Layer,
    left: float,
    right: float,
    ground: Array,
    height: float,
    rng: np.random.Generator,
    dark: Colour,
    bright: Colour,
    count: int,
) -> None:
    """Blades along a ground line; ``ground`` is the row of the ground for every column."""
    for _ in range(count):
        x = rng.uniform(left, right)
        column = int(np.clip(x, 0, len(ground) - 1))
        foot = ground[column] + rng.uniform(0, 0.9 * height)
        tall = height * rng.uniform(0.4, 1.1)
        lean = rng.normal(0.12, 0.25) * tall
        colour = mix(np.asarray(dark), np.asarray(bright), rng.uniform(0, 1) ** 1.6)
        points = [(x, foot), (x + 0.3 * lean, foot - 0.55 * tall), (x + lean, foot - tall)]
        layer.stroke(points, 1, colour)
