"""From linear light to a painting: tone curve, glow, brush strokes, grain."""

import numpy as np
from PIL import Image
from scipy import ndimage, signal

from .noise import Array, mix


def tone(linear: Array, exposure: float = 1.0) -> Array:
    """Filmic curve (Narkowicz 2015, a fit of ACES) and sRGB-like gamma; returns 0..1."""
    x = np.clip(linear * exposure, 0, None)
    x = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    return x ** (1 / 2.2)


def bloom(linear: Array, threshold: float = 1.0, amount: float = 0.25) -> Array:
    """Let bright places shine into their surroundings."""
    bright = np.clip(linear - threshold, 0, 6)
    size = linear.shape[0]
    halo = sum(
        ndimage.gaussian_filter(bright, (size * s, size * s, 0)) for s in (0.004, 0.015, 0.05)
    )
    return linear + amount * halo


def brush(picture: Array, radius: int, sectors: int = 8, sharpness: float = 8.0) -> Array:
    """Generalised Kuwahara filter (Papari et al. 2007): flat strokes with crisp edges.

    Every pixel takes the mean of those of its surrounding wedges that vary least.
    """
    span = np.arange(-2 * radius, 2 * radius + 1)
    x, y = np.meshgrid(span, span)
    angle, disc = np.arctan2(y, x), np.exp(-(x**2 + y**2) / (2 * radius**2 / 1.6))
    total, weights = np.zeros_like(picture), np.zeros(picture.shape[:2])
    padded = np.pad(picture, ((2 * radius,) * 2, (2 * radius,) * 2, (0, 0)), mode="reflect")
    for sector in range(sectors):
        turn = np.angle(np.exp(1j * (angle - 2 * np.pi * sector / sectors)))
        kernel = disc * np.exp(-((turn / (np.pi / sectors)) ** 2))
        kernel[2 * radius, 2 * radius] = 1.0
        kernel = (kernel / kernel.sum())[..., None]
        mean = signal.fftconvolve(padded, kernel, mode="valid", axes=(0, 1))
        square = signal.fftconvolve(padded**2, kernel, mode="valid", axes=(0, 1))
        spread = np.sqrt(np.clip(square - mean**2, 0, None).sum(-1))
        weight = 1 / (1 + (255 * spread / 3) ** (sharpness / 2))
        total += weight[..., None] * mean
        weights += weight
    return total / weights[..., None]


def paint(linear: Array, side: int, exposure: float, seed: int, stroke: int = 4) -> Image.Image:
    """Finish a linear picture ``[S, S, 3]`` as an 8-bit painting of ``side`` pixels."""
    picture = tone(bloom(linear), exposure)
    picture = mix(picture, brush(picture, stroke), 0.7)
    rng = np.random.default_rng(seed)
    bristle = ndimage.gaussian_filter(rng.standard_normal(picture.shape[:2]), (0.8, 2.2))
    picture = picture + 0.009 * (bristle / bristle.std())[..., None] * (0.35 + picture) * 0.7
    size = picture.shape[0]
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    picture = picture * (1 - 0.16 * np.clip(x**2 + y**2 - 0.35, 0, None))[..., None]
    image = Image.fromarray(np.uint8(np.clip(picture, 0, 1) * 255 + 0.5))
    return image.resize((side, side), Image.Resampling.LANCZOS)
