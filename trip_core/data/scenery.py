"""The layers that the world's places are made of: skies, far land, ground, water, trees, things."""

import torch
from torch import Tensor

from ..nn.motion_field import SKY, STATIC, WATER, coordinates
from .canvas import CANVAS, GROUNDS, STONES, WATERS, Canvas, Layer
from .textures import dead_leaves, mix, outline, recline, relief, smoothstep
from .things import draw_building, draw_thing

_LEAVES = ((0.14, 0.22, 0.10), (0.24, 0.30, 0.12), (0.40, 0.24, 0.10), (0.10, 0.12, 0.12))
_LEAVES += ((0.34, 0.46, 0.16), (0.55, 0.52, 0.18), (0.75, 0.45, 0.52), (0.16, 0.34, 0.22))
_BARKS = ((0.16, 0.11, 0.08), (0.34, 0.27, 0.22), (0.10, 0.09, 0.09), (0.55, 0.50, 0.46))


def photograph(color: Tensor, look: Tensor) -> Tensor:
    """Give pictures their photographic look.

    Args:
        color: ``[B, 3, H, W]`` in 0..1.
        look: Eight numbers in 0..1: gamma, contrast, saturation, three gains, vignette, unused.
    """
    gamma, contrast, saturation, *gains, vignette, _ = look.tolist()
    color = color.clamp(1e-4, 1) ** (0.75 + 0.6 * gamma)
    grey = color.mean(1, keepdim=True)
    color = grey + (color - grey) * (0.5 + 0.9 * saturation)
    color = 0.5 + (color - 0.5) * (0.8 + 0.4 * contrast)
    color = color * torch.tensor([0.9 + 0.2 * g for g in gains], device=color.device).view(3, 1, 1)
    distance = coordinates(*color.shape[-2:], like=color).square().sum(0)
    return (color * (1 - 0.7 * max(vignette - 0.5, 0) * distance)).clamp(0, 1)


def sky(c: Canvas, below: float | None = None) -> Layer:
    """A gradient, perhaps stars, a sun or moon, clouds; down to ``below`` or the horizon."""
    zenith, haze, lit, shaded = (p.view(3, 1, 1) for p in c.palette)
    bottom = c.horizon if below is None else below
    height = ((c.y + 0.75) / (bottom + 0.75)).clamp(0, 1)[None]
    color = mix(zenith, haze, height ** c.uniform(0.8, 2.2))
    if c.palette[0].mean() < 0.15 and c.chance(0.7):
        stars = torch.rand(c.side, c.side, generator=c.generator, device=c.generator.device)
        color = color + smoothstep(0.9975, 0.9995, stars)[None] * 0.8 * (1 - height)
        if c.chance(0.5):
            tints = torch.rand(3, 1, 1, generator=c.generator, device=c.generator.device)
            color = color + tints * smoothstep(0, 2.5, c.noise(1.6)) * 0.6
    if c.chance(0.4):
        sx, sy = c.uniform(-0.5, 0.5), bottom - c.uniform(0.0, 0.5)
        far = ((c.x - sx) ** 2 + (c.y - sy) ** 2).sqrt()[None]
        color = color + lit * 0.5 * torch.exp(-far / c.uniform(0.05, 0.25))
        color = mix(color, lit.clamp_min(0.9), smoothstep(0.045, 0.03, far))
    if c.chance(0.85):
        for _ in range(1 if c.chance(0.7) else 2):
            color = _clouds(c, color, lit, shaded, height)
    return c.layer(color, 1.0, 0.03, SKY)


def _clouds(c: Canvas, color: Tensor, lit: Tensor, shaded: Tensor, height: Tensor) -> Tensor:
    """Paint one bank of clouds over a sky: heaps, veils or streaks, calm or stormy."""
    stretch = c.uniform(3, 9) if c.chance(0.25) else c.uniform(1, 3.5)
    shape = c.noise(c.uniform(1.3, 2.2), stretch)
    cover, soft = c.uniform(-0.8, 1.2), c.uniform(0.15, 1.6)
    body = smoothstep(cover, cover + soft, shape + 0.4 * (1 - height))
    shade = smoothstep(
        -1.0, 1.2, c.noise(1.5) * 0.5 + (shape - shape.roll(3, -2)) * c.uniform(2, 12)
    )
    storm = c.uniform(0.2, 0.9) if c.chance(0.4) else 1.0
    return mix(color, mix(shaded * storm, lit, shade), body * c.uniform(0.35, 1.0))


