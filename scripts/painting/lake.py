"""Clouds over hills: heaped clouds, blue ridges, and a lake that mirrors them."""

import numpy as np

from .dabs import Layer, conifer, grass
from .noise import Array, fbm, ridged, smoothstep
from .sky import Air, clear_sky, cumulus, high_clouds, rays
from .terrain import Lens, march, meadow_and_rock, shade
from .water import lay, pour
from .woods import stand_trees

AIR = Air(
    zenith=(0.06, 0.19, 0.48),
    horizon=(0.50, 0.68, 0.86),
    sun=(-0.80, 0.46, -0.22),
    sun_colour=(3.5, 2.75, 1.85),
    glow=0.25,
)
HAZE = np.array([0.46, 0.62, 0.82])
AMBIENT = np.array([0.34, 0.48, 0.72])
HORIZON = 0.60
EXPOSURE = 1.05


def heights(x: Array, away: Array) -> Array:
    """Ridges that grow with the distance around a basin."""
    basin = smoothstep(2.2, 7.0, away + 1.1 * np.abs(x - 0.15 * away) - 0.8)
    hills = 0.26 + 0.46 * fbm(x * 0.42, away * 0.42, 3, 6)
    peaks = ridged(x * 0.15 + 4.0, away * 0.15, 11, 7) ** 1.5
    canopy = 0.02 * np.abs(fbm(x * 9.0, away * 9.0, 41, 3))
    return basin * (hills + canopy + 3.4 * peaks * smoothstep(7, 17, away)) - 0.06


def clouds() -> list[tuple[float, float, float, float, float]]:
    """Three heaps of puffs (x, up, away, radius, flatness)."""
    rng = np.random.default_rng(8)
    puffs = []
    for cx, base, away, width, tall in (
        (-1.9, 2.05, 8.0, 2.1, 1.7),
        (2.7, 2.3, 8.5, 1.5, 1.0),
        (0.9, 1.25, 11.5, 1.8, 0.7),
        (-4.6, 1.1, 12.0, 1.6, 0.7),
    ):
        for _ in range(26):
            side = rng.normal(0, 0.45)
            rise = tall * rng.uniform(0, 1) * np.exp(-3.0 * side**2)
            radius = width * rng.uniform(0.18, 0.36) * (1 - 0.35 * rise / tall)
            puffs.append((cx + width * side, base + rise, away + rng.normal(0, 0.4), radius, 0.85))
    return puffs


def shore(layer: Layer, size: int) -> None:
    """Firs and grasses in front."""
    rng = np.random.default_rng(5)
    columns = np.arange(size) / size
    line = size * (
        0.965 - 0.17 * smoothstep(0.42, 0.0, columns) - 0.10 * smoothstep(0.7, 1.0, columns)
    )
    line = line + size * 0.006 * fbm(columns * 9, columns * 0, 2, 4)
    for x in range(size):
        layer.stroke([(x, line[x]), (x, size)], 1, np.array([0.12, 0.17, 0.09]))
    dark, bright = (0.05, 0.12, 0.10), (0.36, 0.47, 0.20)
    for x, tall in (
        (0.03, 0.46),
        (0.10, 0.36),
        (0.17, 0.26),
        (0.225, 0.17),
        (0.955, 0.25),
        (0.90, 0.16),
    ):
        foot = line[int(x * size)] + 0.012 * size
        conifer(layer, x * size, foot, tall * size, rng, dark, bright)
    for row in range(9):
        shift = line + row * 0.03 * size
        tone = 0.62 + 0.07 * row
        low, high = (0.13 * tone, 0.22 * tone, 0.09 * tone), (0.62 * tone, 0.66 * tone, 0.26 * tone)
        grass(layer, 0, size, shift, 0.035 * size, rng, low, high, 2600)
    for _ in range(220):
        x = rng.uniform(0, size)
        y = line[int(x)] + rng.uniform(0.0, 0.2) * size
        colour = np.array(
            [(0.93, 0.86, 0.62), (0.86, 0.62, 0.70), (0.95, 0.95, 0.90)][rng.integers(3)]
        )
        layer.dab(x, y, 0.0022 * size, 0.0018 * size, colour * rng.uniform(0.8, 1))


def scene(size: int) -> Array:
    """Compose the picture, linear RGB ``[size, size, 3]``."""
    ray = rays(size, HORIZON, 1.0)
    sky = clear_sky(ray, AIR)
    sky = high_clouds(sky, ray, AIR, 26, -0.02, np.array([0.62, 0.72, 0.86]), 2.0)
    sky = cumulus(sky, ray, AIR, clouds(), 4, np.array([0.30, 0.37, 0.50]))
    view = Lens(size, HORIZON, 1.0, 0.42)
    ground = meadow_and_rock(
        grass=np.array([0.14, 0.20, 0.045]),
        forest=np.array([0.035, 0.085, 0.030]),
        rock=np.array([0.17, 0.155, 0.15]),
        snow_line=1.5,
        seed=31,
    )
    depth = march(heights, view, 1.2, 40.0)
    land = shade(sky, depth, heights, ground, view, AIR, (HAZE, 24.0), AMBIENT)
    bare = land
    land = stand_trees(
        land,
        depth,
        view,
        heights,
        HAZE,
        24.0,
        conifer,
        seed=12,
        dark=(0.06, 0.14, 0.12),
        bright=(0.34, 0.43, 0.20),
    )
    # The lake fills whatever lies below height 0.
    rows = (np.arange(size)[:, None] + 0.5) / size
    level = view.eye - (rows - HORIZON) * np.where(np.isfinite(depth), depth, 1e3)
    wet = (rows > HORIZON) & (level < 0.0)
    waterline = HORIZON + 0.012
    body = np.array([0.02, 0.07, 0.09])
    water = pour(
        land,
        ray,
        waterline,
        body,
        eye=view.eye,
        scale=9.0,
        steepness=0.05,
        shake=0.5,
        seed=6,
        clarity=0.6,
    )
    wet &= np.abs(land - bare).sum(-1) < 0.02  # firs on the shore stand before the water
    picture = lay(land, water, waterline, wet.astype(float))
    layer = Layer(size)
    shore(layer, size)
    return layer.over(picture)
