"""A three-masted ship at sea under an evening sky."""

import numpy as np
from PIL import Image, ImageDraw

from .dabs import Layer
from .noise import Array, fbm, mix
from .sky import Air, clear_sky, cumulus, high_clouds, rays
from .water import lay, pour

AIR = Air(
    zenith=(0.030, 0.070, 0.22),
    horizon=(0.72, 0.29, 0.15),
    sun=(0.33, 0.085, 1.0),
    sun_colour=(2.5, 1.02, 0.32),
    glow=0.75,
    disc=5.0,
)
EXPOSURE = 0.72
HORIZON, WATERLINE = 0.66, 0.722
CENTRE, HALF_LENGTH = 0.40, 0.235

Point = tuple[float, float]

HULL: list[Point] = [
    (-0.98, 0.47), (-0.72, 0.42), (-0.70, 0.335), (-0.36, 0.26), (-0.34, 0.215), (0.0, 0.19),
    (0.40, 0.20), (0.42, 0.25), (0.72, 0.31), (0.96, 0.37), (1.12, 0.40), (1.00, 0.31),
    (0.93, 0.18), (0.86, 0.04), (0.80, -0.04), (-0.84, -0.04), (-0.92, 0.12), (-1.00, 0.30),
]  # fmt: skip
#: Mast foot (x), mast top (y), and its sails: (half width above, half width below, top, bottom).
MASTS = [
    (-0.58, 1.42, [(0.20, 0.27, 1.22, 0.92), (0.27, 0.31, 0.89, 0.56)]),
    (-0.04, 1.86, [(0.19, 0.27, 1.70, 1.42), (0.28, 0.38, 1.39, 0.95), (0.39, 0.43, 0.91, 0.40)]),
    (0.50, 1.62, [(0.17, 0.25, 1.46, 1.20), (0.26, 0.35, 1.17, 0.80), (0.35, 0.39, 0.76, 0.40)]),
]
JIBS: list[list[Point]] = [
    [(0.62, 1.32), (1.50, 0.63), (0.80, 0.52)],
    [(0.60, 1.02), (1.28, 0.54), (0.74, 0.44)],
    [(-0.66, 0.98), (-0.66, 0.52), (-1.18, 0.60), (-0.98, 1.02)],
]


