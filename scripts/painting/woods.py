"""Woods on the hills: trees stood on a height field, the far ones deep in the haze."""

from collections.abc import Callable

import numpy as np

from .dabs import Colour, Layer
from .noise import Array, fbm
from .terrain import Heights, Lens


def stand_trees(
    picture: Array,
    depth: Array,
    view: Lens,
    heights: Heights,
    haze: Array,
    reach: float,
    tree: Callable[..., None],
    *,
    seed: int,
    dark: Colour,
    bright: Colour,
    count: int = 9000,
) -> Array:
    """Stand groves of trees on whatever ground is dry and in sight.

    Args:
        picture: Linear RGB ``[S, S, 3]`` to paint over.
        depth: Distance to the ground for every pixel, ``[S, S]``.
        view: The camera.
        heights: The height field.
        haze: Colour of the far air, linear RGB.
        reach: Distance at which the haze hides two thirds.
        tree: ``conifer`` or ``broadleaf``.
        seed: Which woods.
        dark: Colour of the shaded side, display RGB.
        bright: Colour of the sunny side, display RGB.
        count: Trees tried; groves and sight keep a part of them.
    """
    rng = np.random.default_rng(seed)
    away = np.sort(rng.uniform(2.3, 9.5, count))[::-1]
    x = rng.uniform(-0.55, 0.55, count) * away
    ground = heights(x, away)
    grove = fbm(x * 0.9, away * 0.9, seed + 65, 4) + rng.normal(0, 0.1, count)
    column, row = view.to_picture(x, ground, away)
    for near, far in ((6.5, 9.5), (4.5, 6.5), (2.0, 4.5)):
        layer = Layer(view.size)
        for i in np.flatnonzero((away >= near) & (away < far) & (ground > 0.03) & (grove > 0.12)):
            c, r = int(column[i]), int(row[i])
            if not (0 <= c < view.size and 0 <= r < view.size - 1):
                continue
            if abs(depth[r + 1, c] / away[i] - 1) > 0.06:
                continue  # behind a ridge
            tall = rng.uniform(0.05, 0.10) / away[i] * view.size
            tree(layer, column[i], row[i] + 1, tall, rng, dark, bright, (-0.8, -0.6))
        veil = 1 - np.exp(-((0.5 * (near + far) / reach) ** 1.1))
        picture = layer.over(picture, haze, veil)
    return picture
