"""A castle above a winding river, in the gold of the late afternoon."""

import numpy as np
from PIL import Image, ImageDraw

from .dabs import Layer, broadleaf, grass
from .noise import Array, fbm, mix, ridged, smoothstep
from .sky import Air, clear_sky, cumulus, high_clouds, rays
from .terrain import Lens, march, meadow_and_rock, shade
from .water import lay, pour
from .woods import stand_trees

AIR = Air(
    zenith=(0.06, 0.17, 0.42),
    horizon=(0.80, 0.64, 0.48),
    sun=(-0.80, 0.36, 0.18),
    sun_colour=(3.4, 2.25, 1.15),
    glow=0.55,
)
EXPOSURE = 0.9
HAZE = np.array([0.66, 0.58, 0.54])
AMBIENT = np.array([0.22, 0.30, 0.50])
HORIZON, EYE = 0.50, 0.62
ROCK_X, ROCK_AWAY, ROCK_TOP = 1.02, 5.0, 0.82


def box(left: float, foot: float, right: float, top: float) -> list[tuple[float, float]]:
    """The corners of an upright rectangle."""
    return [(left, foot), (left, top), (right, top), (right, foot)]


def river(away: Array) -> Array:
    """Where the middle of the river runs."""
    return (
        -0.05
        + 0.50 * np.sin(away * 0.80 + 0.55) * smoothstep(0.8, 3.5, away)
        - 0.05 * away
        + 0.20 * np.exp(-2.2 * (away - 1.1))
    )


def heights(x: Array, away: Array) -> Array:
    """A valley with a river, a rock for the castle, hills and far mountains."""
    bank = np.abs(x - river(away))
    width = 0.20 + 0.05 * away
    valley = smoothstep(width, width + 1.5 + 0.1 * away, bank)
    hills = 0.32 + 0.46 * fbm(x * 0.40 + 7, away * 0.40, 8, 6)
    ground = 0.07 * smoothstep(width - 0.06, width + 0.10, bank) - 0.05 + valley * hills * 0.85
    peaks = ridged(x * 0.14 + 2.0, away * 0.14, 23, 7) ** 1.5
    ground = ground + 3.0 * peaks * smoothstep(9, 19, away + 0.4 * np.abs(x))
    reach = np.hypot((x - ROCK_X) / 1.55, (away - ROCK_AWAY) / 1.25)
    reach = reach + 0.14 * fbm(x * 1.8, away * 1.8, 61, 5)
    crag = ROCK_TOP * smoothstep(0.95, 0.42, reach)
    return np.maximum(ground, crag + 0.03 * fbm(x * 5, away * 5, 19, 4) * (reach < 0.95))


