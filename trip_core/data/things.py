"""Things that stand, float or fly in the world's scenes: shaded shapes told by their outline."""

import math

import torch
from torch import Generator, Tensor

from .shapes import Part, box, ellipse, paint, pale, shaded, taper
from .textures import power_noise, uniform
from .vessels import ship, yacht


def draw_thing(
    generator: Generator,
    x: Tensor,
    y: Tensor,
    at: tuple[float, float],
    scale: float,
    light: float,
    floating: bool,
    flying: bool,
    close: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw one thing.

    Args:
        generator: Source of randomness.
        x: Coordinates of the canvas, ``[c, c]``; also ``y``.
        y: See ``x``.
        at: Where its foot stands.
        scale: Its height.
        light: Angle the light comes from.
        floating: Draw something that floats on water.
        flying: Draw something that flies.
        close: Draw what is looked at closely: head and shoulders, a flower.

    Returns:
        (color ``[3, c, c]``, coverage ``[1, c, c]``).
    """
    u = (x - at[0]) / scale * (1 if uniform(generator) < 0.5 else -1)
    v = (at[1] - y) / scale  # 0 at the foot, 1 at the top
    if close:
        choice = (_bust, _bust, _bust, _flower)
    elif floating and uniform(generator) < 0.8:
        choice = (ship, ship, yacht)
    elif flying:
        choice = (_balloon,)
    else:
        choice = (_person, _bottle, _blob, _blob, _animal, _car, _flower, _flame)
    draw = choice[int(uniform(generator, 0, len(choice) - 1e-6))]
    parts = draw(generator, u, v)
    return shaded(generator, u, v, parts, light)


def draw_building(
    generator: Generator, x: Tensor, y: Tensor, at: tuple[float, float], scale: float, light: float
) -> tuple[Tensor, Tensor]:
    """Draw a castle, church or house: walls, towers, roofs; takes what ``draw_thing`` takes."""
    g = generator
    u, v = (x - at[0]) / scale, (at[1] - y) / scale
    # Walls and sails are pale more often than not, and take the colour of the clouds behind them.
    wall, roof = pale(g), paint(g) * 0.6
    parts: list[Part] = [(box(u, v, -0.6, 0.6, -0.3, uniform(g, 0.15, 0.4)), wall)]
    for _ in range(int(uniform(g, 1, 6.999))):
        place, wide, top = uniform(g, -0.65, 0.65), uniform(g, 0.04, 0.16), uniform(g, 0.3, 0.85)
        parts.append(
            (box(u, v, place - wide, place + wide, -0.3, top), wall * uniform(g, 0.8, 1.1))
        )
        peak = uniform(g, 0.5, 3.0) * wide
        parts.append((taper(u - place, v, top, top + peak, wide * 1.2, 0.0), roof))
    return shaded(generator, u, v, parts, light)


def _person(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    skin = torch.tensor((0.85, 0.65, 0.52), device=g.device) * uniform(g, 0.35, 1.05)
    if uniform(g) > 0.4:
        return _bust(g, u, v)
    body = torch.minimum(taper(u, v, 0.42, 0.8, 0.12, 0.15), taper(u, v, 0.0, 0.45, 0.1, 0.12))
    head = ellipse(u, v, 0, 0.9, 0.065, 0.085)
    hair = torch.maximum(ellipse(u, v, 0, 0.925, 0.075, 0.085), 0.9 - v)
    return [(body, paint(g)), (head, skin), (hair, paint(g) * 0.4)]


def _bust(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    """Head and shoulders; hair over the forehead, perhaps down to the shoulders; eyes, mouth."""
    skin = torch.tensor((0.85, 0.65, 0.52), device=g.device) * uniform(g, 0.35, 1.05)
    body = torch.minimum(ellipse(u, v, 0, 0.0, 0.5, 0.42), box(u, v, -0.09, 0.09, 0.2, 0.6))
    head = ellipse(u, v, 0, 0.68, 0.19, 0.26)
    face = ellipse(u, v, uniform(g, -0.05, 0.05), uniform(g, 0.58, 0.66), 0.16, 0.22)
    hair = torch.maximum(ellipse(u, v, 0, 0.74, 0.24, 0.27), -face)
    parts = [(body, paint(g)), (head, skin)]
    tone = paint(g) * uniform(g, 0.2, 0.9)
    if uniform(g) < 0.5:  # long hair, behind
        parts.insert(0, (ellipse(u, v, 0, 0.6, 0.28, 0.4), tone))
    for side in (-0.08, 0.08):
        parts.append((ellipse(u, v, side, 0.7, 0.035, 0.018), skin * 0.25))
    parts.append((ellipse(u, v, 0, 0.53, 0.06, 0.02), skin * 0.6))
    return [*parts, (hair, tone)]


def _bottle(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    wide = uniform(g, 0.1, 0.22)
    body = torch.minimum(box(u, v, -wide, wide, 0, 0.6), taper(u, v, 0.58, 0.75, wide, 0.05))
    neck = box(u, v, -0.05, 0.05, 0.7, 1.0)
    label = box(u, v, -wide * 0.95, wide * 0.95, 0.2, 0.45)
    glass = paint(g)
    return [(torch.minimum(body, neck), glass), (label, paint(g))]


def _blob(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    parts: list[Part] = []
    for _ in range(int(uniform(g, 2, 6))):
        rx, ry = uniform(g, 0.1, 0.35), uniform(g, 0.1, 0.35)
        cx, cy = uniform(g, -0.25, 0.25), uniform(g, ry, 0.9)
        parts.append((ellipse(u, v, cx, cy, rx, ry), paint(g)))
    return parts


def _animal(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    fur = paint(g)
    body = ellipse(u, v, 0, 0.5, 0.42, 0.24)
    for place in (-0.3, -0.18, 0.2, 0.32):
        body = torch.minimum(body, box(u, v, place - 0.05, place + 0.05, 0.0, 0.45))
    head = ellipse(u, v, 0.45, uniform(g, 0.7, 0.85), 0.17, 0.16)
    neck = ellipse(u, v, 0.36, 0.62, 0.14, 0.2)
    return [(torch.minimum(body, neck), fur), (head, fur * uniform(g, 0.7, 1.2))]


def _car(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    body = box(u, v, -0.9, 0.9, 0.12, 0.5)
    cabin = taper(u + 0.1, v, 0.45, 0.85, 0.55, 0.38)
    glass = taper(u + 0.1, v, 0.52, 0.8, 0.45, 0.34)
    wheels = torch.minimum(
        ellipse(u, v, -0.55, 0.15, 0.17, 0.17), ellipse(u, v, 0.55, 0.15, 0.17, 0.17)
    )
    dark = torch.tensor((0.08, 0.09, 0.1), device=g.device)
    return [(torch.minimum(body, cabin), paint(g)), (glass, dark * 3), (wheels, dark)]


def _balloon(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    if uniform(g) < 0.5:  # a bird, a kite, a dragon from afar: two wings
        flap = uniform(g, 0.1, 0.5)
        wing = (v - 0.5 - flap * u.abs()).abs() - 0.09 * (1 - u.abs() * 1.6).clamp(0, 1)
        wings = torch.maximum(wing, u.abs() - 0.6)
        return [(torch.minimum(wings, ellipse(u, v, 0, 0.47, 0.08, 0.16)), paint(g) * 0.5)]
    envelope = ellipse(u, v, 0, 0.68, 0.3, 0.32)
    cone = taper(u, v, 0.18, 0.5, 0.06, 0.24)
    basket = box(u, v, -0.06, 0.06, 0.0, 0.12)
    return [(torch.minimum(envelope, cone), paint(g)), (basket, paint(g) * 0.5)]


def _flower(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    """Whorls of petals on a stem, perhaps with leaves."""
    green = torch.tensor((0.2, 0.36, 0.14), device=g.device) * uniform(g, 0.4, 1.5)
    stem = (u + 0.1 * (v - 0.6) * uniform(g, -1, 1)).abs() - 0.015
    parts: list[Part] = [(torch.maximum(stem, v - 0.6), green)]
    for side in (-1, 1):
        if uniform(g) < 0.6:
            parts.append((ellipse(u, v, 0.22 * side, uniform(g, 0, 0.3), 0.24, 0.06), green))
    tone, count = paint(g), int(uniform(g, 4, 13))
    radius, angle = (u.square() + (v - 0.62).square()).sqrt(), torch.atan2(v - 0.62, u)
    for k in range(int(uniform(g, 1, 5))):
        petals = 0.75 + 0.25 * torch.cos(count * angle + k * math.pi)
        parts.append((radius - 0.38 * (1 - 0.22 * k) * petals, tone * (0.8 + 0.15 * k)))
    return [*parts, (radius - uniform(g, 0.02, 0.12), paint(g) * 0.8)]


def _flame(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    """A fire on logs: tongues, the hotter the further inside."""
    wood = torch.tensor((0.14, 0.1, 0.08), device=g.device)
    logs = torch.minimum((v - 0.1 - 0.3 * u).abs() - 0.05, (v - 0.1 + 0.3 * u).abs() - 0.05)
    parts: list[Part] = [(torch.maximum(logs, u.abs() - 0.45), wood)]
    flicker = power_noise(g, 1, u.shape[-1], 1.6)[0]
    for k, tone in enumerate(((0.9, 0.3, 0.06), (1.0, 0.58, 0.12), (1.0, 0.9, 0.55))):
        tongue = taper(u + 0.09 * flicker * v, v, 0.05, 0.95 - 0.22 * k, 0.3 - 0.09 * k, 0.0)
        parts.append((tongue + 0.05 * flicker * v, torch.tensor(tone, device=g.device)))
    return parts
