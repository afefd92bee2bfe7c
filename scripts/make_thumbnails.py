"""Make the pictures that ComfyUI's template browser shows: ``workflows/<name>.jpg``.

Every picture is of frames that the shipped model made of a bundled still with the workflow's own
words; for the workflows that need other weights, the bundled still stands in for the picture that
those weights would draw. By hand: ``python scripts/make_thumbnails.py [workflow ...]``.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Nothing is downloaded: the model that ships is in the repository.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from trip_core.checkpoint import load_model  # noqa: E402
from trip_core.pipeline import Model, animate, decode  # noqa: E402
from trip_core.stills import read_still, to_bytes  # noqa: E402

#: The browser's cards are square.
SIDE = 400
STRIP = SIDE // 4
FRAMES, SHOWN = 16, (0, 5, 10, 15)
STRENGTHS = (1.0, 0.5, 0.0)
STILLS = {
    "animate_a_still": "castle",
    "sdxl_to_trip": "ship",
    "controlnet_to_trip": "ship",
    "instructpix2pix_to_trip": "lake",
    "masked_motion": "lake",
    "prior_on_any_video_model": "lake",
    "compare_prior_strengths": "ship",
}


def main(names: list[str]) -> None:
    """Write the pictures of the named workflows, of all if none is named."""
    model = load_model()
    for name in names or STILLS:
        still = read_still(ROOT / "assets" / "stills" / f"{STILLS[name]}.jpg")
        words = prompt(name)
        if name == "compare_prior_strengths":
            card = compared(model, still, words)
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
            return graph[node["inputs"]["positive"][0]]["inputs"]["text"]
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
