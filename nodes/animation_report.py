"""Animation Report: how faithful a clip is to its still, in figures and plain words."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..trip_core.metrics.by_frame import frame_series
from . import host
from .report_plot import draw_series


class AnimationReport:
    """Node ``TRIP_AnimationReport``."""

    CATEGORY = "TRIP"
    DESCRIPTION = (
        "Measures a clip: is its first frame the still, do colours or brightness drift, how much "
        "moves, does it jump? Says so in plain words where something is wrong."
    )
    SEARCH_ALIASES: ClassVar = ["measure video", "drift", "psnr", "quality check", "frozen"]
    FUNCTION = "report"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "IMAGE")
    RETURN_NAMES = ("report", "plot")
    OUTPUT_TOOLTIPS = ("The figures and warnings, as text.", "The curves over the frames.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The clip's frames."}),
                "still": (
                    "IMAGE",
                    {"tooltip": "The still it was made from; scaled to the clip's size."},
                ),
            }
        }

    def report(self, images: Tensor, still: Tensor) -> dict[str, Any]:
        """Measure the clip; return text and plot, and show both."""
        frames = images[..., :3].movedim(-1, 1)  # [F, 3, H, W]
        picture = still[:1, ..., :3].movedim(-1, 1)
        if picture.shape[-2:] != frames.shape[-2:]:
            picture = torch.nn.functional.interpolate(
                picture, frames.shape[-2:], mode="bicubic", antialias=True
            ).clamp(0, 1)
        progress = host.Progress(len(frames))
        series = frame_series(picture[0], progress.through(frames))
        plot = torch.from_numpy(np.asarray(draw_series(series), dtype=np.float32) / 255)[None]
        return {
            "ui": {"text": (str(series),), "images": host.show(plot)},
            "result": (str(series), plot),
        }
