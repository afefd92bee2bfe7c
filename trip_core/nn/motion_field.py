"""The motion of a clip as a formula: a few numbers from the text, a few maps from the still.

A clip's motion is ``MOTION_PARAMETERS`` (camera, sky, water, object; from the text) spread over the
picture by its regions and depth (from the still). ``motion_flow`` turns both into a backward flow
and a visibility for every frame, at any resolution. The procedural world moves by the same
formulas, so it can supervise every part of them.

Coordinates are in units of the short side, origin at the centre, y down. Camera moves follow the
clip's progress (0 at the first frame, 1 at the last, however many frames); local motion follows
time, 1 after 16 frames, so that a longer clip drifts on at the same speed.

Conventions: "the camera pans left" moves the content right; "tilts up" moves it down; "rolls
clockwise" turns it counter-clockwise; "moves right" (truck) shifts near content left.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .warp import sample_at

#: Frames in which local motion covers its parameter once.
REFERENCE_FRAMES = 16

#: Name -> the size of an ordinary move (lengths in short sides; angles in radians; log scale).
MOTION_PARAMETERS: dict[str, float] = {
    "pan": 0.10,  # camera turns right: content shifts left
    "tilt": 0.10,  # camera turns up: content shifts down
    "zoom": 0.16,  # log magnification
    "roll": 0.10,  # camera turns clockwise: content turns counter-clockwise
    "truck": 0.09,  # camera moves right: near content shifts left
    "boom": 0.08,  # camera moves up: near content shifts down
    "dolly": 0.18,  # camera moves in: near content grows more
    "sky_x": 0.08,
    "sky_y": 0.08,
    "ripple": 0.010,  # amplitude of waves on near water
    "water_x": 0.06,
    "object_x": 0.12,
    "object_y": 0.12,
    "object_turn": 0.25,
    "sway": 0.02,
    "snow": 1.0,  # weather and light do not displace anything: shares of 0..1
    "rain": 1.0,
    "flicker": 1.0,
}
#: What a picture does when the words ask for nothing in particular: shares of an ordinary move.
GENTLE: dict[str, float] = {"zoom": 0.35, "sky_x": 0.4, "ripple": 0.5}
REGIONS = ("static", "sky", "water", "object")
STATIC, SKY, WATER, OBJECT = range(4)

# Travelling waves (cycles per short side in x and y, cycles per reference clip, phase, share of
# x and of y displacement): crests mostly level, wavelengths incommensurable so nothing repeats.
_WAVES = (
    (1.3, 9.1, 1.7, 0.0, 0.55, 0.75),
    (-2.2, 13.7, 2.3, 1.9, 0.45, 0.55),
    (3.1, 6.3, -1.3, 4.1, 0.35, 0.45),
    (0.6, 21.0, 3.1, 2.7, 0.20, 0.35),
    (-4.7, 11.2, 1.9, 5.3, 0.30, 0.20),
)


@dataclass(frozen=True)
class StillMotion:
    """What moves in a still, and how.

    Attributes:
        parameters: ``[B, P]`` in the order and units of ``MOTION_PARAMETERS``.
        regions: ``[B, 4, h, w]``, shares of static, sky, water, object; sum 1.
        depth: Nearness, ``[B, 1, h, w]``, 0 (far) to 1 (near).
    """

    parameters: Tensor
    regions: Tensor
    depth: Tensor

    def __getitem__(self, name: str) -> Tensor:
        """Return one motion parameter, ``[B, 1, 1]``."""
        return parameter(self.parameters, name)


@dataclass(frozen=True)
class FrameMotion:
    """Where one frame's pixels come from, in coordinates of the still; each ``[B, 2, H, W]``."""

    camera: Tensor  # what the camera sees: position in the motionless scene
    sky: Tensor
    water: Tensor
    object: Tensor


def parameter(parameters: Tensor, name: str) -> Tensor:
    """Return one column of ``[B, P]`` motion parameters as ``[B, 1, 1]``."""
    return parameters[:, list(MOTION_PARAMETERS).index(name)].view(-1, 1, 1)


def frame_times(num_frames: int, index: int) -> tuple[float, float]:
    """Return (progress of the camera 0..1, time of local motion) at one frame of a clip."""
    return index / max(num_frames - 1, 1), index / (REFERENCE_FRAMES - 1)


