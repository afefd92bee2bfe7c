"""Contact sheets of the procedural world: what the networks are taught, to be looked at."""

import random
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from ..targets import whole_file
from .captions import KINDS, sample_caption
from .world import World, render


def preview(count: int, seed: int, size: int, kind: str | None = None) -> Image.Image:
    """Draw clips of the world, one row each: five frames, flow, regions, and the caption.

    Args:
        count: Rows.
        seed: Which world.
        size: Side of a frame in pixels.
        kind: Only captions of this kind; None draws from all.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    rng = random.Random(seed)
    world = World(size=size, seed=seed)
    line = 14
    sheet = Image.new("RGB", (7 * size, count * (size + line)), "white")
    colors = torch.tensor([[0.3, 0.3, 0.3], [0.4, 0.7, 1.0], [0.0, 0.2, 0.7], [1.0, 0.4, 0.1]])
    for row in range(count):
        caption = sample_caption(rng, kind)
        parameters = torch.tensor([caption.parameters])
        clip = render(world.scenes(1, row), parameters, 16, [0, 4, 8, 12, 15])
        last = clip.flow[0, :, -1] / (0.2 * size)
        known = clip.visibility[0, :, -1]
        flow = torch.stack((0.5 + last[0], 0.5 + last[1], torch.full_like(last[0], 0.5))) * known
        regions = torch.einsum("khw,kc->chw", clip.regions[0], colors)
        regions = regions * (0.4 + 0.6 * clip.depth[0])
        tiles = torch.cat([*clip.video[0].unbind(1), flow, regions], dim=2).clamp(0, 1)
        array = (tiles * 255).byte().permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(array), (0, row * (size + line) + line))
        text = f"{caption.kind}: {caption.text}"
        ImageDraw.Draw(sheet).text((2, row * (size + line) + 1), text[:size], fill="black")
    return sheet


def save_preview(path: Path, count: int, seed: int, size: int, kind: str | None = None) -> None:
    """Write the sheet; the file appears when it is complete."""
    sheet = preview(count, seed, size, kind)
    with whole_file(path) as hidden:
        sheet.save(hidden)
