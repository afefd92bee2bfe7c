"""What an evaluation asks of a model.

Three functions, so that the truth or a frozen clip can sit in the same chair as a model.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

#: Frames of every evaluated clip.
NUM_FRAMES = 16
#: Short side of the frames that are kept for contact sheets.
_SHEET_SIDE = 192


@dataclass(frozen=True)
class Subject:
    """Something that animates a still ``[3, H, W]`` (pixels 0..1) under a prompt.

    Attributes:
        frames: (still, prompt) -> the finished clip's ``NUM_FRAMES`` frames, ``[3, H, W]`` each.
        flow: (still, prompt, indices of frames) -> backward flow at the still's size,
            ``[1, 2, len(indices), H, W]`` in pixels; None for a model without motion network.
        sample: (still, prompt, indices of frames) -> what the diffusion itself drew, decoded,
            ``[len(indices), 3, h, w]`` in 0..1 at the model's own size.
    """

    frames: Callable[[Tensor, str], Iterable[Tensor]]
    flow: Callable[[Tensor, str, list[int]], Tensor] | None
    sample: Callable[[Tensor, str, list[int]], Tensor]


def for_sheet(frame: Tensor) -> Tensor:
    """Return a small copy of a frame ``[3, H, W]`` for a contact sheet."""
    scale = _SHEET_SIDE / min(frame.shape[-2:])
    if scale >= 1:
        return frame.clone()
    size = tuple(round(side * scale) for side in frame.shape[-2:])
    return F.interpolate(frame[None], size, mode="area")[0]
