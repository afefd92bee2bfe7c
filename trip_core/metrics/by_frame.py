"""What happens frame by frame: series to be drawn, and a sentence for each thing that is wrong."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .fidelity import brightness_drift, colour_drift, psnr
from .optical_flow import dis_flow, reduced

#: First frame: below this PSNR (dB) it visibly is not the still.
FIRST_FRAME_LEAST = 30.0
#: Mean colour or brightness further from the still's than this (of 0..1) is seen as a cast.
DRIFT_MOST = 0.04
#: Neighbours closer than this (mean change, of 0..1) through the whole clip: nothing happens.
FROZEN_CHANGE = 0.25 / 255
#: A change between neighbours so many times the clip's median is a jump.
JUMP = 6.0


@dataclass(frozen=True)
class FrameSeries:
    """Figures of every frame against the still, and of every frame against the one before.

    Attributes:
        first_frame_psnr: First frame against the still, dB.
        colour: Colour drift from the still, rms over RGB, 0..1; one a frame.
        brightness: Mean luma minus the still's, 0..1; one a frame.
        change: Mean absolute change from the frame before, 0..1; 0 for the first.
        motion: Mean length of optical flow from the frame before, pixels; 0 for the first; empty
            where it could not be measured (OpenCV is not installed).
    """

    first_frame_psnr: float
    colour: list[float] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Return what an artist should know, in plain words."""
        found = []
        if self.first_frame_psnr < FIRST_FRAME_LEAST:
            found.append(
                f"The first frame is not the still ({self.first_frame_psnr:.0f} dB; "
                f"{FIRST_FRAME_LEAST:.0f} and more looks the same)."
            )
        if max(self.change, default=0) <= FROZEN_CHANGE:
            found.append("The clip is frozen: nothing changes from frame to frame.")
        if max(self.colour, default=0) > DRIFT_MOST:
            frame = self.colour.index(max(self.colour)) + 1
            found.append(
                f"Colours drift: by {100 * max(self.colour):.0f} % of the range at frame {frame}."
            )
        steps = sorted(self.change[1:])
        if len(steps) > 3 and steps[-1] > JUMP * max(steps[len(steps) // 2], FROZEN_CHANGE):
            frame = self.change.index(steps[-1]) + 1
            found.append(f"The clip jumps at frame {frame}.")
        return found

    def __str__(self) -> str:
        """Return a few lines to read."""
        count = max(len(self.change) - 1, 1)
        motion = (
            f"{sum(self.motion) / count:.2f} px/frame"
            if self.motion
            else "not measured (OpenCV is not installed)"
        )
        lines = [
            f"{len(self.colour)} frames",
            f"first frame against the still: {self.first_frame_psnr:.1f} dB",
            f"motion: {motion}",
            f"change from frame to frame: {100 * sum(self.change) / count:.2f} % of the range",
            f"colour drift at the end: {100 * self.colour[-1]:.1f} %",
            f"brightness drift at the end: {100 * self.brightness[-1]:+.1f} %",
        ]
        return "\n".join([*lines, *self.warnings()])


def frame_series(still: Tensor, frames: Iterable[Tensor]) -> FrameSeries:
    """Measure a clip.

    Args:
        still: Pixels 0..1, ``[3, H, W]``.
        frames: Frames of the same size in order, ``[3, H, W]`` each.

    Raises:
        ValueError: If there is no frame, or one of another size than the still.
    """
    still = still.detach().float().cpu()
    series: FrameSeries | None = None
    before = still
    for frame in frames:
        if frame.shape != still.shape:
            raise ValueError(
                f"frames must be {tuple(still.shape)} as the still; got {tuple(frame.shape)}"
            )
        frame = frame.detach().float().cpu()
        if series is None:
            series, before = FrameSeries(psnr(frame, still)), frame
        series.colour.append(colour_drift(frame, still))
        series.brightness.append(brightness_drift(frame, still))
        series.change.append((frame - before).abs().mean().item())
        motion = _motion(before, frame)
        if motion is not None:
            series.motion.append(motion)
        before = frame
    if series is not None and len(series.motion) < len(series.colour):
        series.motion.clear()  # not measured, or not everywhere
    if series is None:
        raise ValueError("a report needs at least one frame; got none")
    return series


def _motion(before: Tensor, frame: Tensor) -> float | None:
    """Return the mean length of flow in pixels; None without OpenCV."""
    if torch.equal(before, frame):
        return 0.0
    (small, scale), (other, _) = reduced(before), reduced(frame)
    try:
        flow = dis_flow(small, other)
    except ImportError:
        return None
    return torch.linalg.vector_norm(flow, dim=0).mean().item() * scale
