"""Hills and mountains: a height field drawn column by column, then lit and hazed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .noise import Array, fbm, mix, smoothstep
from .sky import Air

Heights = Callable[[Array, Array], Array]
Ground = Callable[[Array, Array, Array, Array], Array]


@dataclass(frozen=True)
class Lens:
    """Where the painter stands: picture side, row of the horizon, focal length, height."""

    size: int
    horizon: float
    lens: float
    eye: float

    def to_picture(self, x: Array, height: Array, away: Array) -> tuple[Array, Array]:
        """Column and row in pixels of a point of the scene."""
        column = (0.5 + self.lens * x / away) * self.size
        row = (self.horizon - self.lens * (height - self.eye) / away) * self.size
        return column, row


def march(heights: Heights, view: Lens, near: float, far: float, steps: int = 900) -> Array:
    """Distance to the ground for every pixel, ``[S, S]``; infinity where there is sky."""
    size = view.size
    columns = ((np.arange(size) + 0.5) / size - 0.5) / view.lens
    rows = np.arange(size)[:, None] + 0.5
    skyline, depth = np.full(size, float(size)), np.full((size, size), np.inf)
    last_row, last_away = np.full(size, float(size)), near
    for away in np.geomspace(near, far, steps):
        row = view.to_picture(0.0, heights(columns * away, np.full(size, away)), away)[1]
        fresh = (rows >= row) & (rows < skyline)
        # Between two samples the distance runs smoothly, so that slopes show no terraces.
        share = np.clip((last_row - rows) / np.maximum(last_row - row, 1e-6), 0, 1)
        depth[fresh] = (last_away + share * (away - last_away))[fresh]
        skyline = np.minimum(skyline, row)
        last_row, last_away = row, away
    return depth


def shade(
    sky: Array,
    depth: Array,
    heights: Heights,
    ground: Ground,
    view: Lens,
    air: Air,
    haze: tuple[Array, float],
    ambient: Array,
) -> Array:
    """Light the ground and lay it over the sky.

    Args:
        sky: Linear RGB ``[S, S, 3]``.
        depth: From ``march``.
        heights: The height field.
        ground: (x, height, away, steepness 0..1) -> albedo ``[N, 3]``.
        view: The camera.
        air: The light.
        haze: Colour of the far air, and the distance at which it hides two thirds.
        ambient: Light of the open sky, linear RGB.
    """
    seen = np.isfinite(depth)
    away = depth[seen]
    columns = np.broadcast_to((np.arange(view.size) + 0.5) / view.size - 0.5, depth.shape)[seen]
    x = columns / view.lens * away
    height = heights(x, away)
    near = 0.0025 * away
    slope_x = (heights(x + near, away) - height) / near
    slope_z = (heights(x, away + near) - height) / near
    normal = np.stack([-slope_x, np.ones_like(x), -slope_z], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = air.light
    sunny = np.ones_like(x)
    for reach in np.geomspace(0.02, 0.9, 9) * np.ptp(height):
        over = heights(x + light[0] * reach, away + light[2] * reach) - height - light[1] * reach
        sunny = np.minimum(sunny, 1 - smoothstep(0.0, 0.12 * reach, over))
    lambert = np.clip((normal * light).sum(-1), 0, 1) * sunny
    albedo = ground(x, height, away, 1 - normal[:, 1])
    colour = albedo * (
        lambert[:, None] * np.asarray(air.sun_colour)
        + (0.45 + 0.55 * normal[:, 1:2]) * np.asarray(ambient)
    )
    far_colour, reach = haze
    veil = 1 - np.exp(-((away / reach) ** 1.1))
    picture = sky.copy()
    picture[seen] = mix(colour, np.asarray(far_colour), veil)
    return picture


def meadow_and_rock(
    grass: Array, forest: Array, rock: Array, snow_line: float, seed: int
) -> Ground:
    """Grass below, woods in patches, rock where it is steep, snow above a line."""

    def albedo(x: Array, height: Array, away: Array, steep: Array) -> Array:
        patches = fbm(x * 1.3, away * 1.3, seed, 5)
        grain = fbm(x * 14, away * 14, seed + 20, 4)
        colour = mix(np.asarray(grass), np.asarray(forest), smoothstep(-0.15, 0.2, patches))
        colour = mix(colour, np.asarray(rock), smoothstep(0.22, 0.42, steep + 0.08 * grain))
        snow = smoothstep(snow_line, 1.25 * snow_line, height + 0.2 * snow_line * grain)
        colour = mix(colour, np.array([0.85, 0.88, 0.95]), snow * smoothstep(0.6, 0.35, steep))
        return colour * (1 + 0.45 * grain)[:, None]

    return albedo