def ridge(c: Canvas, order: int, at: float | None = None) -> Layer:
    """A line of hills or mountains, the farther the hazier."""
    rough = c.uniform(0.35, 0.6)
    line = outline(c.generator, c.side, 7, rough, c.uniform(1, 3))
    lift = (0.02 + 0.42 * c.uniform() ** 2) / (1 + 0.5 * order)
    base = c.horizon if at is None else at
    top = base - lift * (0.55 + 0.6 * line)
    alpha = smoothstep(0, 1.5 / c.side, c.y - top[None])
    height = c.noise(c.uniform(1.2, 1.7), 1)
    stone = c.pick((*GROUNDS, *STONES)).view(3, 1, 1)
    color = stone * relief(height, c.light, c.uniform(0.5, 3.0)) * c.uniform(0.5, 1.0)
    color = color * (1 + 0.15 * c.noise(0.9))
    if c.chance(0.25):  # snow above a line
        color = mix(
            color, torch.tensor(0.93), smoothstep(0.1, 0.0, c.y - top[None] - 0.03 * height)
        )
    haze = (0.75 - 0.3 * order) * c.uniform(0.3, 1.1)
    color = mix(color, c.palette[1].view(3, 1, 1), max(min(haze, 0.92), 0.0))
    return c.layer(color, alpha[None], 0.08 + 0.05 * order, STATIC)


def skyline(c: Canvas, order: int) -> Layer:
    """Roofs and towers, some windows lit."""
    device = c.generator.device
    count = int(c.uniform(8, 30))
    heights = torch.rand(count, generator=c.generator, device=device) ** 2
    column = ((c.x[0] / CANVAS + 0.5) * count).clamp(0, count - 1).long()
    within = (c.x[0] / CANVAS + 0.5) * count - column
    roof = torch.rand(count, generator=c.generator, device=device)[column] * 0.06
    peak = (0.5 - (within - 0.5).abs()) * 2 * roof * float(c.chance(0.6))
    scale = c.uniform(0.08, 0.35)
    top = c.horizon + 0.02 - scale * heights[column] - peak
    alpha = smoothstep(0, 1.5 / c.side, c.y - top[None])
    shade = 0.5 + torch.rand(count, generator=c.generator, device=device)[column]
    wall = c.pick((*GROUNDS, *STONES)).view(3, 1, 1)
    color = wall * shade * (1 + 0.08 * c.noise(0.8)) * c.uniform(0.4, 1.0)
    if c.chance(0.7):
        cell = c.uniform(0.012, 0.03)
        gx, gy = torch.floor(c.x / cell), torch.floor(c.y / (cell * 1.4))
        frame = (c.x / cell - gx - 0.5).abs().lt(0.3) & (c.y / cell / 1.4 - gy - 0.5).abs().lt(0.32)
        lit = ((gx * 12.9898 + gy * 78.233).sin() * 43758.5453).frac().abs() < c.uniform(0.1, 0.8)
        glow = torch.tensor((1.0, 0.85, 0.5), device=device).view(3, 1, 1)
        color = mix(color, glow * c.uniform(0.3, 1.0), (frame & lit).float()[None])
    color = mix(color, c.palette[1].view(3, 1, 1), c.uniform(0.0, 0.6) / (1 + order))
    return c.layer(color, alpha[None], 0.10 + 0.05 * order, STATIC)


def _nearness(c: Canvas, top: Tensor | float) -> Tensor:
    """Return the nearness of level ground below a horizon: 0.12 there, 1 at the picture's foot."""
    return (0.12 + 0.88 * (c.y - top) / (0.62 - c.horizon)).clamp(0.05, 1)


