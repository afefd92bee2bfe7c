"""Animation Report: how faithful a clip is to its still, in figures and plain words."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..trip_core.metrics.by_frame import frame_series
from . import host, host_targets
from .report_plot import draw_series
from .sources import without_alpha


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
        picture = without_alpha(still[0].movedim(-1, 0))[None]  # [1, 3, H, W]
        if picture.shape[-2:] != images.shape[1:3]:
            picture = torch.nn.functional.interpolate(
                picture, images.shape[1:3], mode="bicubic", antialias=True
            ).clamp(0, 1)
        frames = map(without_alpha, images.movedim(-1, 1))
        series = frame_series(picture[0], host.Progress(len(images)).through(frames))
        plot = torch.from_numpy(np.asarray(draw_series(series), dtype=np.float32) / 255)[None]
        return {
            "ui": {"text": (str(series),), "images": host_targets.show(plot)},
            "result": (str(series), plot),
        }
