"""Make the pictures that ComfyUI's template browser shows: ``workflows/<name>.jpg``.

Every picture is of frames that the shipped model made of a bundled still with the workflow's own
words; for the workflows that need other weights, the bundled still stands in for the picture that
those weights would draw. DynamiCrafter's and DreamVideo's weights are not here, so their pictures
show what goes in: the stills, and where in the clip they stand. By hand:
``python scripts/make_thumbnails.py [workflow ...]``.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Nothing is downloaded: the model that ships is in the repository.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from trip_core.pipeline import Model, animate, decode  # noqa: E402
from trip_core.stills import read_still, to_bytes  # noqa: E402
from trip_core.trip_file import load_model  # noqa: E402

#: The browser's cards are square.
SIDE = 400
STRIP = SIDE // 4
FRAMES, SHOWN = 16, (0, 5, 10, 15)
STRENGTHS = (1.0, 0.8, 0.6)
STILLS = {
    "animate_a_still": "castle",
    "sdxl_to_trip": "ship",
    "controlnet_to_trip": "ship",
    "instructpix2pix_to_trip": "lake",
    "masked_motion": "lake",
    "prior_on_any_video_model": "lake",
    "compare_prior_strengths": "ship",
    "dreamvideo": "castle",
    "dynamicrafter": "ship",
    "dynamicrafter_with_prior": "ship",
    "start_and_end_frame": "lake",
    "seamless_loop": "lake",
}

#: How much of the still each of the other systems' frames shows, 0..1, at the clip's share 0..1.
HELD: dict[str, Callable[[float], float]] = {
    "dreamvideo": lambda share: float(share == 0),
    "dynamicrafter": lambda _: 0.35,
    "dynamicrafter_with_prior": lambda share: 1 - 0.65 * share,
    "start_and_end_frame": lambda share: float(share in (0, 1)),
    "seamless_loop": lambda share: float(share in (0, 1)),
}


def main(names: list[str]) -> None:
    """Write the pictures of the named workflows, of all if none is named."""
    model = load_model()
    for name in names or STILLS:
        still = read_still(ROOT / "assets" / "stills" / f"{STILLS[name]}.jpg")
        words = prompt(name)
        if name == "compare_prior_strengths":
            card = compared(model, still, words)
        elif name in HELD:
            card = what_goes_in(name, picture(still))
        else:
            clip = animate(model, still, words, num_frames=FRAMES).frames
            frames = [picture(frame) for index, frame in enumerate(clip) if index in SHOWN]
            card = laid_out(name, frames)
        path = ROOT / "workflows" / f"{name}.jpg"
        card.save(path, quality=85, optimize=True, progressive=True)
        print(f"{path.name}  {path.stat().st_size / 1024:4.1f} KB  {STILLS[name]}: {words}")


def prompt(name: str) -> str:
    """Return what the workflow says to TRIP: the text that its noise prior reads."""
    graph = json.loads((ROOT / "tests" / "workflows" / f"{name}.json").read_text())
    for node in graph.values():
        if node["class_type"] == "TRIP_ImageNoisePrior":
            while "text" not in node["inputs"]:  # through Image Context
                node = graph[node["inputs"]["positive"][0]]
            return node["inputs"]["text"]
    return "slow dolly in, gentle waves"  # the words that go to the other model, in ours


def picture(frame: Tensor) -> Image.Image:
    """Return a frame ``[3, H, W]`` as a picture."""
    return Image.fromarray(np.ascontiguousarray(to_bytes(frame)))


def laid_out(name: str, frames: list[Image.Image]) -> Image.Image:
    """Put the last frame above a strip of frames."""
    card = Image.new("RGB", (SIDE, SIDE))
    if name == "masked_motion":
        frames = [masked(frame, frames[0]) for frame in frames]
    large = ImageOps.fit(frames[-1], (SIDE, SIDE - STRIP), Image.Resampling.LANCZOS)
    if name == "controlnet_to_trip":
        drawn = ImageOps.fit(outlines(frames[0]), large.size, Image.Resampling.LANCZOS)
        large.paste(drawn.crop((0, 0, SIDE // 2, SIDE - STRIP)), (0, 0))
    card.paste(large, (0, 0))
    for column, frame in enumerate(frames):
        card.paste(frame.resize((STRIP, STRIP), Image.Resampling.LANCZOS), (column * STRIP, 300))
    return card


def what_goes_in(name: str, still: Image.Image) -> Image.Image:
    """Show the still, or both, above the clip's frames as they stand before any is made."""
    card = Image.new("RGB", (SIDE, SIDE), (24, 24, 28))
    box = (SIDE, SIDE - STRIP)
    large = ImageOps.fit(still, box, Image.Resampling.LANCZOS)
    end = still if name == "seamless_loop" else ImageOps.crop(still, still.height // 4)
    if name == "start_and_end_frame":
        other = ImageOps.fit(end, box, Image.Resampling.LANCZOS)
        large.paste(other.crop((SIDE // 2, 0, SIDE, box[1])), (SIDE // 2, 0))
        ImageDraw.Draw(large).line((SIDE // 2, 0, SIDE // 2, box[1]), "white", 3)
    card.paste(large, (0, 0))
    shown, side = 8, SIDE // 8
    for column in range(shown):
        share = column / (shown - 1)
        near = end if name == "start_and_end_frame" and share > 0.5 else still
        tile = ImageOps.fit(near, (side - 6, STRIP - 24), Image.Resampling.LANCZOS)
        empty = Image.new("RGB", tile.size, (44, 44, 50))
        tile = Image.blend(empty, tile, HELD[name](share))
        card.paste(tile, (column * side + 3, box[1] + 12))
    if name == "seamless_loop":
        drawn = ImageDraw.Draw(card)
        x, y, radius = SIDE / 2, box[1] / 2, 58
        drawn.arc((x - radius, y - radius, x + radius, y + radius), 300, 235, "white", 9)
        turn = np.radians(235)
        end_x, end_y = x + (radius - 4) * np.cos(turn), y + (radius - 4) * np.sin(turn)
        ahead, aside = (-np.sin(turn), np.cos(turn)), (np.cos(turn), np.sin(turn))
        corners = [(30, 0), (-4, 20), (-4, -20)]
        drawn.polygon(
            [
                (end_x + f * ahead[0] + s * aside[0], end_y + f * ahead[1] + s * aside[1])
                for f, s in corners
            ],
            "white",
        )
    return card


def masked(frame: Image.Image, still: Image.Image) -> Image.Image:
    """Keep the still where the mask is painted, and show the paint."""
    height = frame.height
    mask = Image.new("L", frame.size)
    mask.paste(255, (0, int(0.42 * height), frame.width, height))
    mask = mask.filter(ImageFilter.GaussianBlur(4))
    painted = Image.blend(still, Image.new("RGB", still.size, (235, 70, 60)), 0.4)
    return Image.composite(painted, frame, mask)


def outlines(still: Image.Image) -> Image.Image:
    """Return the outlines of a still, light on dark."""
    grey = still.convert("L").filter(ImageFilter.GaussianBlur(1.5))
    steep = np.asarray(grey.filter(ImageFilter.FIND_EDGES)).astype(int)
    drawn = Image.fromarray((5 * (steep - 12)).clip(0, 255).astype(np.uint8))
    drawn = ImageOps.crop(drawn, 3)  # the filter leaves a frame
    return ImageOps.expand(drawn, 3).convert("RGB")


def compared(model: Model, still: Tensor, words: str) -> Image.Image:
    """Lay out what the model samples, a row for each strength of the prior."""
    card = Image.new("RGB", (SIDE, SIDE))
    side = SIDE // len(STRENGTHS) + 1
    for row, strength in enumerate(STRENGTHS):
        clip = animate(
            model, still, words, num_frames=FRAMES, edges="generate", prior_strength=strength
        )
        assert clip.latents is not None  # edges="generate" samples
        frames = decode(model, clip.latents)
        for column, index in enumerate((0, FRAMES // 2, FRAMES - 1)):
            shown = picture(frames[index]).resize((side, side), Image.Resampling.BICUBIC)
            card.paste(shown, (column * side, row * side))
        ImageDraw.Draw(card).text(
            (8, row * side + 6),
            f"{strength}",
            "white",
            font_size=18,
            stroke_width=2,
            stroke_fill="black",
        )
    return card


if __name__ == "__main__":
    main(sys.argv[1:])
