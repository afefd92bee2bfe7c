"""The world's places: which layers make a landscape, a room, a wood, a portrait.

``draw_scene`` picks a kind of place and stacks its layers, far to near.
"""

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor

from ..nn.motion_field import SKY, STATIC, WATER, coordinates
from .canvas import CANVAS, GROUNDS, SKIES, STONES, WATERS, Canvas, Layer
from .scenery import (
    building,
    ground,
    lower_half,
    near_frame,
    ridge,
    sky,
    skyline,
    thicket,
    things,
    tree,
    trees,
)
from .textures import dead_leaves, mix, outline, relief, smoothstep, uniform


def draw_scene(generator: Generator, size: int) -> list[Layer]:
    """Return the layers of a random scene, far to near, for pictures of ``size`` pixels."""
    side = round(size * CANVAS)
    place = coordinates(side, side, like=torch.zeros((), device=generator.device)) * CANVAS
    canvas = Canvas(
        generator,
        side,
        place[0],
        place[1],
        horizon=uniform(generator, -0.22, 0.24),
        palette=_hour(generator),
        light=uniform(generator, 0, 2 * math.pi),
        textures=max(64, size),
    )
    chance = canvas.uniform()
    layers = next(draw for share, draw in _PLACES if chance < share)(canvas)
    if canvas.chance(0.18):
        layers.append(near_frame(canvas))
    return layers


def _hour(generator: Generator) -> Tensor:
    """Return sky colours, ``[4, 3]``: two hours of the day mixed, and a little off."""
    first, second = (SKIES[int(uniform(generator, 0, len(SKIES) - 1e-6))] for _ in range(2))
    share = uniform(generator) ** 3  # mostly one of them
    palette = torch.tensor(first, device=generator.device)
    palette = mix(palette, torch.tensor(second, device=generator.device), share)
    tint = 0.16 * torch.rand(4, 3, generator=generator, device=generator.device) - 0.08
    return (palette + tint).clamp(0, 1)


def _landscape(c: Canvas) -> list[Layer]:
    """Sky, ridges or roofs, then ground, water, or both; sometimes things stand or float there."""
    layers = [sky(c)]
    for k in range(int(c.uniform(0, 3.4))):
        roofs = c.chance(0.25)
        layers.append(skyline(c, k) if roofs else ridge(c, k))
    layers.append(lower_half(c, layers))
    if c.chance(0.35):
        layers.append(trees(c))
    if c.chance(0.3):
        layers.append(building(c))
    if c.chance(0.2):
        layers.append(tree(c, c.horizon + c.uniform(0.02, 0.3), c.uniform(0.3, 1.1)))
    if c.chance(0.5):
        floating = any(bool((layer.region == WATER).any()) for layer in layers)
        layers.append(things(c, floating))
    return layers


def _cloud_sea(c: Canvas) -> list[Layer]:
    """Peaks above a bank of clouds."""
    layers = [sky(c)]
    for k in range(int(c.uniform(1, 3))):
        layers.append(ridge(c, k))
    top = c.horizon + c.uniform(0.0, 0.2) + 0.06 * outline(c.generator, c.side)
    billow = c.noise(1.4, c.uniform(1, 2.5)) * relief(c.noise(1.7), c.light, 3)
    color = mix(c.palette[3].view(3, 1, 1), c.palette[2].view(3, 1, 1), smoothstep(-1.2, 1, billow))
    edge = smoothstep(0, 0.06, c.y - top[None] + 0.02 * billow[0])
    layers.append(c.layer(color, edge[None], 0.15, SKY))
    if c.chance(0.4):
        layers.append(things(c, floating=False))
    return layers


def _wood(c: Canvas) -> list[Layer]:
    """A wood, a park, a garden: leaves to the picture's edges, little sky or none."""
    layers = [sky(c)] if c.chance(0.6) else []
    if not layers or c.chance(0.7):
        layers.append(thicket(c, 0.15))
    if not c.chance(0.75):
        layers[0] = _leaves(c)[0]
    layers.append(lower_half(c, layers) if c.chance(0.3) else ground(c, c.horizon, c.pick(GROUNDS)))
    for _ in range(int(c.uniform(1, 4.5))):
        layers.append(tree(c, c.horizon + c.uniform(-0.02, 0.4), c.uniform(0.4, 1.6)))
    if c.chance(0.5):
        layers.append(things(c, floating=False))
    return layers


