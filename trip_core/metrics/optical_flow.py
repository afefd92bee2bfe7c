"""Motion as it is seen: optical flow of a finished clip, and the camera move it amounts to.

Dense inverse search (DIS; Kroeger et al., ECCV 2016) from OpenCV, which is imported here only.
Nothing in this file knows how the clip was made.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .fidelity import luma

#: Short side at which flow is measured; larger frames are reduced first.
MEASURED_SIDE = 512
#: Share of each side left out of the camera fit: what comes into view there is not the still's.
_MARGIN = 0.1


@dataclass(frozen=True)
class CameraMotion:
    """A move of the whole picture, as content moves on the screen.

    Attributes:
        x: Content to the right, in short sides.
        y: Content down, in short sides.
        zoom: Log magnification; positive grows.
        roll: Content turned clockwise (as seen), radians.
    """

    x: float = 0.0
    y: float = 0.0
    zoom: float = 0.0
    roll: float = 0.0

    def __add__(self, other: "CameraMotion") -> "CameraMotion":
        """Return one small move after another."""
        return CameraMotion(
            self.x + other.x, self.y + other.y, self.zoom + other.zoom, self.roll + other.roll
        )


#: Caption kind -> (what must move, with which sign). "Pans left" moves content right, "tilts up"
#: moves it down, "rolls clockwise" turns it counter-clockwise, "moves right" shifts it left.
DIRECTIONS: dict[str, tuple[str, int]] = {
    "pan_left": ("x", 1),
    "pan_right": ("x", -1),
    "tilt_up": ("y", 1),
    "tilt_down": ("y", -1),
    "zoom_in": ("zoom", 1),
    "zoom_out": ("zoom", -1),
    "rotate_cw": ("roll", -1),
    "rotate_ccw": ("roll", 1),
    "truck_left": ("x", 1),
    "truck_right": ("x", -1),
    "boom_up": ("y", 1),
    "boom_down": ("y", -1),
    "dolly_in": ("zoom", 1),
    "dolly_out": ("zoom", -1),
}


def dis_flow(first: Tensor, second: Tensor) -> Tensor:
    """Return forward optical flow: where each pixel of ``first`` went in ``second``.

    Args:
        first: Pixels 0..1, ``[3, H, W]``.
        second: Pixels 0..1, ``[3, H, W]``.

    Returns:
        ``[2, H, W]``, x then y, in pixels; content that moves right has positive x.

    Raises:
        ValueError: If the frames differ in shape or are smaller than 16 pixels.
    """
    import cv2

    if first.shape != second.shape or min(first.shape[-2:]) < 16:
        raise ValueError(
            f"optical flow needs two [3, H, W] frames of one size, 16 pixels or more; "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = search.calc(_grey(first), _grey(second), np.zeros((*first.shape[-2:], 2), np.float32))
    return torch.from_numpy(np.asarray(flow, np.float32)).movedim(-1, 0)


def reduced(frame: Tensor) -> tuple[Tensor, float]:
    """Return a frame at the measuring size and the factor by which its flow must be multiplied."""
    height, width = frame.shape[-2:]
    scale = MEASURED_SIDE / min(height, width)
    if scale >= 1:
        return frame, 1.0
    size = (round(height * scale), round(width * scale))
    return F.interpolate(frame[None], size, mode="area")[0], 1 / scale


def camera_motion(flow: Tensor, frame: Tensor) -> CameraMotion:
    """Return the similarity move that explains a flow best.

    Weighted least squares of ``u = x + zoom * px - roll * py, v = y + zoom * py + roll * px``
    about the centre; a pixel counts by its image gradient (flow of a flat area is a guess), less
    near the frame's edge and less the further it is from the fit (three re-weighted rounds).

    Args:
        flow: Forward flow in pixels, ``[2, H, W]``.
        frame: The frame it starts from, pixels 0..1, ``[3, H, W]``.
    """
    height, width = flow.shape[-2:]
    short = min(height, width)
    top, left = round(height * _MARGIN), round(width * _MARGIN)
    inner = (slice(top, height - top), slice(left, width - left))
    py, px = torch.meshgrid(
        (torch.arange(height, dtype=torch.float64) + 0.5 - height / 2) / short,
        (torch.arange(width, dtype=torch.float64) + 0.5 - width / 2) / short,
        indexing="ij",
    )
    u, v = (flow.double() / short)[(slice(None), *inner)].flatten(1)
    px, py = px[inner].flatten(), py[inner].flatten()
    trust = _gradient(frame)[inner].flatten().double()
    weight, fit = trust, torch.zeros(4, dtype=torch.float64)
    for _ in range(4):
        fit = _similarity(px, py, u, v, weight)
        error = _residual(px, py, u, v, fit)
        spread = ((error * trust).sum() / trust.sum()).clamp_min(1e-5)
        weight = trust / (1 + (error / spread).square())
    x, y, zoom, roll = fit.tolist()
    return CameraMotion(x, y, zoom, roll)


def direction_followed(kind: str, camera: CameraMotion, least: float = 0.01) -> bool:
    """Return whether a clip moved as its caption's kind asks.

    Zoom and roll are compared with shifts by what they do half a side from the centre. The asked
    motion must have the right sign, cover ``least`` short sides, and be the largest of the four.

    Args:
        kind: A key of ``DIRECTIONS``.
        camera: The clip's whole camera motion.
        least: Least extent in short sides.

    Raises:
        ValueError: If the kind asks for no direction.
    """
    if kind not in DIRECTIONS:
        raise ValueError(
            f"a direction is known for {', '.join(DIRECTIONS)}; got the caption kind {kind!r}"
        )
    extent = {"x": camera.x, "y": camera.y, "zoom": camera.zoom / 2, "roll": camera.roll / 2}
    name, sign = DIRECTIONS[kind]
    largest = max(extent, key=lambda k: abs(extent[k]))
    return name == largest and sign * extent[name] >= least


def _grey(frame: Tensor) -> np.ndarray:
    return (luma(frame.float())[0] * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _gradient(frame: Tensor) -> Tensor:
    """Return squared image gradient, ``[H, W]``, never quite 0."""
    y = luma(frame.float())[0]
    dx = F.pad(y[:, 2:] - y[:, :-2], (1, 1, 0, 0))
    dy = F.pad(y[2:] - y[:-2], (0, 0, 1, 1))
    squared = dx.square() + dy.square()
    return squared.clamp_max(0.01) + 1e-6


def _similarity(px: Tensor, py: Tensor, u: Tensor, v: Tensor, weight: Tensor) -> Tensor:
    """Solve the weighted normal equations for (x, y, zoom, roll)."""
    one, zero = torch.ones_like(px), torch.zeros_like(px)
    rows_u = torch.stack((one, zero, px, -py))  # [4, N]
    rows_v = torch.stack((zero, one, py, px))
    left = (rows_u * weight) @ rows_u.T + (rows_v * weight) @ rows_v.T
    right = (rows_u * weight) @ u + (rows_v * weight) @ v
    return torch.linalg.solve(left, right)


def _residual(px: Tensor, py: Tensor, u: Tensor, v: Tensor, fit: Tensor) -> Tensor:
    x, y, zoom, roll = fit
    return torch.hypot(u - x - zoom * px + roll * py, v - y - zoom * py - roll * px)