def coordinates(height: int, width: int, like: Tensor) -> Tensor:
    """Return pixel centres in short sides from the centre, ``[2, H, W]`` (x, y)."""
    short = min(height, width)
    y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5 - height / 2) / short
    x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5 - width / 2) / short
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)))


def read_at(maps: Tensor, position: Tensor, mode: str = "bilinear") -> Tensor:
    """Read ``[B, C, H, W]`` maps at short-side coordinates ``[B, 2, h, w]``; edges continue."""
    height, width = maps.shape[-2:]
    centre = position.new_tensor([width / 2, height / 2]).view(1, 2, 1, 1)
    return sample_at(maps, position * min(height, width) + centre - 0.5, "border", mode)  # type: ignore[arg-type]


def camera_view(parameters: Tensor, progress: float, position: Tensor, depth: Tensor) -> Tensor:
    """Return which point of the scene the camera sees at each position, for a scene of known depth.

    Args:
        parameters: ``[B, P]``.
        progress: 0 at the first frame, 1 at the last.
        position: Frame coordinates, ``[B, 2, H, W]``.
        depth: Nearness of what is seen there, ``[B, H, W]``.
    """
    pan, tilt, zoom, roll, truck, boom, dolly = (
        progress * parameter(parameters, name)
        for name in ("pan", "tilt", "zoom", "roll", "truck", "boom", "dolly")
    )
    x, y = position[:, 0] + pan, position[:, 1] - tilt
    cos, sin = torch.cos(roll), torch.sin(roll)
    x, y = cos * x - sin * y, sin * x + cos * y
    shrink = torch.exp(-zoom - dolly * depth)
    return torch.stack((x * shrink + truck * depth, y * shrink - boom * depth), dim=1)


def sky_drift(parameters: Tensor, time: float, position: Tensor) -> Tensor:
    """Return where in the still the drifting sky at ``position`` was."""
    drift = torch.stack((parameter(parameters, "sky_x"), parameter(parameters, "sky_y")), dim=1)
    return position - time * drift


def water_flow(parameters: Tensor, time: float, position: Tensor, depth: Tensor) -> Tensor:
    """Return where in the still the rippling, flowing water at ``position`` was.

    Waves are measured against their state at time 0, so the first frame is the still.
    """
    x, y = position[:, 0], position[:, 1]
    dx, dy = torch.zeros_like(x), torch.zeros_like(y)
    for kx, ky, speed, phase, share_x, share_y in _WAVES:
        place = 2 * torch.pi * (kx * x + ky * y) + phase
        moved = torch.sin(place + 2 * torch.pi * speed * time * 0.5) - torch.sin(place)
        dx, dy = dx + share_x * moved, dy + share_y * moved
    ripple = parameter(parameters, "ripple") * depth
    drift = parameter(parameters, "water_x") * time * depth
    return torch.stack((x + ripple * dx - drift, y + ripple * dy), dim=1)


def object_move(parameters: Tensor, time: float, position: Tensor, centre: Tensor) -> Tensor:
    """Return where in the still the moving, turning, swaying object at ``position`` was.

    Args:
        parameters: ``[B, P]``.
        time: Local time.
        position: ``[B, 2, H, W]``.
        centre: The object's centre, ``[B, 2]``.
    """
    cx, cy = centre[:, 0].view(-1, 1, 1), centre[:, 1].view(-1, 1, 1)
    x = position[:, 0] - time * parameter(parameters, "object_x") - cx
    y = position[:, 1] - time * parameter(parameters, "object_y") - cy
    turn = -time * parameter(parameters, "object_turn")
    cos, sin = torch.cos(turn), torch.sin(turn)
    x, y = cos * x - sin * y, sin * x + cos * y
    swing = torch.sin(torch.tensor(2 * torch.pi * time)).item()
    x = x - parameter(parameters, "sway") * swing * (0.5 - y).clamp(0, 1)
    return torch.stack((x + cx, y + cy), dim=1)


def object_centre(regions: Tensor) -> Tensor:
    """Return the centre of the object region, ``[B, 2]``, in short sides."""
    weight = regions[:, OBJECT].float() + 1e-6
    place = coordinates(*weight.shape[-2:], like=weight)  # [2, H, W]
    total = weight.sum((1, 2))
    return torch.stack([(weight * p).sum((1, 2)) / total for p in place], dim=1)


