"""What can be said of any finished clip and its still: measured frame by frame as it streams by."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from .fidelity import brightness_drift, colour_drift, psnr, sharpness_ratio
from .optical_flow import CameraMotion, camera_motion, dis_flow, reduced

#: A clip is frozen if no step between frames changes pixels by more than this on average (0..1) ...
_FROZEN_CHANGE = 0.25 / 255
#: ... and nothing moves faster than this, in pixels per frame.
_FROZEN_MOTION = 0.02


@dataclass(frozen=True)
class ClipReport:
    """Figures of one clip. Consistency alone is won by a frozen clip, so ``frozen`` says so.

    Attributes:
        num_frames: Frames measured.
        height: Pixels.
        width: Pixels.
        first_frame_psnr: First frame against the still, dB (100 = identical).
        motion: Mean length of optical flow, pixels of the clip per frame.
        camera: The whole clip's camera move, as content moves on the screen.
        colour_drift: Mean colour of the last frame against the still, rms over RGB, 0..1.
        brightness_drift: Mean luma of the last frame minus the still's, 0..1.
        sharpness: Laplacian energy of the last frame over the still's.
        frozen: Whether nothing happens at all.
    """

    num_frames: int
    height: int
    width: int
    first_frame_psnr: float
    motion: float
    camera: CameraMotion
    colour_drift: float
    brightness_drift: float
    sharpness: float
    frozen: bool

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers, ready for JSON (which knows no ``nan``: None stands for it)."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        """Return one line to read."""
        frozen = ", FROZEN" if self.frozen else ""
        return (
            f"{self.num_frames} frames {self.width}x{self.height}: frame 1 "
            f"{self.first_frame_psnr:.1f} dB, motion {self.motion:.2f} px/frame, colour drift "
            f"{100 * self.colour_drift:.1f} %, sharpness {100 * self.sharpness:.0f} %{frozen}"
        )


class ClipMeter:
    """Measures a clip while its frames go elsewhere.

    ``for frame in meter.watch(clip.frames): writer.write(frame)``, then ``meter.report()``. Holds
    two frames at a time.
    """

    def __init__(self, still: Tensor) -> None:
        """Start measuring against a still, pixels 0..1, ``[3, H, W]`` of the clip's size."""
        self._still = still.detach().float().cpu()
        self._small: Tensor | None = None
        self._last = self._still
        self._first_psnr = 0.0
        self._frames = 0
        self._motion = 0.0
        self._change = 0.0
        self._camera = CameraMotion()

    def watch(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pass frames ``[3, H, W]`` through unchanged, measuring each."""
        for frame in frames:
            self.add(frame)
            yield frame

    def add(self, frame: Tensor) -> None:
        """Measure the next frame.

        Args:
            frame: Pixels 0..1, ``[3, H, W]``.

        Raises:
            ValueError: If the frame has not the still's size.
        """
        if frame.shape != self._still.shape:
            raise ValueError(
                f"frame must be {tuple(self._still.shape)} as the still it is measured against; "
                f"got {tuple(frame.shape)}"
            )
        frame = frame.detach().float().cpu()
        small, scale = reduced(frame)
        if self._small is None:
            self._first_psnr = psnr(frame, self._still)
        else:
            self._step(small, scale)
        self._small, self._last = small, frame
        self._frames += 1

    def _step(self, small: Tensor, scale: float) -> None:
        assert self._small is not None
        change = (small - self._small).abs().mean().item()
        self._change = max(self._change, change)
        if change == 0:  # the same frame again: no search, no noise of one
            return
        flow = dis_flow(self._small, small)
        self._motion += torch.hypot(flow[0], flow[1]).mean().item() * scale
        self._camera += camera_motion(flow, self._small)

    def report(self) -> ClipReport:
        """Return the figures of the frames seen so far.

        Raises:
            ValueError: If there were none.
        """
        if not self._frames:
            raise ValueError("a clip report needs at least one frame; got none")
        motion = self._motion / max(self._frames - 1, 1)
        return ClipReport(
            num_frames=self._frames,
            height=self._still.shape[-2],
            width=self._still.shape[-1],
            first_frame_psnr=self._first_psnr,
            motion=motion,
            camera=self._camera,
            colour_drift=colour_drift(self._last, self._still),
            brightness_drift=brightness_drift(self._last, self._still),
            sharpness=sharpness_ratio(self._last, self._still),
            frozen=self._change <= _FROZEN_CHANGE and motion <= _FROZEN_MOTION,
        )


def clip_report(still: Tensor, frames: Iterable[Tensor]) -> ClipReport:
    """Return the figures of a clip.

    Args:
        still: Pixels 0..1, ``[3, H, W]``.
        frames: Frames of the same size in order, a tensor ``[F, 3, H, W]`` or any iterable.

    Raises:
        ValueError: If there is no frame, or one of another size than the still.
    """
    meter = ClipMeter(still)
    for frame in frames:
        meter.add(frame)
    return meter.report()