class Mason:
    """Builds in stone on a linear RGBA sheet; lengths in castle units, y from its foot up."""

    def __init__(self, size: int, foot: tuple[float, float], unit: float) -> None:
        self.size, self.foot, self.unit = size, foot, unit
        self.colour, self.alpha = np.zeros((size, size, 3)), np.zeros((size, size))
        rows, columns = np.mgrid[0:size, 0:size] + 0.5
        self.x = (columns / size - foot[0]) / unit
        self.y = (foot[1] - rows / size) / unit
        course = np.floor(self.y / 0.022)
        brick = np.floor(self.x / 0.05 + 0.5 * (course % 2))
        rng = np.random.default_rng(4)
        tone = rng.uniform(0.80, 1.12, 4096)[(course * 73 + brick * 19).astype(int) & 4095]
        weather = (
            1 + 0.35 * fbm(self.x * 3, self.y * 2.2, 9, 5) - 0.25 * np.clip(0.25 - self.y, 0, 1)
        )
        self.stone = (tone * weather)[..., None] * np.array([0.40, 0.345, 0.275])

    def _lay(self, outline: list[tuple[float, float]], colour: Array) -> None:
        sheet = Image.new("L", (self.size, self.size))
        points = [
            ((self.foot[0] + x * self.unit) * self.size, (self.foot[1] - y * self.unit) * self.size)
            for x, y in outline
        ]
        ImageDraw.Draw(sheet).polygon(points, fill=255)
        mask = np.asarray(sheet, float) / 255
        self.colour = mix(self.colour, colour, mask)
        self.alpha = np.maximum(self.alpha, mask)

    def _light(self, u: Array) -> Array:
        """Sun and sky on an upright cylinder; ``u`` -1..1 across it."""
        u = np.clip(u, -1, 1)
        facing = np.clip(-0.86 * u + 0.42 * np.sqrt(1 - u * u), 0, 1)
        bounce = 0.16 * np.clip(u, 0, 1) ** 2
        return facing[..., None] * np.array([2.5, 1.72, 0.95]) + (
            np.array([0.26, 0.32, 0.48]) + bounce[..., None] * np.array([0.9, 0.7, 0.5])
        )

    def tower(self, x: float, foot: float, width: float, top: float, roof: float) -> None:
        """A round tower with a gallery of battlements and a pointed roof."""
        half = width / 2
        light = self._light((self.x - x) / half)
        under = (1 - 0.09 * smoothstep(top - 0.01, top - 0.10, self.y))[..., None]
        self._lay(box(x - half, foot, x + half, top), self.stone * light * under)
        wide, neck, crown = half * 1.22, top - 0.2 * width, top + 0.34 * width
        light = self._light((self.x - x) / wide) * 1.05
        corbel = [(x + half, neck), (x - half, neck), (x - wide, top), (x + wide, top)]
        self._lay(corbel, self.stone * light)
        self._lay(box(x - wide, top, x + wide, crown), self.stone * light)
        for k in range(5):
            left = x - wide + 2 * wide * (k + 0.12) / 5
            merlon = box(left, crown, left + 0.3 * wide, crown + 0.15 * width)
            self._lay(merlon, self.stone * light)
        if roof:
            self.cone(x, crown, half * 1.06, roof)
        for level in np.arange(foot + 0.35 * (top - foot), top - 0.1 * width, 0.42 * width + 0.09):
            self.window(x - 0.12 * half, level, 0.085 * width, level > foot + 0.5 * (top - foot))

    def cone(self, x: float, foot: float, half: float, height: float) -> None:
        """A slate roof with a finial, and a flag on the tall ones."""
        rise = np.clip((self.y - foot) / height, 0, 1)
        u = (self.x - x) / (half * (1 - rise) + 1e-3)
        low, knee, tip = foot - 0.01, foot + 0.10 * height, foot + height
        flare = [(-1.12, low), (-0.86, knee), (0, tip), (0.86, knee), (1.12, low)]
        colour = self._slate(0.35) * self._light(u) * 0.95
        self._lay([(x + share * half, y) for share, y in flare], colour)
        self._lay(box(x - 0.004, tip - 0.03, x + 0.004, tip + 0.11), np.array([0.10, 0.08, 0.06]))
        if height > 0.28:
            flag = [(0, 0.11), (0.10, 0.095), (0.145, 0.075), (0.09, 0.055), (0, 0.05)]
            self._lay([(x + dx, tip + dy) for dx, dy in flag], np.array([0.62, 0.09, 0.05]))

    def _slate(self, roughness: float) -> Array:
        """Courses of slate, linear RGB ``[size, size, 3]``."""
        row = np.floor(self.y / 0.013)
        tone = 1 + 0.14 * np.sin(row * 12.9) + roughness * fbm(self.x * 16, self.y * 9, 33, 3)
        return tone[..., None] * np.array([0.105, 0.150, 0.235])

    def wall(self, left: float, foot: float, right: float, top: float, facing: float) -> None:
        """A straight wall with battlements; ``facing`` turns it as ``u`` turns a cylinder."""
        stone = self.stone * self._light(np.full_like(self.x, facing))
        self._lay(box(left, foot, right, top), stone)
        for x in np.arange(left + 0.01, right - 0.02, 0.065):
            self._lay(box(x, top, x + 0.038, top + 0.035), stone)

    def gable(self, left: float, foot: float, right: float, eaves: float, ridge: float) -> None:
        """A hall with a pitched slate roof seen from its long side."""
        light = self._light(np.full_like(self.x, -0.25))
        self._lay(box(left, foot, right, eaves), self.stone * light)
        roof = [
            (left - 0.02, eaves),
            (left + 0.04, ridge),
            (right - 0.04, ridge),
            (right + 0.02, eaves),
        ]
        self._lay(roof, self._slate(0.3) * np.array([1.9, 1.5, 1.1]))
        for x in np.arange(left + 0.06, right - 0.03, 0.085):
            self.window(x, 0.5 * (foot + eaves), 0.012, True)

    def window(self, x: float, y: float, half: float, glowing: bool) -> None:
        """A pointed window; some have a candle behind them."""
        colour = np.array([1.5, 0.85, 0.30]) if glowing else np.array([0.03, 0.03, 0.04])
        self._lay([(x - half, y), (x - half, y + 2.6 * half), (x, y + 4.2 * half),
                   (x + half, y + 2.6 * half), (x + half, y)], colour)  # fmt: skip