def ground(c: Canvas, top: float, base: Tensor) -> Layer:
    """Level land from ``top`` down, of one colour, with grain and clutter in perspective."""
    near = _nearness(c, top)
    tile = torch.cat(
        (c.tile(c.uniform(0.6, 1.4)), dead_leaves(c.generator, c.textures)[None] - 0.5)
    )
    grain, clutter = recline(tile, near, c.x, c.uniform(0.4, 1.6)).split(1)
    color = base.view(3, 1, 1) * (0.75 + 0.35 * near)
    color = color * (1 + c.uniform(0.05, 0.3) * grain) * (1 + c.uniform(0.0, 0.5) * clutter)
    if c.chance(0.35):  # the shadows of trees and clouds: dark patches on land are not yet water
        tree_shade = recline(c.tile(c.uniform(1.0, 2.0), c.uniform(1, 4)), near, c.x, 0.5)
        start = c.uniform(-1.0, 0.8)
        dark = smoothstep(start, start + c.uniform(0.1, 0.8), tree_shade)
        cool = mix(torch.ones(3, 1, 1, device=near.device), c.palette[0].view(3, 1, 1), 0.4)
        color = color * mix(torch.ones_like(dark), cool * c.uniform(0.25, 0.7), dark)
    color = mix(color, c.palette[1].view(3, 1, 1), 0.35 * (1 - near) * c.uniform(0.0, 1.0))
    edge = smoothstep(0, 2.0 / c.side, c.y - top)
    return c.layer(color, edge[None], near[None], STATIC)


def lower_half(c: Canvas, above: list[Layer]) -> Layer:
    """Ground, water, or both with a shore between them."""
    land = ground(c, c.horizon, c.pick(GROUNDS))
    share = c.uniform()
    if share < 0.40:
        return land
    water = _water(c, above)
    if share < 0.68:
        return water
    # A shore: a bank beside, before, or around the water.
    line = 0.12 * outline(c.generator, c.side, 6) + c.uniform(-0.25, 0.3)
    side = c.uniform()
    foam = None
    if side < 0.3:  # a beach: a strip of sea, then sand
        bank = c.y - c.horizon - c.uniform(0.04, 0.3) - 0.15 * line[None]
        foam = c.uniform(0.005, 0.03) if c.chance(0.6) else None
    elif side < 0.48:
        bank = c.y - c.horizon - 0.25 - line[None] * 0.6  # near bank
    elif side < 0.74:
        bank = (c.x - line[:, None]) * (1 if c.chance(0.5) else -1)
    elif side < 0.85:
        bank = 0.05 + 0.05 * line[None] - (c.y - c.horizon)  # far bank
    else:
        bank = (c.x - line[:, None] * 2).abs() - c.uniform(0.08, 0.3) * (
            0.3 + 2 * (c.y - c.horizon)
        )
    dry = smoothstep(-0.004, 0.004, bank)[None]
    region = torch.where(dry > 0.5, STATIC, WATER)
    wet = mix(torch.ones_like(dry), torch.tensor(0.75), smoothstep(0.03, 0.0, bank.abs())[None])
    sea = water.color
    if foam is not None:
        surf = smoothstep(foam, 0.0, (bank + foam + 0.3 * foam * c.noise(1.0)[0]).abs())[None]
        sea = mix(sea, torch.tensor(0.92), surf * c.uniform(0.5, 1.0))
    return c.layer(mix(sea, land.color * wet, dry), land.alpha, land.depth, region)


def _water(c: Canvas, above: list[Layer]) -> Layer:
    """Water: its own colour, the mirrored sky and land, crests and glints, in perspective."""
    near = _nearness(c, c.horizon)
    waves = recline(
        c.tile(c.uniform(0.9, 1.6), c.uniform(2, 12), 2), near, c.x, c.uniform(0.4, 1.6)
    )
    scene = torch.zeros(3, c.side, c.side, device=c.generator.device)
    for layer in above:
        scene = mix(scene, layer.color, layer.alpha)
    shift = c.uniform(0.0, 0.02) * near * waves[0]
    mirrored = torch.stack((c.x + shift, 2 * c.horizon - c.y + 2 * shift)) / (CANVAS / 2)
    mirror = torch.nn.functional.grid_sample(
        scene[None], mirrored.movedim(0, -1)[None], padding_mode="reflection", align_corners=False
    )[0]
    body = c.pick(WATERS).view(3, 1, 1) * (1 + 0.25 * c.noise(1.8) * c.uniform())
    calm = c.chance(0.4)  # a calm lake is a mirror, clouds and all
    clear = c.uniform(0.75, 1.0) if calm else c.uniform(0.0, 0.85) * (1 - 0.5 * near)
    color = mix(body, mirror * c.uniform(0.75, 1.0), clear)
    color = color * (1 + (0.06 if calm else c.uniform(0.02, 0.4)) * waves[:1])
    if c.chance(0.4):  # the sun's road on the water
        road = torch.exp(-(((c.x - c.uniform(-0.4, 0.4)) / (0.06 + 0.25 * near)) ** 2))
        glint = smoothstep(-0.3, 1.5, waves[1:]) * road * c.uniform(0.3, 1.2)
        color = mix(color, c.palette[2].view(3, 1, 1), glint.clamp(0, 1))
    haze = c.uniform(0, 0.9) * (1 - near) ** 2
    color = mix(color, c.palette[1].view(3, 1, 1), haze)
    if c.chance(0.5):
        color = color + c.palette[2].view(3, 1, 1) * smoothstep(1.3, 2.2, waves[1:]) * c.uniform(
            0, 0.8
        )
    edge = smoothstep(0, 2.0 / c.side, c.y - c.horizon)
    return c.layer(color, edge[None], near[None], WATER)


