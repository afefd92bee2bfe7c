"""The preview of a clip in the making: nine of its frames, in the colours of its latents."""

import time
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class Pace:
    """Says when to show the next picture: fast steps need not wait for more than can be seen."""

    def __init__(self, seconds: float = 0.5) -> None:
        """Show no picture sooner than ``seconds`` after another, but the first and the last."""
        self._seconds, self._next = seconds, 0.0

    def is_due(self, last: bool) -> bool:
        """Return whether to show one now."""
        now = time.monotonic()
        if now < self._next and not last:
            return False
        self._next = now + self._seconds
        return True


def contact_sheet(x0: Tensor, latent_format: Any) -> Image.Image | None:
    """Return up to 3 x 3 frames of a clip on one picture, first to last.

    A latent is a pixel: the host enlarges previews to the size that it shows.

    Args:
        x0: Predicted clean latents, scaled, ``[F, C, h, w]``.
        latent_format: Holds the colours of the latents.
    """
    if latent_format.latent_rgb_factors is None:
        return None
    count = min(len(x0), 9)
    across = {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3)
    chosen = [round(k * (len(x0) - 1) / max(count - 1, 1)) for k in range(count)]
    factors = torch.tensor(latent_format.latent_rgb_factors, dtype=torch.float32)
    bias = torch.tensor(latent_format.latent_rgb_factors_bias or [0.0] * 3)
    colours = x0[chosen].float().cpu().movedim(1, -1) @ factors + bias  # [n, h, w, 3], -1..1
    tiles = ((colours + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    down = -(-count // across)
    height, width = tiles.shape[1:3]
    sheet = np.full((down * height, across * width, 3), 24, np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // across * height, k % across * width
        sheet[top : top + height, left : left + width] = tile
    return Image.fromarray(sheet)