def castle(size: int, foot: tuple[float, float], unit: float) -> tuple[Array, Array]:
    """The castle alone: linear RGB and its cover; back to front."""
    mason = Mason(size, foot, unit)
    mason.tower(0.20, 0.0, 0.115, 0.80, 0.36)
    mason.tower(-0.17, 0.0, 0.10, 0.66, 0.32)
    mason.gable(-0.30, 0.0, 0.30, 0.46, 0.62)
    mason.tower(0.02, 0.0, 0.19, 0.98, 0.46)
    mason.wall(-0.52, -0.1, 0.55, 0.26, -0.1)
    mason.tower(-0.36, -0.1, 0.12, 0.50, 0.28)
    mason.tower(0.40, -0.1, 0.13, 0.56, 0.30)
    mason.wall(-0.30, -0.12, 0.34, 0.20, -0.35)
    mason.tower(-0.55, -0.12, 0.15, 0.34, 0.0)
    mason.tower(0.58, -0.12, 0.16, 0.36, 0.26)
    mason.tower(-0.07, -0.12, 0.11, 0.30, 0.20)
    mason.tower(0.13, -0.12, 0.11, 0.30, 0.20)
    mason._lay([(-0.01, -0.12), (-0.01, 0.10), (0.03, 0.15), (0.07, 0.10), (0.07, -0.12)],
               np.array([0.035, 0.026, 0.02]))  # fmt: skip
    return mason.colour, mason.alpha


def clouds() -> list[tuple[float, float, float, float, float]]:
    """Loose evening clouds (x, up, away, radius, flatness)."""
    rng = np.random.default_rng(14)
    puffs = []
    for cx, base, away, width, tall in (
        (-3.2, 2.9, 9.0, 2.0, 1.2), (3.4, 3.2, 9.5, 1.8, 0.9), (-0.4, 2.0, 12.5, 1.9, 0.6),
        (-5.4, 1.9, 12.5, 1.6, 0.6), (5.8, 2.1, 12.5, 1.8, 0.7),
    ):  # fmt: skip
        for _ in range(20):
            side = rng.normal(0, 0.45)
            rise = tall * rng.uniform(0, 1) * np.exp(-3.0 * side**2)
            radius = width * rng.uniform(0.17, 0.33)
            puffs.append((cx + width * side, base + rise, away + rng.normal(0, 0.4), radius, 0.75))
    return puffs


