"""Noise that skies, hills and water are made of: gradient noise (Perlin 2002) and its sums."""

import numpy as np
from scipy import ndimage

Array = np.ndarray


def smoothstep(low: float, high: float, x: Array) -> Array:
    """Rise from 0 at ``low`` to 1 at ``high`` with flat ends; ``high`` may be the smaller."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def mix(a: Array, b: Array, share: Array | float) -> Array:
    """Blend two colours or pictures by the ``share`` of ``b``, which has no colour axis."""
    share = np.asarray(share)
    if share.ndim:
        share = share[..., None]
    return a * (1 - share) + b * share


def gradient_noise(x: Array, y: Array, seed: int) -> Array:
    """Perlin noise at plane points, roughly -0.7..0.7, one feature per unit."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(256)
    angle = rng.uniform(0, 2 * np.pi, 256)
    gx, gy = np.cos(angle), np.sin(angle)
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    ix, iy = x0.astype(np.int64), y0.astype(np.int64)

    def corner(dx: int, dy: int) -> Array:
        lattice = order[(order[(ix + dx) & 255] + iy + dy) & 255]
        return gx[lattice] * (fx - dx) + gy[lattice] * (fy - dy)

    u = fx * fx * fx * (fx * (fx * 6 - 15) + 10)
    v = fy * fy * fy * (fy * (fy * 6 - 15) + 10)
    top = corner(0, 0) * (1 - u) + corner(1, 0) * u
    bottom = corner(0, 1) * (1 - u) + corner(1, 1) * u
    return top * (1 - v) + bottom * v


def fbm(x: Array, y: Array, seed: int, octaves: int = 6, gain: float = 0.5) -> Array:
    """Sum octaves of noise, each turned against the last so that no grid shows; about -1..1."""
    total, amplitude = np.zeros(np.broadcast(x, y).shape), 1.0
    for octave in range(octaves):
        total += amplitude * gradient_noise(x, y, seed + octave)
        x, y = 1.6 * x - 1.2 * y + 17.1, 1.2 * x + 1.6 * y - 9.7
        amplitude *= gain
    return total * 1.4


def ridged(x: Array, y: Array, seed: int, octaves: int = 7, gain: float = 0.5) -> Array:
    """Noise with sharp crests, as eroded mountains have; 0..1."""
    total, amplitude, weight, norm = np.zeros(np.broadcast(x, y).shape), 1.0, 1.0, 0.0
    for octave in range(octaves):
        crest = (1 - np.abs(gradient_noise(x, y, seed + octave)) * 1.9) ** 2
        total += amplitude * weight * crest
        norm += amplitude
        weight = np.clip(crest * 1.3, 0, 1)  # detail gathers on the crests, valleys stay smooth
        x, y = 1.6 * x - 1.2 * y + 5.3, 1.2 * x + 1.6 * y + 3.9
        amplitude *= gain
    return total / norm


def billow_volume(size: int, seed: int) -> Array:
    """A periodic block ``[size, size, size]`` of cauliflower noise, 0..1, for clouds."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(size)
    radius = np.sqrt(sum(np.square(f) for f in np.meshgrid(*[frequency] * 3, indexing="ij")))
    total = np.zeros((size,) * 3)
    for octave in range(4):
        centre = 4.0 * 2**octave / size
        band = np.exp(-(((radius - centre) / (0.45 * centre)) ** 2))
        layer = np.fft.ifftn(np.fft.fftn(rng.standard_normal((size,) * 3)) * band).real
        total += 0.5**octave * np.abs(layer / layer.std())
    return (total / total.max()).astype(np.float32)


def sample_volume(volume: Array, x: Array, y: Array, z: Array) -> Array:
    """Read the periodic block at points in units of its cells."""
    points = np.stack([np.ravel(x), np.ravel(y), np.ravel(z)])
    return ndimage.map_coordinates(volume, points, order=1, mode="grid-wrap").reshape(np.shape(x))