class Shipwright:
    """Draws parts of the ship, given in half hull lengths, on a linear RGBA sheet."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.colour, self.alpha = np.zeros((size, size, 3)), np.zeros((size, size))
        rows, columns = np.mgrid[0:size, 0:size] + 0.5
        self.x = (columns / size - CENTRE) / HALF_LENGTH
        self.y = (WATERLINE - rows / size) / HALF_LENGTH

    def pixel(self, point: Point) -> Point:
        """Column and row of a point of the ship."""
        x, y = point
        return (CENTRE + x * HALF_LENGTH) * self.size, (WATERLINE - y * HALF_LENGTH) * self.size

    def fill(self, outline: list[Point], colour: Array) -> None:
        """Lay a colour (one, or one per pixel) inside an outline."""
        sheet = Image.new("L", (self.size, self.size))
        ImageDraw.Draw(sheet).polygon([self.pixel(p) for p in outline], fill=255)
        self._lay(np.asarray(sheet, float) / 255, colour)

    def line(self, points: list[Point], width: float, colour: Array) -> None:
        """Lay a spar or a rope; width in half hull lengths."""
        sheet = Image.new("L", (self.size, self.size))
        pixels = max(1, round(width * HALF_LENGTH * self.size))
        ImageDraw.Draw(sheet).line([self.pixel(p) for p in points], fill=255, width=pixels)
        self._lay(np.asarray(sheet, float) / 255, colour)

    def _lay(self, mask: Array, colour: Array) -> None:
        self.colour = mix(self.colour, np.asarray(colour), mask)
        self.alpha = np.maximum(self.alpha, mask)

    def cloth(self, u: Array, v: Array, seed: int) -> Array:
        """Sailcloth with the low sun shining through; u across, v down, both 0..1."""
        belly = 0.55 + 0.55 * np.sin(np.pi * np.clip(v * 0.85 + 0.1, 0, 1))
        belly = belly * (0.62 + 0.62 * np.clip(u, 0, 1) ** 1.4)
        wrinkles = 1 + 0.22 * fbm(u * 3.0 + 0.4 * v, v * 1.2, seed, 4)
        seam = 1 - 0.10 * np.exp(-((((u * 7) % 1 - 0.5) / 0.06) ** 2))
        reef = 1 - 0.16 * np.exp(-(((v - 0.27) / 0.012) ** 2))
        warm = np.array([1.35, 0.66, 0.27])
        cool = np.array([0.26, 0.18, 0.24])
        light = np.clip(belly * wrinkles * seam * reef, 0, 1.4)
        return mix(cool * 0.6, warm, np.clip(1.25 * light - 0.45, 0, 1)) * light[..., None]

    def square_sail(self, x: float, sail: tuple[float, float, float, float], seed: int) -> None:
        """A sail on its yard, blown towards the bow."""
        above, below, top, bottom = sail
        t = np.linspace(0, 1, 14)
        blow = 0.075 * np.sin(np.pi * t)
        pinch = 0.10 * below * np.sin(np.pi * t)
        left = [
            (x - a + p + 0.5 * b, y)
            for a, p, b, y in zip(
                above + (below - above) * t, pinch, blow, top + (bottom - top) * t, strict=True
            )
        ]
        right = [
            (x + a - 0.3 * p + b, y)
            for a, p, b, y in zip(
                above + (below - above) * t, pinch, blow, top + (bottom - top) * t, strict=True
            )
        ]
        foot = [(x - below + 2 * below * s, bottom + 0.16 * below * np.sin(np.pi * s)) for s in t]
        v = (top - self.y) / (top - bottom)
        half = above + (below - above) * np.clip(v, 0, 1)
        u = (self.x - (x - half)) / (2 * half)
        self.fill([*left, *foot[1:-1], *right[::-1]], self.cloth(u, v, seed))
        self.line([(x - above * 1.1, top), (x + above * 1.1, top)], 0.017, SPAR)


SPAR = np.array([0.045, 0.026, 0.022])
ROPE = np.array([0.075, 0.045, 0.042])


def ship(size: int) -> tuple[Array, Array]:
    """The ship alone: linear RGB ``[size, size, 3]`` and its cover ``[size, size]``."""
    wright = Shipwright(size)
    wright.line([(0.98, 0.36), (1.62, 0.68)], 0.028, SPAR)
    for k, outline in enumerate(JIBS):
        u = (wright.x - min(p[0] for p in outline)) / 0.8
        v = (outline[0][1] - wright.y) / 0.8
        wright.fill(outline, wright.cloth(1 - 0.6 * u, v, 60 + k))
    for x, top, _ in MASTS:
        wright.line([(x, 0.2), (x + 0.015, top)], 0.024, SPAR)
    for number, (x, top, sails) in enumerate(MASTS):
        for spread in np.linspace(-0.19, 0.13, 6):
            wright.line([(x + spread, 0.26), (x, 0.56 * top)], 0.004, ROPE)
        for k, sail in enumerate(reversed(sails)):
            wright.square_sail(x + 0.01 * k, sail, 10 * number + k)
        wave = [(x - 0.30 * t, top + 0.02 + 0.025 * np.sin(7 * t)) for t in np.linspace(0, 1, 9)]
        pennant = [*wave, (x + 0.015, top - 0.055)]
        wright.fill(pennant, np.array([0.42, 0.05, 0.035]))
    for start, end in (
        ((0.50, 1.60), (1.60, 0.67)), ((0.50, 1.18), (1.3, 0.53)), ((-0.04, 1.8), (0.5, 1.15)),
        ((-0.04, 1.4), (0.5, 0.7)), ((-0.58, 1.38), (-0.04, 0.9)), ((-0.58, 1.38), (-1.0, 0.5)),
    ):  # fmt: skip
        wright.line([start, end], 0.004, ROPE)
    _hull(wright)
    return wright.colour, wright.alpha


def _hull(wright: Shipwright) -> None:
    sheer = 0.16 * wright.x**2 + 0.03 * wright.x
    level = wright.y - sheer
    grain = fbm(wright.x * 3, level * 60, 5, 4)
    planks = 1 - 0.35 * np.exp(-((((level * 26) % 1 - 0.5) / 0.16) ** 2))
    light = (0.55 + 0.55 * np.clip(wright.x, -1, 1.2)) * planks * (1 + 0.4 * grain)
    wood = np.array([0.115, 0.052, 0.030])
    colour = np.clip(light, 0.18, 2)[..., None] * wood
    colour = mix(
        colour, np.array([0.34, 0.17, 0.06]), 0.75 * np.exp(-(((level - 0.145) / 0.012) ** 2))
    )
    colour = mix(
        colour, np.array([0.30, 0.14, 0.05]), 0.6 * np.exp(-(((level - 0.055) / 0.010) ** 2))
    )
    colour = colour * np.clip(0.45 + 4.0 * wright.y, 0.35, 1)[..., None]
    wright.fill(HULL, colour)
    for x in np.arange(-0.62, 0.68, 0.125):
        y = 0.16 * x**2 + 0.03 * x + 0.10
        wright.fill(
            [
                (x - 0.02, y - 0.017),
                (x + 0.02, y - 0.017),
                (x + 0.02, y + 0.017),
                (x - 0.02, y + 0.017),
            ],
            np.array([0.012, 0.008, 0.008]),
        )
    for x in (-0.93, -0.86, -0.79):
        wright.fill(
            [(x - 0.017, 0.33), (x + 0.017, 0.325), (x + 0.017, 0.385), (x - 0.017, 0.39)],
            np.array([1.9, 0.95, 0.28]),
        )
    rail = [(x, y + 0.005) for x, y in HULL[:11]]
    wright.line(rail, 0.013, np.array([0.40, 0.19, 0.08]))


def clouds() -> list[tuple[float, float, float, float, float]]:
    """Banks of evening cloud (x, up, away, radius, flatness)."""
    rng = np.random.default_rng(3)
    puffs = []
    for cx, base, away, width, tall in (
        (-3.6, 1.3, 10.0, 2.4, 1.5),
        (3.9, 1.6, 10.5, 2.2, 1.3),
        (-0.2, 0.75, 13.0, 2.6, 0.35),
        (5.0, 0.7, 13.0, 2.2, 0.4),
    ):
        for _ in range(24):
            side = rng.normal(0, 0.45)
            rise = tall * rng.uniform(0, 1) * np.exp(-2.5 * side**2)
            radius = width * rng.uniform(0.16, 0.34)
            puffs.append((cx + width * side, base + rise, away + rng.normal(0, 0.4), radius, 0.7))
    return puffs


def scene(size: int) -> Array:
    """Compose the picture, linear RGB ``[size, size, 3]``."""
    ray = rays(size, HORIZON, 1.0)
    sky = clear_sky(ray, AIR)
    sky = high_clouds(sky, ray, AIR, 15, 0.16, np.array([0.20, 0.12, 0.19]), 1.6)
    sky = cumulus(sky, ray, AIR, clouds(), 9, np.array([0.115, 0.085, 0.16]))
    hull, cover = ship(size)
    haze = clear_sky(ray, AIR)
    hull = mix(hull, haze * 0.8, np.full((size, size), 0.05))
    water = pour(
        sky,
        ray,
        HORIZON,
        np.array([0.020, 0.036, 0.062]),
        eye=1.0,
        scale=6.0,
        steepness=0.13,
        shake=0.8,
        seed=14,
        standing=(np.dstack([hull, cover]), WATERLINE),
    )
    picture = lay(sky, water, HORIZON)
    picture = mix(picture, hull, cover)
    return foam_and_gulls(picture, size)


def foam_and_gulls(picture: Array, size: int) -> Array:
    """A bow wave, spray along the hull, and a few gulls."""
    rng = np.random.default_rng(2)
    layer = Layer(size)
    for _ in range(900):
        along = rng.beta(1.2, 0.9) * 2 - 1
        x = (CENTRE + HALF_LENGTH * (0.90 * along - 0.02)) * size
        y = (WATERLINE + 0.004 + abs(rng.normal(0, 0.0035)) - 0.007 * max(0, along) ** 8) * size
        tone = rng.uniform(0.45, 0.95)
        colour = np.array([1.0, 0.78, 0.62]) * tone
        layer.dab(
            x, y, rng.uniform(0.8, 3.4) * size / 1024, rng.uniform(0.5, 1.2) * size / 1024, colour
        )
    for x, y, span in (
        (0.74, 0.30, 0.016),
        (0.79, 0.335, 0.011),
        (0.69, 0.36, 0.009),
        (0.86, 0.27, 0.008),
    ):
        wing = [(x - span, y - 0.25 * span), (x - 0.4 * span, y - 0.45 * span), (x, y),
                (x + 0.45 * span, y - 0.5 * span), (x + span, y - 0.2 * span)]  # fmt: skip
        layer.stroke(
            [(a * size, b * size) for a, b in wing], 0.0022 * size, np.array([0.22, 0.15, 0.17])
        )
    return layer.over(picture)