def foreground(layer: Layer) -> None:
    """A leafy tree on the left, shrubs and tall grass along the lower edge."""
    size, rng = layer.size, np.random.default_rng(6)
    columns = np.arange(size) / size
    line = size * (
        0.985 - 0.19 * smoothstep(0.36, 0.0, columns) - 0.12 * smoothstep(0.72, 1.0, columns)
    )
    line = line + size * 0.008 * fbm(columns * 8, columns * 0, 3, 4)
    for x in range(size):
        layer.stroke([(x, line[x]), (x, size)], 1, np.array([0.13, 0.15, 0.06]))
    dark, bright = (0.07, 0.13, 0.06), (0.64, 0.61, 0.24)
    broadleaf(
        layer, 0.035 * size, line[int(0.03 * size)] + 0.05 * size, 0.66 * size, rng, dark, bright
    )
    for x, tall in ((0.22, 0.12), (0.17, 0.16), (0.96, 0.26), (0.87, 0.13), (0.29, 0.07)):
        foot = line[int(x * size)] + 0.015 * size
        broadleaf(layer, x * size, foot, tall * size, rng, dark, (0.66, 0.60, 0.22))
    for row in range(8):
        tone = 0.62 + 0.08 * row
        low, high = (0.16 * tone, 0.19 * tone, 0.07 * tone), (0.80 * tone, 0.70 * tone, 0.28 * tone)
        grass(layer, 0, size, line + row * 0.03 * size, 0.04 * size, rng, low, high, 2400)


def scene(size: int) -> Array:
    """Compose the picture, linear RGB ``[size, size, 3]``."""
    ray = rays(size, HORIZON, 1.0)
    sky = clear_sky(ray, AIR)
    sky = high_clouds(sky, ray, AIR, 43, -0.02, np.array([0.50, 0.46, 0.48]), 2.2)
    sky = cumulus(sky, ray, AIR, clouds(), 6, np.array([0.30, 0.29, 0.37]))
    view = Lens(size, HORIZON, 1.0, EYE)
    ground = meadow_and_rock(
        grass=np.array([0.15, 0.16, 0.042]),
        forest=np.array([0.045, 0.075, 0.026]),
        rock=np.array([0.20, 0.17, 0.14]),
        snow_line=1.6,
        seed=37,
    )
    depth = march(heights, view, 1.1, 42.0)
    land = shade(sky, depth, heights, ground, view, AIR, (HAZE, 26.0), AMBIENT)
    land = stand_trees(
        land,
        depth,
        view,
        heights,
        HAZE,
        26.0,
        broadleaf,
        seed=15,
        dark=(0.10, 0.15, 0.09),
        bright=(0.66, 0.56, 0.20),
        count=7000,
    )
    column, row = view.to_picture(np.array(ROCK_X), np.array(ROCK_TOP), np.array(ROCK_AWAY))
    stone, cover = castle(size, (column / size, row / size + 0.012), 0.215)
    layer = Layer(size)
    rng = np.random.default_rng(21)
    veil = 1 - np.exp(-((ROCK_AWAY / 26.0) ** 1.1))
    land = mix(land, mix(stone, HAZE, np.full((size, size), 0.7 * veil)), cover)
    for x in np.sort(rng.uniform(-0.17, 0.17, 60)):  # bushes hide where the walls meet the rock
        foot = row + rng.uniform(0.036, 0.058) * size
        tall = rng.uniform(0.018, 0.036) * size
        broadleaf(layer, column + x * size, foot, tall, rng, (0.10, 0.14, 0.09), (0.60, 0.52, 0.20))
    land = layer.over(land, HAZE, float(veil))
    rows = (np.arange(size)[:, None] + 0.5) / size
    level = view.eye - (rows - HORIZON) * np.where(np.isfinite(depth), depth, 1e3)
    wet = (rows > HORIZON) & (level < 0.0) & (cover < 0.5)
    water = pour(
        land,
        ray,
        HORIZON + 0.03,
        np.array([0.03, 0.06, 0.06]),
        eye=EYE,
        scale=10.0,
        steepness=0.05,
        shake=0.5,
        seed=8,
        clarity=0.62,
    )
    picture = lay(land, water, HORIZON, wet.astype(float))
    layer = Layer(size)
    foreground(layer)
    return layer.over(picture)
