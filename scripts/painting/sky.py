"""Air and clouds: a sky gradient with a sun, thin high clouds, and cumulus marched as volumes."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .noise import Array, billow_volume, fbm, mix, sample_volume, smoothstep


@dataclass(frozen=True)
class Air:
    """Light of one hour of the day; colours are linear RGB, the sun a unit vector (x, up, away)."""

    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    sun: tuple[float, float, float]
    sun_colour: tuple[float, float, float]
    glow: float = 1.0
    disc: float = 0.0

    @property
    def light(self) -> Array:
        """Unit vector towards the sun."""
        sun = np.asarray(self.sun, float)
        return sun / np.linalg.norm(sun)


def rays(size: int, horizon: float, lens: float) -> Array:
    """Unit view rays ``[size, size, 3]`` (x, up, away) for a level camera.

    Args:
        size: Picture side in pixels.
        horizon: Height of the horizon line as a share of the picture, 0 at the top.
        lens: Focal length in picture widths.
    """
    columns = (np.arange(size) + 0.5) / size - 0.5
    rows = horizon - (np.arange(size) + 0.5) / size
    x, up = np.meshgrid(columns, rows)
    ray = np.stack([x, up, np.full_like(x, lens)], -1)
    return ray / np.linalg.norm(ray, axis=-1, keepdims=True)


def clear_sky(ray: Array, air: Air) -> Array:
    """Colour of the air along each ray, linear RGB ``[..., 3]``."""
    height = np.clip(ray[..., 1], 0, 1)
    colour = mix(np.asarray(air.horizon), np.asarray(air.zenith), (1 - np.exp(-4.0 * height)))
    cosine = np.clip((ray * air.light).sum(-1), 0, 1)
    halo = 0.35 * cosine**6 + 0.6 * cosine**40 + 1.6 * cosine**400
    low = np.exp(-6.0 * height)  # the glow lies along the horizon
    colour = colour + (air.glow * halo * (0.35 + 0.65 * low))[..., None] * air.sun_colour
    if air.disc:
        colour = (
            colour + (air.disc * smoothstep(0.99965, 0.99985, cosine))[..., None] * air.sun_colour
        )
    return colour


def high_clouds(
    sky: Array, ray: Array, air: Air, seed: int, cover: float, tint: Array, stretch: float = 3.0
) -> Array:
    """Lay streaked altocumulus on a plane above the scene, lit towards the sun."""
    up = np.clip(ray[..., 1], 0.015, 1)
    x, z = ray[..., 0] / up, ray[..., 2] / up
    warp = fbm(x * 0.35, z * 0.35, seed + 50, 4)
    u, v = x * 0.8 + 0.7 * warp, z * 0.8 / stretch + 0.5 * warp

    def density(du: float, dv: float) -> Array:
        return smoothstep(-cover, 1.0 - 0.45 * cover, fbm(u + du, v + dv, seed, 7, 0.55))

    here = density(0, 0)
    light = air.light
    towards = density(0.10 * light[0], 0.10 * light[2] / stretch)
    lit = np.clip(0.55 + 1.6 * (here - towards), 0, 1.4) * np.exp(-0.9 * here)
    cosine = np.clip((ray * light).sum(-1), 0, 1)
    glow = 0.4 + 1.5 * cosine**10
    shade = np.asarray(tint) * 0.9
    colour = shade + (lit * glow)[..., None] * air.sun_colour
    # Far clouds dissolve in the haze of the horizon.
    alpha = np.clip(1.3 * here, 0, 0.96) * smoothstep(0.012, 0.12, ray[..., 1])
    return mix(sky, colour, alpha)


def cumulus(
    sky: Array,
    ray: Array,
    air: Air,
    blobs: list[tuple[float, float, float, float, float]],
    seed: int,
    ambient: Array,
    detail: float = 0.9,
) -> Array:
    """March heaped clouds through the picture.

    Args:
        sky: Linear RGB ``[S, S, 3]`` to paint over.
        ray: View rays ``[S, S, 3]``.
        air: The light.
        blobs: Puffs (x, up, away, radius, flatness) in kilometres; a cloud is a heap of them.
        seed: Which cloud texture.
        ambient: Colour of the shaded side, linear RGB.
        detail: How deep the cauliflower cuts into the puffs.
    """
    step = max(1, ray.shape[0] // 256)  # clouds are soft: a quarter of the pixels will do
    coarse = ndimage.zoom(ray, (1 / step, 1 / step, 1), order=1, grid_mode=True, mode="nearest")
    coarse /= np.linalg.norm(coarse, axis=-1, keepdims=True)
    volume = billow_volume(96, seed)
    near = min(b[2] - b[3] for b in blobs)
    far = max(b[2] + b[3] for b in blobs)

    def density(p: Array) -> Array:
        return _density(p, blobs, volume, detail)

    steps = 72
    distances = np.linspace(near, far, steps)
    jitter = np.random.default_rng(seed).uniform(0, 1, coarse.shape[:2])
    through, colour = np.ones(coarse.shape[:2]), np.zeros(coarse.shape)
    cosine = (coarse * air.light).sum(-1)
    forward = 0.6 + 2.2 * np.clip(cosine, 0, 1) ** 8
    length = (far - near) / steps
    for distance in distances:
        point = coarse * ((distance + jitter * length) / coarse[..., 2])[..., None]
        here = density(point)
        active = here > 0.01
        if not active.any():
            continue
        shadow = np.zeros(active.sum())
        for reach in (0.06, 0.15, 0.3, 0.55):
            shadow += density(point[active] + air.light * reach) * reach
        sunlit = 0.85 * np.exp(-9.0 * shadow) + 0.15 * np.exp(-1.5 * shadow)
        powder = 1 - np.exp(-3.5 * here[active])
        glow = (forward[active] * sunlit * (0.35 + 0.65 * powder))[:, None] * air.sun_colour
        absorbed = 1 - np.exp(-9.0 * here[active] * length)
        colour[active] += (through[active] * absorbed)[:, None] * (glow + ambient)
        through[active] *= 1 - absorbed
    colour = ndimage.gaussian_filter(colour, (0.7, 0.7, 0))
    through = ndimage.gaussian_filter(through, 0.7)
    colour = np.clip(
        ndimage.zoom(colour, (step, step, 1), order=3, grid_mode=True, mode="nearest"), 0, None
    )
    through = np.clip(ndimage.zoom(through, step, order=3, grid_mode=True, mode="nearest"), 0, 1)
    haze = smoothstep(0.0, 0.10, ray[..., 1])  # low clouds sink into the haze
    return mix(sky, sky * through[..., None] + colour, haze)


def _density(
    p: Array, blobs: list[tuple[float, float, float, float, float]], volume: Array, detail: float
) -> Array:
    """How thick the cloud is at points ``[..., 3]``, 0..1: round puffs, cut by billows."""
    heap = np.full(p.shape[:-1], -1.0)
    for x, up, away, radius, flat in blobs:
        d = (p - np.array([x, up, away])) / radius
        height = np.where(d[..., 1] > 0, d[..., 1] / flat, d[..., 1] * 2.2 / flat)  # flat below
        heap = np.maximum(heap, 1 - np.sqrt(d[..., 0] ** 2 + d[..., 2] ** 2 + height**2))
    inside = heap > -0.35
    result = np.zeros(heap.shape)
    q = p[inside] * 30.0
    puff = sample_volume(volume, q[:, 0], q[:, 1], q[:, 2])
    fine = sample_volume(volume, q[:, 2] * 3.1, q[:, 0] * 3.1, q[:, 1] * 3.1)
    result[inside] = heap[inside] + detail * (puff - 0.3) + 0.35 * detail * (fine - 0.3)
    return np.clip(result * 5.0, 0, 1)
