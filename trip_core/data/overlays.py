"""Weather and light over a frame: falling snow, rain, flicker.

They come on after the first frame, because the first frame is the still.
"""

import math

import torch
from torch import Tensor

from ..nn.motion_field import frame_times, parameter

_FLAKES, _DROPS = 90, 70


def overlay(
    color: Tensor, parameters: Tensor, num_frames: int, index: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Lay the weather of one frame over it.

    Args:
        color: ``[1, 3, S, S]`` in 0..1.
        parameters: ``[1, P]``; snow, rain and flicker are used.
        num_frames: Length of the clip.
        index: Which frame.
        seed: The flakes' and drops' number.

    Returns:
        (the frame ``[1, 3, S, S]``, where it is hidden ``[1, 1, S, S]`` 0 or 1).
    """
    _, time = frame_times(num_frames, index)
    snow, rain, flicker = (
        parameter(parameters, name).item() for name in ("snow", "rain", "flicker")
    )
    hidden = torch.zeros_like(color[:, :1])
    if snow and index:
        flakes = _falling(color, seed, _FLAKES, time, fall=0.9 * snow, drift=0.15, length=1.0)
        color = color + (0.97 - color) * flakes
        hidden = torch.maximum(hidden, (flakes > 0.2).float())
    if rain and index:
        drops = _falling(color, seed, _DROPS, time, fall=7.0 * rain, drift=0.5, length=9.0)
        color = color + (0.85 - color) * 0.5 * drops
        hidden = torch.maximum(hidden, (drops > 0.3).float())
    if flicker and index:
        phase = 6.28 * ((seed * 0.618) % 1.0)
        beat = math.sin(23.0 * time + phase) * 0.6 + math.sin(41.0 * time + 2 * phase) * 0.4
        color = color * (1 + 0.15 * min(flicker, 1.5) * beat)
    return color, hidden


def _falling(
    like: Tensor, seed: int, count: int, time: float, *, fall: float, drift: float, length: float
) -> Tensor:
    """Return the coverage of falling particles at one time, ``[1, 1, S, S]``."""
    size = like.shape[-1]
    generator = torch.Generator().manual_seed(seed + 77)
    px, py, near = torch.rand(3, count, generator=generator).tolist()
    out = torch.zeros(size, size, device=like.device)
    for x0, y0, close in zip(px, py, near, strict=True):
        speed = 0.5 + close
        x = (x0 + drift * speed * time + 0.01 * math.sin(20 * time + 40 * x0)) % 1.0 * size
        y = (y0 + fall * speed * time) % 1.2 * size - 0.1 * size
        radius = (0.004 + 0.008 * close**2) * size
        tall = radius * length
        top, left = max(int(y - tall - 2), 0), max(int(x - radius - 2), 0)
        rows, cols = slice(top, int(y + tall + 3)), slice(left, int(x + radius + 3))
        patch = out[rows, cols]
        if patch.numel() == 0:
            continue
        v = torch.arange(top, top + patch.shape[0], device=like.device)[:, None] - y
        u = torch.arange(left, left + patch.shape[1], device=like.device)[None] - x
        inside = 1 - ((u / radius) ** 2 + (v / tall) ** 2).sqrt()
        out[rows, cols] = torch.maximum(patch, (inside * radius + 0.5).clamp(0, 1))
    return out[None, None]
