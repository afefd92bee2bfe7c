"""Sample sheets: pictures in a grid."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

#: Worlds with seeds from here on are for looking, never for learning.
HELD_OUT = 900_000


def picture_grid(rows: Tensor) -> Image.Image:
    """Return pictures ``[rows, columns, 3, H, W]`` in 0..1 as one image."""
    sheet = rows.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)  # [rows*H, columns*W, 3]
    return Image.fromarray((sheet.clamp(0, 1) * 255 + 0.5).cpu().numpy().astype(np.uint8))


def some_frames(tensor: Tensor, count: int) -> Tensor:
    """Return evenly spaced frames of ``[B, C, F, H, W]`` as ``[B, count, C, H, W]``."""
    last = tensor.shape[2] - 1
    index = torch.linspace(0, last, count).round().long().to(tensor.device)
    return tensor[:, :, index].movedim(2, 1)