def frame_motion(
    motion: StillMotion, num_frames: int, index: int, view: float = 1.0
) -> FrameMotion:
    """Return where every pixel of one frame comes from, at the resolution of the motion's maps.

    Args:
        motion: Parameters ``[B, P]``, regions and depth.
        num_frames: Length of the clip.
        index: Which frame; 0 is the still.
        view: Share of the picture that the frame shows; below 1 it is zoomed in throughout.
    """
    progress, time = frame_times(num_frames, index)
    parameters = motion.parameters.float()
    place = coordinates(*motion.depth.shape[-2:], like=motion.depth) * view
    place = place.expand(len(parameters), -1, -1, -1)
    # Depth is known in the still, asked for in the frame: a short fixed-point iteration.
    depth = motion.depth[:, 0].float()
    seen = camera_view(parameters, progress, place, depth)
    if bool((parameters[:, 4:7] != 0).any()):
        for _ in range(4):
            depth = read_at(motion.depth.float(), seen)[:, 0]
            seen = camera_view(parameters, progress, place, depth)
    depth = read_at(motion.depth.float(), seen)[:, 0]
    return FrameMotion(
        camera=seen,
        sky=sky_drift(parameters, time, seen),
        water=water_flow(parameters, time, seen, depth),
        object=object_move(parameters, time, seen, object_centre(motion.regions)),
    )


def frame_flow(
    motion: StillMotion, num_frames: int, index: int, view: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return one frame's backward flow and visibility, at the resolution of the motion's maps.

    Takes what ``frame_motion`` takes.

    Returns:
        (flow ``[B, 2, H, W]`` in pixels, visibility ``[B, 1, H, W]`` 0..1: 1 where the still's
        pixel shows what the frame shows).
    """
    move = frame_motion(motion, num_frames, index, view)
    height, width = motion.depth.shape[-2:]
    regions = motion.regions.float()
    here = read_at(regions, move.camera)
    arriving = read_at(regions[:, OBJECT:], move.object)  # the object where it is now
    leaving = (here[:, OBJECT:] - arriving).clamp_min(0)  # where it was: ground comes into view
    background = here[:, :OBJECT] / here[:, :OBJECT].sum(1, keepdim=True).clamp_min(1e-3)
    share = torch.cat((background * (1 - arriving), arriving), dim=1)
    sources = (move.camera, move.sky, move.water, move.object)
    source = torch.stack([s * share[:, k : k + 1] for k, s in enumerate(sources)]).sum(0)

    visible = 1 - leaving
    for k, place in ((SKY, move.sky), (WATER, move.water)):
        lost = (here[:, k : k + 1] - read_at(regions[:, k : k + 1], place)).clamp(0, 1)
        visible = visible * (1 - share[:, k : k + 1] * lost)
    half = source.new_tensor([width, height]).view(1, 2, 1, 1) / (2 * min(height, width))
    outside = ((source.abs() - half) * min(height, width)).clamp(0, 1).amax(1, keepdim=True)
    place = coordinates(height, width, like=source)
    return (source - place) * min(height, width), visible * (1 - outside)


def motion_flow(
    motion: StillMotion, num_frames: int, size: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the whole clip's backward flow and visibility.

    Args:
        motion: Parameters, regions and depth.
        num_frames: Frames F of the clip; frame 0 is the still.
        size: Height and width of the result; None = those of the motion's maps.

    Returns:
        (flow ``[B, 2, F, H, W]`` in pixels of the result, visibility ``[B, 1, F, H, W]``).
    """
    if size is not None and size != tuple(motion.depth.shape[-2:]):
        motion = StillMotion(
            motion.parameters,
            F.interpolate(motion.regions.float(), size, mode="bilinear", align_corners=False),
            F.interpolate(motion.depth.float(), size, mode="bilinear", align_corners=False),
        )
    frames = list(_frames(motion, num_frames))
    return torch.stack([f for f, _ in frames], 2), torch.stack([v for _, v in frames], 2)


def _frames(motion: StillMotion, num_frames: int) -> Iterator[tuple[Tensor, Tensor]]:
    for index in range(num_frames):
        yield frame_flow(motion, num_frames, index)
