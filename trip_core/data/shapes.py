"""What the world's things are made of: colours, outlines as signed distances, shading."""

import math

import torch
from torch import Generator, Tensor

from .textures import power_noise, smoothstep, uniform

COLORS = (
    (0.75, 0.20, 0.15),
    (0.90, 0.85, 0.75),
    (0.20, 0.22, 0.26),
    (0.45, 0.30, 0.18),
    (0.15, 0.35, 0.60),
    (0.85, 0.65, 0.20),
    (0.35, 0.50, 0.25),
    (0.80, 0.60, 0.50),
    (0.55, 0.55, 0.58),
    (0.95, 0.95, 0.95),
)

#: A signed distance ``[c, c]``, negative inside, and a colour, ``[3]`` or ``[3, c, c]``.
Part = tuple[Tensor, Tensor]


def paint(g: Generator) -> Tensor:
    """Return a random colour that things have, ``[3]``."""
    base = torch.tensor(COLORS[int(uniform(g, 0, len(COLORS) - 1e-6))], device=g.device)
    jitter = torch.rand(3, generator=g, device=g.device) * 0.2 - 0.1
    return (base + jitter).clamp(0.02, 1)


def pale(g: Generator) -> Tensor:
    """Return mostly a pale colour, ``[3]``: what may be taken for a cloud."""
    if uniform(g) < 0.35:
        return paint(g)
    warm = torch.rand(3, generator=g, device=g.device) * 0.25 + 0.75
    return warm * uniform(g, 0.55, 1.0)


def ellipse(u: Tensor, v: Tensor, cx: float, cy: float, rx: float, ry: float) -> Tensor:
    """Return an approximate signed distance to an ellipse, negative inside."""
    return ((((u - cx) / rx) ** 2 + ((v - cy) / ry) ** 2).sqrt() - 1) * min(rx, ry)


def box(u: Tensor, v: Tensor, left: float, right: float, low: float, high: float) -> Tensor:
    """Return a signed distance to a rectangle."""
    return torch.maximum(
        (u - (left + right) / 2).abs() - (right - left) / 2,
        (v - (low + high) / 2).abs() - (high - low) / 2,
    )


def taper(u: Tensor, v: Tensor, low: float, high: float, wide: float, narrow: float) -> Tensor:
    """Return a signed distance to a shape whose half-width goes from wide (low) to narrow."""
    half = wide + (narrow - wide) * ((v - low) / (high - low)).clamp(0, 1)
    return torch.maximum(u.abs() - half, (v - (low + high) / 2).abs() - (high - low) / 2)


def shaded(
    generator: Generator, u: Tensor, v: Tensor, parts: list[Part], light: float
) -> tuple[Tensor, Tensor]:
    """Paint parts over one another, lit from one side; return colour and coverage."""
    soft = 1.5 * abs(float(u[0, 1] - u[0, 0]))
    color = torch.zeros(3, *u.shape, device=u.device)
    cover = torch.zeros(1, *u.shape, device=u.device)
    grain = power_noise(generator, 1, u.shape[-1], uniform(generator, 0.8, 1.8))
    for distance, tint in parts:
        mask = smoothstep(soft / 2, -soft / 2, distance)[None]
        round_ = (-distance / 0.25).clamp(0, 1)[None]  # darker towards the outline
        side = (math.cos(light) * u + math.sin(light) * v)[None]
        shade = (0.65 + 0.35 * round_) * (1 + 0.5 * side).clamp(0.5, 1.4) * (1 + 0.08 * grain)
        color = color + (tint.reshape(3, *tint.shape[1:] or (1, 1)) * shade - color) * mask
        cover = torch.maximum(cover, mask)
    return color.clamp(0, 1), cover