def _studio(c: Canvas) -> list[Layer]:
    """Things before a seamless backdrop of any colour: a gradient is not yet a sky."""
    ends = torch.rand(2, 3, generator=c.generator, device=c.generator.device)
    if c.chance(0.4):
        ends = ends.mean(1, keepdim=True).expand(2, 3)  # grey, white, black
    if c.chance(0.5):
        ends = mix(ends, ends[:1], torch.tensor(c.uniform(0.5, 1.0)))
    fall = smoothstep(-0.8, 0.8, c.y + 0.4 * c.uniform(-1, 1) * c.x)[None]
    color = mix(ends[0].view(3, 1, 1), ends[1].view(3, 1, 1), fall)
    halo = (c.x**2 + (c.y - c.uniform(-0.3, 0.3)) ** 2)[None]
    color = color * (1 + c.uniform(-0.4, 0.4) * torch.exp(-halo / c.uniform(0.05, 0.4)))
    return [c.layer(color, 1.0, 0.12, STATIC), things(c, floating=False, large=True)]


def _portrait(c: Canvas) -> list[Layer]:
    """Somebody close, before anything out of focus."""
    behind = _landscape(c) if c.chance(0.5) else _wood(c) if c.chance(0.5) else _indoors(c)
    blur = 2 * int(c.uniform(0.5, 5)) + 1
    behind = [_defocused(layer, blur) for layer in behind]
    return [*behind, things(c, floating=False, large=True, close=True)]


def _defocused(layer: Layer, blur: int) -> Layer:
    def soft(maps: Tensor) -> Tensor:
        side = blur // 2
        padded = torch.nn.functional.pad(maps[None], (side,) * 4, mode="replicate")
        return torch.nn.functional.avg_pool2d(padded, blur, 1)[0]

    return replace(layer, color=soft(layer.color), alpha=soft(layer.alpha))


def _indoors(c: Canvas) -> list[Layer]:
    """A wall, a table or floor, things on it: nothing here is sky or water, whatever its colour."""
    base = c.pick((*GROUNDS, *STONES))
    tint = torch.rand(3, generator=c.generator, device=c.generator.device) * 0.3
    color = (base + tint).view(3, 1, 1)
    fall = ((c.x - c.uniform(-0.5, 0.5)) ** 2 + (c.y - c.uniform(-0.5, 0.5)) ** 2)[None]
    color = color * (1.15 - c.uniform(0.2, 1.2) * fall)
    if c.chance(0.5):
        color = color * (1 + c.uniform(0.02, 0.15) * c.noise(c.uniform(0.8, 1.8)))
    if c.chance(0.35):  # a blurred room: soft lights, the look of a portrait's background
        color = mix(color, (dead_leaves(c.generator, c.side, 40)[None]), 0.4)
        color = torch.nn.functional.avg_pool2d(color[None], 9, 1, 4, count_include_pad=False)[0]
    layers = [c.layer(color, 1.0, 0.12, STATIC)]
    if c.chance(0.6):
        layers.append(ground(c, c.uniform(0.05, 0.3), c.pick(GROUNDS)))
    layers.append(things(c, floating=False, large=True))
    return layers


def _leaves(c: Canvas) -> list[Layer]:
    """A wall of occluding shapes: foliage, clutter, fabric."""
    grey = dead_leaves(c.generator, c.side, 160)[None]
    other = dead_leaves(c.generator, c.side, 40)[None]
    first, second, third = c.pick(GROUNDS), c.pick(GROUNDS), c.pick(WATERS)
    color = mix(first.view(3, 1, 1), second.view(3, 1, 1), grey)
    color = mix(color, third.view(3, 1, 1), smoothstep(0.5, 0.8, other) * 0.7) * (0.5 + grey)
    depth = (0.45 + 0.5 * c.y[None] + 0.1 * (other - 0.5)).clamp(0.1, 1)
    return [c.layer(color, 1.0, depth, STATIC)]


def _heavens(c: Canvas) -> list[Layer]:
    """A sky and little else: clouds, stars, a nebula, perhaps something that flies."""
    layers = [sky(c, below=c.uniform(0.5, 1.2))]
    if c.chance(0.5):
        layers.append(ridge(c, 2, at=c.uniform(0.3, 0.45)))
    if c.chance(0.6):
        layers.append(things(c, floating=False, flying=True))
    return layers


#: What share of the scenes, counted up, is which place.
_PLACES = (
    (0.52, _landscape),
    (0.54, _cloud_sea),
    (0.65, _wood),
    (0.75, _indoors),
    (0.82, _studio),
    (0.90, _portrait),
    (0.93, _leaves),
    (1.01, _heavens),
)
