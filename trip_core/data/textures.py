"""Textures with the statistics of natural pictures, drawn in torch.

Two ingredients carry most of it: power-law noise (clouds, ground, water) and dead leaves
(occluding shapes of all sizes; Lee, Mumford & Huang 2001), whose edges are those of photographs.
All functions draw from the given generator on its own device.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def uniform(generator: Generator, low: float = 0.0, high: float = 1.0) -> float:
    """Return one uniform number."""
    return low + (high - low) * torch.rand((), generator=generator, device=generator.device).item()


def power_noise(
    generator: Generator, count: int, size: int, slope: float = 1.5, stretch: float = 1.0
) -> Tensor:
    """Return noise whose amplitude falls as frequency to the power of -slope.

    Args:
        generator: Source of randomness; its device is the result's.
        count: Independent channels.
        size: Height and width.
        slope: 1 is rough, 2 is cloudy.
        stretch: Above 1 stretches features along x.

    Returns:
        ``[count, size, size]`` of mean 0 and deviation 1; tiles seamlessly.
    """
    device = generator.device
    white = torch.randn(count, size, size, generator=generator, device=device)
    fy = torch.fft.fftfreq(size, device=device)[:, None]
    fx = torch.fft.rfftfreq(size, device=device)[None] * stretch
    radius = (fx**2 + fy**2).sqrt()
    gain = radius.clamp_min(1.0 / size) ** -slope
    gain[0, 0] = 0.0
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(size, size))
    return (noise - noise.mean((1, 2), keepdim=True)) / noise.std((1, 2), keepdim=True)


def outline(
    generator: Generator, size: int, octaves: int = 5, roughness: float = 0.5, base: float = 1.5
) -> Tensor:
    """Return a jagged line over x, ``[size]``, about within -1..1: ridges, shores, treetops."""
    x = torch.linspace(0, 1, size, device=generator.device)
    line, weight = torch.zeros_like(x), 1.0
    for k in range(octaves):
        knots = max(3, int(base * 2**k) + 2)
        values = torch.rand(1, 1, knots, generator=generator, device=generator.device) * 2 - 1
        mode = "linear"
        line = line + weight * F.interpolate(values, size, mode=mode, align_corners=True)[0, 0]
        weight *= roughness
    return line / (1 / (1 - roughness))


def dead_leaves(generator: Generator, size: int, count: int = 120) -> Tensor:
    """Return a grey dead-leaves picture, ``[size, size]`` in 0..1, each leaf lightly textured."""
    device = generator.device
    y, x = torch.meshgrid(
        torch.arange(size, device=device), torch.arange(size, device=device), indexing="ij"
    )
    draw = torch.rand(count, 7, generator=generator, device=device).cpu().tolist()
    picture = torch.full((size, size), 0.5, device=device)
    for cx, cy, big, aspect, angle, grey, corner in draw:
        radius = 0.03 * size / (1 - 0.94 * big) ** 0.75  # many small, few large
        reach = int(1.5 * radius) + 1
        px, py = int(cx * size), int(cy * size)
        rows = slice(max(py - reach, 0), min(py + reach, size))
        cols = slice(max(px - reach, 0), min(px + reach, size))
        u, v = (x[rows, cols] - px) / radius, (y[rows, cols] - py) / radius
        c, s = math.cos(6.28 * angle), math.sin(6.28 * angle)
        u, v = (c * u + s * v) * (1 + aspect), (c * v - s * u)
        power = 2.0 if corner < 0.6 else 8.0
        inside = u.abs() ** power + v.abs() ** power < 1
        shade = grey * 0.85 + 0.15 * (0.5 + 0.3 * u - 0.3 * v).clamp(0, 1)
        picture[rows, cols] = torch.where(inside, shade, picture[rows, cols])
    return picture


def smoothstep(edge0: float, edge1: float, x: Tensor) -> Tensor:
    """Return the smooth ramp from 0 at edge0 to 1 at edge1."""
    t = ((x - edge0) / (edge1 - edge0)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Tensor, b: Tensor, share: Tensor | float) -> Tensor:
    """Return a where share is 0 and b where it is 1."""
    return a + (b - a) * share


def relief(height: Tensor, angle: float, strength: float = 1.0) -> Tensor:
    """Return the brightness (about 1) of a height map lit from the side, ``[..., H, W]``."""
    dx = height.roll(-1, -1) - height.roll(1, -1)
    dy = height.roll(-1, -2) - height.roll(1, -2)
    slope = math.cos(angle) * dx + math.sin(angle) * dy
    return 1 + (strength * slope).clamp(-0.6, 0.6)


def recline(texture: Tensor, nearness: Tensor, x: Tensor, scale: float) -> Tensor:
    """Lay a tiling texture on the ground, seen in perspective.

    Args:
        texture: ``[C, h, w]``, tiling.
        nearness: ``[H, W]`` in 0..1, 1 at the viewer's feet.
        x: Horizontal coordinate, ``[H, W]``, in short sides.
        scale: Texture repeats per short side at nearness 1.

    Returns:
        ``[C, H, W]``.
    """
    depth = 1 / nearness.clamp_min(0.04)
    u, v = (x * depth * scale) % 1.0, (depth * scale) % 1.0
    grid = torch.stack((u * 2 - 1, v * 2 - 1), dim=-1)[None]
    return F.grid_sample(texture[None], grid, "bilinear", "reflection", align_corners=False)[0]