def trees(c: Canvas) -> Layer:
    """A row of trees or bushes at some distance, rooted on the ground."""
    foot = c.horizon + c.uniform(0.0, 0.12)
    near = min(0.9, 0.2 + 1.2 * (foot - c.horizon))
    line = outline(c.generator, c.side, 7, 0.75, c.uniform(2, 6))
    leaf = c.noise(0.9)
    top = foot - (0.02 + 0.3 * c.uniform() ** 2) * (0.7 + line) + 0.01 * leaf[0]
    gap = smoothstep(c.uniform(-0.6, 0.1), 0.3, outline(c.generator, c.side, 3, 0.5, 2))
    alpha = smoothstep(0, 0.01, c.y - top) * smoothstep(0.012, 0.0, c.y - foot) * gap[None]
    color = c.pick(_LEAVES).view(3, 1, 1) * (1 + 0.5 * leaf).clamp(0.3, 2)
    color = mix(color, c.palette[1].view(3, 1, 1), c.uniform(0, 0.5) * (1 - near))
    return c.layer(color, alpha[None], near, STATIC)


def tree(c: Canvas, foot: float, scale: float) -> Layer:
    """One tree: trunk, boughs and a crown of leaves with the sky between them."""
    at, near = c.uniform(-0.6, 0.6), min(0.95, 0.2 + 1.3 * max(foot - c.horizon, 0.0))
    u, v = (c.x - at) / scale, (foot - c.y) / scale  # v: 0 at the foot, 1 at the top
    lean = c.uniform(-0.15, 0.15)
    wood = (u - lean * v).abs() - 0.05 * (1.1 - v).clamp(0.15, 1)
    for _ in range(int(c.uniform(1, 5))):
        rise, start = c.uniform(-1.5, 1.5), c.uniform(0.3, 0.7)
        along = (u - lean * start) * rise
        bough = (v - start - along.abs()).abs() - 0.02 * (1 - along.abs()).clamp(0.1, 1)
        wood = torch.minimum(wood, torch.maximum(bough, torch.maximum(-u * rise, u.abs() - 0.4)))
    trunk = smoothstep(0.01, -0.01, wood) * smoothstep(-0.02, 0.0, v) * smoothstep(1.0, 0.8, v)
    leaf = c.noise(c.uniform(0.5, 1.0))
    round_ = 1 - (((u - lean) / c.uniform(0.35, 0.7)) ** 2 + ((v - 0.72) / 0.36) ** 2).sqrt()
    dense = c.uniform(-0.2, 0.9)
    crown = smoothstep(0.0, 0.25, round_ * 2 + 0.5 * leaf[0] + dense - 0.6) * (round_ > -0.25)
    tone = c.pick(_LEAVES).view(3, 1, 1)
    lit = relief(c.noise(1.2), c.light, 2.0) * (0.8 + 0.6 * (v - 0.6)).clamp(0.5, 1.3)
    green = tone * (1 + 0.45 * leaf).clamp(0.3, 2) * lit
    bark = c.pick(_BARKS).view(3, 1, 1) * (1 + 0.3 * c.noise(0.9, 0.3))
    color = mix(mix(c.palette[1].view(3, 1, 1) * 0, bark, trunk[None]), green, crown[None])
    return c.layer(color, torch.maximum(trunk, crown)[None], near, STATIC)


