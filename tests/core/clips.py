"""Frames for tests of files."""

import torch
import torch.nn.functional as F


def smooth_clip(num_frames=6, height=64, width=80, seed=0):
    """Soft colours that shift: what a codec should keep well."""
    generator = torch.Generator().manual_seed(seed)
    base = F.interpolate(
        torch.rand(1, 3, 8, 10, generator=generator), size=(height, width), mode="bicubic"
    )[0].clamp(0, 1)
    return torch.stack([torch.roll(base, i, dims=2) for i in range(num_frames)])
