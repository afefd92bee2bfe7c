"""Clips, sounds and widgets for tests of Video Combine."""

import json

import torch
from PIL import Image

TEXTS = {"workflow": json.dumps({"nodes": [], "title": "schöne Reise"}), "prompt": "{}"}
WIDGETS = {
    "fps": 12.5, "format": "mp4 (H.264)", "crf": -1, "pixel_format": "auto", "loop": 0,
    "pingpong": False, "save_output": True, "filename_prefix": "clip", "save_workflow": True,
    "audio_fit": "fit to video",
}  # fmt: skip


def clip(frames=5, height=48, width=64, channels=3):
    """Return smooth frames ``[F, H, W, C]`` that move."""
    generator = torch.Generator().manual_seed(3)
    picture = torch.nn.functional.interpolate(
        torch.rand(1, channels, 4, 5, generator=generator), (height, width + 8), mode="bicubic"
    )[0].clamp(0.05, 0.95)
    return torch.stack([picture[..., k : k + width] for k in range(frames)]).movedim(1, -1)


def tone(seconds, channels=2, rate=22050):
    """Return AUDIO of a length."""
    wave = torch.sin(torch.arange(round(seconds * rate)) / 9) * 0.4
    return {"waveform": wave.expand(1, channels, -1), "sample_rate": rate}


def milliseconds(path):
    """Return how long each picture of an animation is shown."""
    with Image.open(path) as animation:
        shown = []
        for index in range(animation.n_frames):
            animation.seek(index)
            animation.load()
            shown.append(animation.info["duration"])
        return shown
