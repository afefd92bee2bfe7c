"""Water: waves in perspective that mirror what stands above them."""

import numpy as np
from scipy import ndimage

from .noise import Array, fbm, mix, smoothstep


def wave_slopes(
    ray: Array, eye: float, scale: float, steepness: float, seed: int
) -> tuple[Array, Array, Array]:
    """Slopes of the water's surface where each ray meets it.

    Args:
        ray: View rays ``[S, S, 3]``; those at or above the horizon are clamped just below it.
        eye: Height of the eye over the water.
        scale: Waves per unit of length.
        steepness: Slope of the largest waves.
        seed: Which water.

    Returns:
        Slope to the right and away from the eye, and the distance to the water, each ``[S, S]``.
    """
    distance = eye / np.clip(-ray[..., 1], 1e-3, None)
    x, z = ray[..., 0] * distance * scale, ray[..., 2] * distance * scale
    # Waves narrower than a pixel average out: the far sea is smooth.
    fine = 1 / (1 + (distance * scale / 60) ** 1.2)

    def height(dx: float, dz: float) -> Array:
        u, v = x + dx, z + dz
        swell = fbm(u * 0.22, v * 0.42, seed, 3, 0.5) * 2.4
        chop = fbm(u * 0.9, v * 1.7, seed + 9, 4, 0.55)
        return swell * np.sqrt(fine) + chop * 0.55 * fine

    here = height(0, 0)
    slope_x = (height(0.05, 0) - here) / 0.05
    slope_z = (height(0, 0.05) - here) / 0.05
    return steepness * slope_x, steepness * slope_z, distance


def mirror(picture: Array, waterline: float, dx: Array, dy: Array) -> Array:
    """Look up the picture upside down about a waterline, shaken by the waves.

    Args:
        picture: What stands above the water, linear RGB(A) ``[S, S, C]``.
        waterline: Row of the line as a share of the picture.
        dx: Sideways shake, share of the picture, ``[S, S]``.
        dy: Shake along the rows; positive looks higher up.
    """
    size = picture.shape[0]
    rows, columns = np.mgrid[0:size, 0:size].astype(float)
    line = waterline * size
    rows = np.clip(2 * line - rows - np.abs(dy) * size, 0, line - 1)
    columns = columns + dx * size
    return np.stack(
        [
            ndimage.map_coordinates(picture[..., c], [rows, columns], order=1, mode="reflect")
            for c in range(picture.shape[2])
        ],
        -1,
    )


def fresnel(ray: Array, slope_x: Array, slope_z: Array) -> Array:
    """Share of light that the surface mirrors (Schlick 1994), ``[S, S]``."""
    normal = np.stack([-slope_x, np.ones_like(slope_x), -slope_z], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    cosine = np.clip(-(ray * normal).sum(-1), 0, 1)
    return 0.02 + 0.98 * (1 - cosine) ** 5


def pour(
    above: Array,
    ray: Array,
    waterline: float,
    body: Array,
    *,
    eye: float = 1.0,
    scale: float = 8.0,
    steepness: float = 0.12,
    shake: float = 1.0,
    seed: int = 0,
    clarity: float = 0.0,
    standing: tuple[Array, float] | None = None,
) -> Array:
    """Return the colour of the water for every row below the waterline.

    Args:
        above: What the water mirrors, linear RGB ``[S, S, 3]``.
        ray: View rays ``[S, S, 3]``.
        waterline: Row of the mirror line, share of the picture.
        body: Colour of the deep water, linear RGB.
        eye: Height of the eye over the water.
        scale: Waves per unit of length.
        steepness: Slope of the largest waves.
        shake: How far the waves tear the mirror image.
        seed: Which water.
        clarity: Least share of mirror image; calm inland water seen from low down needs some.
        standing: A near thing, linear RGBA ``[S, S, 4]``, and the row where it meets the water.
    """
    slope_x, slope_z, _ = wave_slopes(ray, eye, scale, steepness, seed)
    image = mirror(above, waterline, 0.10 * shake * slope_x, 0.45 * shake * slope_z)
    if standing is not None:
        thing, line = standing
        below = np.clip((np.arange(len(thing))[:, None] + 0.5) / len(thing) - line, 0, None)
        torn = shake * (0.06 + 1.4 * below)
        double = mirror(thing, line, 0.55 * torn * slope_x, 0.9 * torn * slope_z)
        image = mix(image, double[..., :3], 0.85 * double[..., 3] * (below > 0))
    share = np.clip(fresnel(ray, slope_x, slope_z), clarity, 0.96)
    facing = 0.75 + 1.2 * np.clip(-slope_z, -0.4, 0.6)  # wave fronts show the water's own colour
    return mix(facing[..., None] * np.asarray(body), image, share)


def lay(picture: Array, water: Array, waterline: float, mask: Array | None = None) -> Array:
    """Put the water below its line (or inside a mask ``[S, S]``) into the picture."""
    size = picture.shape[0]
    if mask is None:
        rows = (np.arange(size) + 0.5) / size
        mask = np.broadcast_to(
            smoothstep(waterline - 0.001, waterline + 0.001, rows)[:, None], (size, size)
        )
    return mix(picture, water, mask)
