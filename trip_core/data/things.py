"""Things that stand, float or fly in the world's scenes: shaded shapes told by their outline."""

import math

import torch
from torch import Generator, Tensor

from .textures import power_noise, smoothstep, uniform

_COLORS = (
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


def draw_thing(
    generator: Generator,
    x: Tensor,
    y: Tensor,
    at: tuple[float, float],
    scale: float,
    light: float,
    floating: bool,
    flying: bool,
    person: bool = False,
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
        person: Draw head and shoulders.

    Returns:
        (color ``[3, c, c]``, coverage ``[1, c, c]``).
    """
    u = (x - at[0]) / scale * (1 if uniform(generator) < 0.5 else -1)
    v = (at[1] - y) / scale  # 0 at the foot, 1 at the top
    draw = _bust if person else None
    if draw is None and floating and uniform(generator) < 0.8:
        draw = _ship if uniform(generator) < 0.65 else _yacht
    if draw is None and flying:
        draw = _balloon
    if draw is None:
        draw = (_person, _bottle, _blob, _blob, _animal, _car)[int(uniform(generator, 0, 5.999))]
    parts = draw(generator, u, v)
    return _shaded(generator, u, v, parts, light)


def _shaded(
    generator: Generator,
    u: Tensor,
    v: Tensor,
    parts: list[tuple[Tensor, Tensor]],
    light: float,
) -> tuple[Tensor, Tensor]:
    """Paint parts over one another, lit from one side."""
    soft = 1.5 * abs(float(u[0, 1] - u[0, 0]))
    color = torch.zeros(3, *u.shape, device=u.device)
    cover = torch.zeros(1, *u.shape, device=u.device)
    grain = power_noise(generator, 1, u.shape[-1], uniform(generator, 0.8, 1.8))
    for distance, paint in parts:
        mask = smoothstep(soft / 2, -soft / 2, distance)[None]
        round_ = (-distance / 0.25).clamp(0, 1)[None]  # darker towards the outline
        side = (math.cos(light) * u + math.sin(light) * v)[None]
        shade = (0.65 + 0.35 * round_) * (1 + 0.5 * side).clamp(0.5, 1.4) * (1 + 0.08 * grain)
        color = color + (paint.reshape(3, *paint.shape[1:] or (1, 1)) * shade - color) * mask
        cover = torch.maximum(cover, mask)
    return color.clamp(0, 1), cover


Part = tuple[Tensor, Tensor]


def _paint(g: Generator) -> Tensor:
    base = torch.tensor(_COLORS[int(uniform(g, 0, len(_COLORS) - 1e-6))], device=g.device)
    jitter = torch.rand(3, generator=g, device=g.device) * 0.2 - 0.1
    return (base + jitter).clamp(0.02, 1)


def _pale(g: Generator) -> Tensor:
    if uniform(g) < 0.35:
        return _paint(g)
    warm = torch.rand(3, generator=g, device=g.device) * 0.25 + 0.75
    return warm * uniform(g, 0.55, 1.0)


def _ellipse(u: Tensor, v: Tensor, cx: float, cy: float, rx: float, ry: float) -> Tensor:
    """Return an approximate signed distance to an ellipse, negative inside."""
    return ((((u - cx) / rx) ** 2 + ((v - cy) / ry) ** 2).sqrt() - 1) * min(rx, ry)


def _box(u: Tensor, v: Tensor, left: float, right: float, low: float, high: float) -> Tensor:
    return torch.maximum(
        (u - (left + right) / 2).abs() - (right - left) / 2,
        (v - (low + high) / 2).abs() - (high - low) / 2,
    )


def _taper(u: Tensor, v: Tensor, low: float, high: float, wide: float, narrow: float) -> Tensor:
    """Return a signed distance to a shape whose half-width goes from wide (low) to narrow."""
    half = wide + (narrow - wide) * ((v - low) / (high - low)).clamp(0, 1)
    return torch.maximum(u.abs() - half, (v - (low + high) / 2).abs() - (high - low) / 2)


def _ship(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    """A tall ship: hull, bowsprit, masts with yards of sails, jibs."""
    hull = _taper(u, v, -0.02, 0.16, 0.32, 0.46)
    bowsprit = torch.maximum((v - 0.14 - 0.35 * (u - 0.4)).abs() - 0.008, (u - 0.5).abs() - 0.22)
    parts = [(torch.minimum(hull, bowsprit), _paint(g))]
    cloth, dark = _pale(g), torch.tensor((0.15, 0.13, 0.11), device=g.device)
    sag, turn = uniform(g, 0, 0.12), uniform(g, -0.5, 0.5)
    for k in range(int(uniform(g, 1, 3.999))):
        mast = uniform(g, -0.05, 0.05) + (k - 1) * 0.25
        top = uniform(g, 0.7, 1.0)
        parts.append((_box(u, v, mast - 0.012, mast + 0.012, 0.1, top), dark))
        if uniform(g) < 0.85:
            belly = uniform(g, 0.08, 0.17)
            for low, high in ((0.2, 0.44), (0.46, 0.66), (0.68, 0.82), (0.84, 0.94)):
                if high < top and uniform(g) < 0.9:
                    parts.append(_sail(u - mast - 0.02, v, low, high, belly, cloth, sag, turn))
    for k in range(int(uniform(g, 0, 3.5))):  # jibs, from the bowsprit up to the foremast
        foot = 0.66 - 0.13 * k
        jib = torch.maximum(u - foot + (v - 0.24) * (foot - 0.28) / 0.5, 0.3 + 0.05 * k - u)
        parts.append((torch.maximum(jib, 0.24 - v), cloth * uniform(g, 0.8, 1.0)))
    return [(d, p.to(u.device)) for d, p in parts]


def _sail(
    u: Tensor,
    v: Tensor,
    low: float,
    high: float,
    belly: float,
    cloth: Tensor,
    sag: float,
    turn: float,
) -> Part:
    """A square sail: its foot curved up, swollen by the wind and so lit unevenly."""
    across = (u / belly).clamp(-1, 1)
    foot = low + sag * (1 - across**2) * (high - low) * 2
    shape = torch.maximum(_taper(u, v, low, high, belly, belly * 0.75), foot - v)
    swell = 0.85 + 0.3 * turn * across + 0.25 * (v - low) / (high - low)
    return shape, cloth.view(3, 1, 1) * swell.clamp(0.4, 1.2)


def _yacht(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    """A sailing boat: a hull, a mainsail and a jib, heeling."""
    heel = uniform(g, -0.3, 0.3)
    u = u - heel * v
    hull = _taper(u, v, -0.03, 0.08, 0.22, 0.32)
    mast = _box(u, v, -0.008, 0.008, 0.05, 1.0)
    main = torch.maximum(torch.maximum(u + 0.01, -u - 0.36 * (1.0 - v)), 0.12 - v)
    jib = torch.maximum(torch.maximum(0.02 - u, u - 0.3 * (0.85 - v)), 0.12 - v)
    cloth, other = _pale(g), _pale(g)
    fold = 0.8 + 0.3 * ((u + 0.2) * uniform(g, 2, 5)).clamp(-1, 1)
    return [
        (hull, _paint(g)),
        (mast, torch.full((3,), 0.2, device=g.device)),
        (main, cloth.view(3, 1, 1) * fold),
        (jib, (cloth if uniform(g) < 0.6 else other).view(3, 1, 1) * (1.6 - fold)),
    ]


def draw_building(
    generator: Generator, x: Tensor, y: Tensor, at: tuple[float, float], scale: float, light: float
) -> tuple[Tensor, Tensor]:
    """Draw a castle, church or house: walls, towers, roofs; takes what ``draw_thing`` takes."""
    g = generator
    u, v = (x - at[0]) / scale, (at[1] - y) / scale
    # Walls and sails are pale more often than not, and take the colour of the clouds behind them.
    wall, roof = _pale(g), _paint(g) * 0.6
    parts: list[Part] = [(_box(u, v, -0.6, 0.6, -0.3, uniform(g, 0.15, 0.4)), wall)]
    for _ in range(int(uniform(g, 1, 6.999))):
        place, wide, top = uniform(g, -0.65, 0.65), uniform(g, 0.04, 0.16), uniform(g, 0.3, 0.85)
        parts.append(
            (_box(u, v, place - wide, place + wide, -0.3, top), wall * uniform(g, 0.8, 1.1))
        )
        peak = uniform(g, 0.5, 3.0) * wide
        parts.append((_taper(u - place, v, top, top + peak, wide * 1.2, 0.0), roof))
    return _shaded(generator, u, v, parts, light)


def _person(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    skin = torch.tensor((0.85, 0.65, 0.52), device=g.device) * uniform(g, 0.35, 1.05)
    if uniform(g) > 0.4:
        return _bust(g, u, v)
    body = torch.minimum(_taper(u, v, 0.42, 0.8, 0.12, 0.15), _taper(u, v, 0.0, 0.45, 0.1, 0.12))
    head = _ellipse(u, v, 0, 0.9, 0.065, 0.085)
    hair = torch.maximum(_ellipse(u, v, 0, 0.925, 0.075, 0.085), 0.9 - v)
    return [(body, _paint(g)), (head, skin), (hair, _paint(g) * 0.4)]


def _bust(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    """Head and shoulders; hair over the forehead, perhaps down to the shoulders; eyes, mouth."""
    skin = torch.tensor((0.85, 0.65, 0.52), device=g.device) * uniform(g, 0.35, 1.05)
    body = torch.minimum(_ellipse(u, v, 0, 0.0, 0.5, 0.42), _box(u, v, -0.09, 0.09, 0.2, 0.6))
    head = _ellipse(u, v, 0, 0.68, 0.19, 0.26)
    hair = torch.maximum(_ellipse(u, v, 0, 0.74, 0.24, 0.27), 0.6 - v + 2.2 * u.abs() - 0.35)
    parts = [(body, _paint(g)), (head, skin)]
    tone = _paint(g) * uniform(g, 0.2, 0.9)
    if uniform(g) < 0.5:  # long hair, behind
        parts.insert(0, (_ellipse(u, v, 0, 0.6, 0.28, 0.4), tone))
    for side in (-0.08, 0.08):
        parts.append((_ellipse(u, v, side, 0.7, 0.035, 0.018), skin * 0.25))
    parts.append((_ellipse(u, v, 0, 0.53, 0.06, 0.02), skin * 0.6))
    return [*parts, (hair, tone)]


def _bottle(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    wide = uniform(g, 0.1, 0.22)
    body = torch.minimum(_box(u, v, -wide, wide, 0, 0.6), _taper(u, v, 0.58, 0.75, wide, 0.05))
    neck = _box(u, v, -0.05, 0.05, 0.7, 1.0)
    label = _box(u, v, -wide * 0.95, wide * 0.95, 0.2, 0.45)
    glass = _paint(g)
    return [(torch.minimum(body, neck), glass), (label, _paint(g))]


def _blob(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    parts: list[Part] = []
    for _ in range(int(uniform(g, 2, 6))):
        rx, ry = uniform(g, 0.1, 0.35), uniform(g, 0.1, 0.35)
        cx, cy = uniform(g, -0.25, 0.25), uniform(g, ry, 0.9)
        parts.append((_ellipse(u, v, cx, cy, rx, ry), _paint(g)))
    return parts


def _animal(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    fur = _paint(g)
    body = _ellipse(u, v, 0, 0.5, 0.42, 0.24)
    for place in (-0.3, -0.18, 0.2, 0.32):
        body = torch.minimum(body, _box(u, v, place - 0.05, place + 0.05, 0.0, 0.45))
    head = _ellipse(u, v, 0.45, uniform(g, 0.7, 0.85), 0.17, 0.16)
    neck = _ellipse(u, v, 0.36, 0.62, 0.14, 0.2)
    return [(torch.minimum(body, neck), fur), (head, fur * uniform(g, 0.7, 1.2))]


def _car(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    body = _box(u, v, -0.9, 0.9, 0.12, 0.5)
    cabin = _taper(u + 0.1, v, 0.45, 0.85, 0.55, 0.38)
    glass = _taper(u + 0.1, v, 0.52, 0.8, 0.45, 0.34)
    wheels = torch.minimum(
        _ellipse(u, v, -0.55, 0.15, 0.17, 0.17), _ellipse(u, v, 0.55, 0.15, 0.17, 0.17)
    )
    dark = torch.tensor((0.08, 0.09, 0.1), device=g.device)
    return [(torch.minimum(body, cabin), _paint(g)), (glass, dark * 3), (wheels, dark)]


def _balloon(g: Generator, u: Tensor, v: Tensor) -> list[Part]:
    if uniform(g) < 0.5:  # a bird, a kite, a dragon from afar: two wings
        flap = uniform(g, 0.1, 0.5)
        wing = (v - 0.5 - flap * u.abs()).abs() - 0.09 * (1 - u.abs() * 1.6).clamp(0, 1)
        wings = torch.maximum(wing, u.abs() - 0.6)
        return [(torch.minimum(wings, _ellipse(u, v, 0, 0.47, 0.08, 0.16)), _paint(g) * 0.5)]
    envelope = _ellipse(u, v, 0, 0.68, 0.3, 0.32)
    cone = _taper(u, v, 0.18, 0.5, 0.06, 0.24)
    basket = _box(u, v, -0.06, 0.06, 0.0, 0.12)
    return [(torch.minimum(envelope, cone), _paint(g)), (basket, _paint(g) * 0.5)]