def thicket(c: Canvas, near: float) -> Layer:
    """A wall of leaves as far as one sees, light falling through: bushes, a wood's depth."""
    patches = dead_leaves(c.generator, c.side, 220)[None]
    tone, other = c.pick(_LEAVES).view(3, 1, 1), c.pick(_LEAVES).view(3, 1, 1)
    color = mix(tone, other, patches) * (0.4 + 0.9 * patches) * (1 + 0.4 * c.noise(0.7))
    glow = smoothstep(c.uniform(-0.2, 0.8), 1.8, c.noise(1.3)) * c.uniform(0, 0.9)
    color = mix(color, c.palette[2].view(3, 1, 1), glow)
    top = c.horizon - c.uniform(0.1, 0.9) + 0.25 * outline(c.generator, c.side, 7, 0.7, 3)
    edge = smoothstep(0.0, 0.03, c.y - top[None] + 0.03 * c.noise(0.6)[0])
    return c.layer(color, edge[None], near, STATIC)


def building(c: Canvas) -> Layer:
    """A castle or a house on the ground or a rock, before the sky: large, often pale, and still."""
    foot = c.horizon + c.uniform(-0.05, 0.15)
    at, scale = (c.uniform(-0.4, 0.4), foot), c.uniform(0.15, 0.6)
    color, alpha = draw_building(c.generator, c.x, c.y, at, scale, c.light)
    rock = c.y - foot + 0.25 * ((c.x - at[0]).abs() / scale - 0.55) + 0.03 * c.noise(1.4)[0]
    reach = smoothstep(0.16, 0.12, (c.y - foot).abs() + 0.1 * ((c.x - at[0]) / scale).abs())
    mound = smoothstep(0, 0.008, rock) * reach
    stone = c.pick((*GROUNDS, *STONES)).view(3, 1, 1) * relief(c.noise(1.4), c.light, 2.0)
    color = mix(stone * 0.8, color, alpha)
    color = mix(color, c.palette[1].view(3, 1, 1), c.uniform(0, 0.5))
    return c.layer(color, torch.maximum(alpha, mound[None]), 0.22, STATIC)


def things(
    c: Canvas, floating: bool, large: bool = False, flying: bool = False, close: bool = False
) -> Layer:
    """One or two things standing, floating or flying in the scene; those that could move.

    ``close`` draws one thing so near that it fills the picture.
    """
    color = torch.zeros(3, c.side, c.side, device=c.generator.device)
    alpha = torch.zeros(1, c.side, c.side, device=c.generator.device)
    near = 0.3
    for _ in range(1 if close or c.chance(0.7) else 2):
        down = c.uniform(0.04, 0.36)
        scale = c.uniform(0.25, 0.55) if large else 0.06 + 0.7 * down * c.uniform(0.5, 1.3)
        if floating and c.chance(0.6):
            scale = c.uniform(0.25, 0.75)  # a ship may fill the picture, wherever it floats
        foot = c.uniform(-0.1, 0.3) if flying else min(c.horizon + down + 0.3 * large, 0.5)
        near = 0.35 if flying else min(0.95, 0.15 + 1.4 * (foot - c.horizon))
        at = (c.uniform(-0.35, 0.35), foot)
        if close:
            scale, foot, near = c.uniform(0.6, 1.5), 0.55, 0.8
            at = (at[0] * 0.5, foot + 0.2 * (scale - 0.6))
        tint, mask = draw_thing(
            c.generator, c.x, c.y, at, scale, c.light, floating, flying, close=close
        )
        color, alpha = mix(color, tint, mask), torch.maximum(alpha, mask)
    layer = c.layer(color, alpha, max(near, 0.2), STATIC)
    return Layer(layer.color, layer.alpha, layer.depth, layer.region, movable=True)


def near_frame(c: Canvas) -> Layer:
    """Foliage, a rock, a pillar at the picture's edge, close to the viewer and often dark."""
    leaf = c.noise(c.uniform(0.7, 1.4))
    side = c.uniform()
    if side < 0.4:
        edge = c.x * (1 if c.chance(0.5) else -1) - c.uniform(0.25, 0.42) + 0.2 * c.y.abs()
    elif side < 0.7:
        edge = c.y - c.uniform(0.3, 0.42)
    else:
        edge = -c.y - c.uniform(0.3, 0.42)
    alpha = smoothstep(0.0, 0.02, edge[None] + 0.05 * leaf)
    tone = c.pick(((0.06, 0.08, 0.05), (0.16, 0.2, 0.1), (0.2, 0.16, 0.13), (0.3, 0.33, 0.3)))
    color = tone.view(3, 1, 1) * (1 + 0.4 * c.noise(1.0)).clamp(0.3, 2)
    return c.layer(color, alpha, 0.97, STATIC)
