"""Composition at the still's own resolution: its own pixels, moved.

Regions and depth come from a small picture; here they are refined by the still's edges, the still
is taken apart into plates (sky, water, the rest), each plate moves by its own flow, and the frames
are put together again. Nothing is resampled twice, and plates are read finer than their pixels
lie, so moved pixels stay as sharp as the still's.
What no plate can give comes from generated frames: places that come into view, weather and light.
"""

from collections.abc import Iterator
from typing import Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    binary_opening,
    distance_transform_edt,
    label,
)
from torch import Tensor

from .nn.motion_field import (
    OBJECT,
    REGIONS,
    SKY,
    WATER,
    FrameMotion,
    StillMotion,
    frame_flow,
    frame_motion,
    parameter,
    read_at,
)
from .plate import Plate

Edges = Literal["mirror", "generate", "overscan"]
#: Motion that displaces nothing: only generated frames show it.
_WEATHER = ("snow", "rain", "flicker")

#: Short side at which the maps are fitted to the picture's edges.
_GUIDE_SIZE = 256


def compose(
    still: Tensor,
    motion: StillMotion,
    num_frames: int,
    edges: Edges = "mirror",
    generated: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yield the frames of the clip.

    Args:
        still: The picture, ``[3, H, W]`` in 0..1.
        motion: Its motion (batch of one), regions and depth at any resolution.
        num_frames: Length of the clip; the first frame is the still.
        edges: What fills places that the still does not show: "mirror" its mirrored surroundings,
            "generate" the generated frames, "overscan" a view so much closer that the camera never
            leaves the picture (the first frame is then that crop).
        generated: Generated frames of what is shown (with overscan: see ``middle``),
            ``[F, 3, h, w]`` in 0..1 at any resolution; see ``needs_generated``. Of weather and
            light, what is coarser than their pixels is taken from them everywhere.

    Yields:
        Frames ``[3, H, W]`` in 0..1.

    Raises:
        ValueError: If edges is unknown, or generated frames are missing or of another number.
    """
    if edges not in get_args(Edges):
        raise ValueError(f"edges must be one of {', '.join(get_args(Edges))}; got {edges!r}")
    count = 0 if generated is None else len(generated)
    if count != num_frames and (edges == "generate" or generated is not None):
        raise ValueError(
            f"a clip of {num_frames} frames with edges {edges!r} needs {num_frames} generated "
            f"frames; got {count or 'none'}"
        )
    return _frames(still, motion, num_frames, edges, generated)


def needs_generated(motion: StillMotion, edges: Edges) -> bool:
    """Return whether generated frames would change anything."""
    return edges == "generate" or _weather(motion) > 0


def _weather(motion: StillMotion) -> float:
    shares = torch.cat([parameter(motion.parameters, name) for name in _WEATHER])
    return float(shares.clamp(0, 1).max())


def _frames(
    still: Tensor, motion: StillMotion, num_frames: int, edges: Edges, generated: Tensor | None
) -> Iterator[Tensor]:
    view = overscan_view(motion, num_frames) if edges == "overscan" else 1.0
    weather = _weather(motion)
    fine = refine(motion, still)
    plates = _plates(still, fine)
    for index in range(num_frames):
        if index == 0 and view == 1.0:
            yield still  # exactly: no interpolation, no rounding
            continue
        frame = _frame(plates, fine, frame_motion(fine, num_frames, index, view))
        if generated is not None:
            sampled = generated[index : index + 1].float()
            if edges == "generate":
                _, visibility = frame_flow(motion, num_frames, index, view)
                frame = _fill(frame, sampled, visibility)
            if weather > 0:
                frame = frame + weather * _coarse_difference(frame, sampled)
        yield frame[0].clamp(0, 1)


def overscan_view(motion: StillMotion, num_frames: int) -> float:
    """Return the largest share of the picture that the camera never leaves, 0.5..1."""
    half = motion.depth.new_tensor(motion.depth.shape[-2:]).flip(0) / 2
    half = (half / min(motion.depth.shape[-2:])).view(1, 2, 1, 1)

    def stays_inside(view: float) -> bool:
        return all(
            bool((frame_motion(motion, num_frames, k, view).camera.abs() <= half).all())
            for k in range(num_frames)
        )

    if stays_inside(1.0):
        return 1.0
    low, high = 0.5, 1.0
    for _ in range(7):
        middle = (low + high) / 2
        low, high = (middle, high) if stays_inside(middle) else (low, middle)
    return low


def refine(motion: StillMotion, still: Tensor) -> StillMotion:
    """Bring regions and depth up to the still's resolution, following its edges.

    A colour guided filter (He, Sun & Tang 2010): each map becomes, locally, a linear function of
    the still's colours, fitted at 256 px and applied at full size.

    Args:
        motion: Regions and depth, batch of one, any resolution.
        still: ``[3, H, W]`` in 0..1.
    """
    height, width = still.shape[-2:]
    scale = _GUIDE_SIZE / min(height, width)
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    guide = F.interpolate(still[None].float(), size, mode="bilinear", antialias=True)
    maps = torch.cat((motion.regions, motion.depth), dim=1).float()
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    maps = _hold_enclosed_sky(_hold_thin_things(maps, guide))
    weights, offset = _guided_fit(guide, maps, radius=5, smoothness=4e-4)
    full = F.interpolate(
        torch.cat((weights.flatten(1, 2), offset), 1), (height, width), mode="bilinear"
    )
    count = maps.shape[1]
    weights, offset = full[:, : 3 * count].unflatten(1, (count, 3)), full[:, 3 * count :]
    fitted = (weights * still[None, None].float()).sum(2) + offset
    regions, depth = fitted.split((len(REGIONS), 1), dim=1)
    # Outlines are as narrow as the still's own: half-shares would drag edges along.
    regions = ((regions - 0.25) / 0.5).clamp(0, 1)
    regions = regions / regions.sum(1, keepdim=True).clamp_min(1e-3)
    return StillMotion(motion.parameters, regions, depth.clamp(0, 1))


def _hold_thin_things(maps: Tensor, guide: Tensor, thickness: int = 9) -> Tensor:
    """Return the maps with masts, wires and twigs before the sky taken out of the sky.

    They are too thin for the network's picture. A morphological top hat finds them: what a square
    of ``thickness`` does not fit into, darker or lighter than its surroundings.
    """
    light = guide.mean(1, keepdim=True)

    def widen(x: Tensor) -> Tensor:
        rows = F.max_pool2d(x, (thickness, 1), 1, (thickness // 2, 0))
        return F.max_pool2d(rows, (1, thickness), 1, (0, thickness // 2))

    darker = -widen(-widen(light)) - light
    lighter = light - widen(-widen(-light))
    thin = ((torch.maximum(darker, lighter) - 0.08) / 0.08).clamp(0, 1)
    sky = maps[:, SKY : SKY + 1] * (1 - thin)
    static = maps[:, :1] + maps[:, SKY : SKY + 1] - sky
    return torch.cat((static, sky, maps[:, 2:]), dim=1)


def _hold_enclosed_sky(maps: Tensor, largest: float = 0.04) -> Tensor:
    """Return the maps with small patches of sky that no open sky reaches taken out of the sky.

    They are pale walls more often than windows, and a window whose sky stands still does no harm.
    A patch is open if it reaches the picture's edge, or if it is larger than ``largest`` of it.
    """
    sky = np.asarray((maps[0, SKY] > 0.4).cpu())
    opened = binary_opening(sky, iterations=2)  # a slit between roofs is no way in
    patches, count = cast("tuple[np.ndarray, int]", label(opened))  # scipy is untyped
    if count == 0:
        return maps
    area = np.bincount(patches.ravel())
    edge = np.concatenate((patches[0], patches[-1], patches[:, 0], patches[:, -1]))
    held = area < largest * sky.size
    held[np.unique(edge)] = False
    held[0] = False
    # Back to the patch's full extent, a little beyond what the opening took away.
    enclosed = binary_dilation(held[patches], iterations=4)
    open_sky = binary_dilation((patches > 0) & ~held[patches], iterations=2)
    hold = torch.from_numpy(np.logical_and(enclosed, np.logical_not(open_sky))).to(maps)
    moved = maps[:, SKY : SKY + 1] * hold
    return torch.cat((maps[:, :1] + moved, maps[:, SKY : SKY + 1] - moved, maps[:, 2:]), dim=1)


def _guided_fit(
    guide: Tensor, maps: Tensor, radius: int, smoothness: float
) -> tuple[Tensor, Tensor]:
    """Fit every map as a local linear function of a colour guide.

    Returns:
        (weights ``[1, M, 3, H, W]``, offsets ``[1, M, H, W]``), already averaged over windows.
    """

    def mean(x: Tensor) -> Tensor:
        return _local_mean(x, 2 * radius + 1)

    count = maps.shape[1]
    guide_mean, maps_mean = mean(guide), mean(maps)
    products = (maps[:, :, None] * guide[:, None]).flatten(1, 2)
    covariance = mean(products) - (maps_mean[:, :, None] * guide_mean[:, None]).flatten(1, 2)
    squares = mean((guide[:, :, None] * guide[:, None]).flatten(1, 2))
    variance = squares - (guide_mean[:, :, None] * guide_mean[:, None]).flatten(1, 2)
    variance = variance[0].unflatten(0, (3, 3)).permute(2, 3, 0, 1)  # [H, W, 3, 3]
    variance = variance + smoothness * torch.eye(3, device=guide.device)
    covariance = covariance[0].unflatten(0, (count, 3)).permute(2, 3, 1, 0)  # [H, W, 3, M]
    weights = torch.linalg.solve(variance, covariance).permute(3, 2, 0, 1)[None]  # [1, M, 3, H, W]
    offset = maps_mean - (weights * guide_mean[:, None]).sum(2)
    return mean(weights.flatten(1, 2)).unflatten(1, (count, 3)), mean(offset)


def _plates(still: Tensor, motion: StillMotion) -> dict[int, Plate]:
    """Take the still apart: one plate a region that moves by itself, completed where hidden."""
    moves = {
        SKY: _moves(motion, "sky_x", "sky_y"),
        WATER: _moves(motion, "ripple", "water_x"),
        OBJECT: _moves(motion, "object_x", "object_y", "object_turn", "sway"),
    }
    pictures = {0: still[None].float()}
    for region, moving in moves.items():
        share = motion.regions[0, region]
        if not moving or bool((share < 0.5).all()):
            continue
        if region == OBJECT:  # the object moves off; what it hid is completed behind it
            pictures[OBJECT] = still[None].float()
            pictures[0] = complete(still, share < 0.05)[None]
        else:
            pictures[region] = complete(still, share > 0.95)[None]
    return {region: Plate(picture) for region, picture in pictures.items()}


def _moves(motion: StillMotion, *names: str) -> bool:
    return any(bool((motion[name] != 0).any()) for name in names)


def complete(still: Tensor, known: Tensor) -> Tensor:
    """Fill what is not known with its mirrored nearest surroundings.

    Args:
        still: ``[3, H, W]``.
        known: Where it may be used, bool ``[H, W]``.

    Returns:
        The completed picture, ``[3, H, W]``; known pixels are unchanged. Without a known pixel,
        the still.
    """
    mask = np.asarray(known.cpu())
    # Pixels at an outline are mixed with what is beyond it; do not spread those.
    inner = np.array(binary_erosion(mask, iterations=2, border_value=1), dtype=bool)
    if not inner.any():
        inner = mask
    if not inner.any() or inner.all():
        return still.float()
    distance = np.zeros(mask.shape)
    nearest = np.zeros((2, *mask.shape), dtype=np.int32)
    distance_transform_edt(~inner, distances=distance, return_indices=True, indices=nearest)
    place = np.indices(mask.shape)
    mirrored = 2 * nearest - place
    mirrored = mirrored.clip(0, np.array(mask.shape)[:, None, None] - 1)
    usable = inner[mirrored[0], mirrored[1]]
    source = np.where(usable, mirrored, nearest)
    index = torch.from_numpy(source[0] * mask.shape[1] + source[1]).to(still.device)
    filled = still.flatten(1)[:, index.flatten()].view_as(still).float()
    # Far from what is known the mirror would show patterns; let it fade into a soft version.
    soft = _local_mean(filled[None], 15)[0]
    far = torch.from_numpy(distance / (0.08 * min(mask.shape))).clamp(0, 1).to(filled)
    return torch.where(
        known & torch.from_numpy(inner).to(known.device), still, filled + (soft - filled) * far
    )


def _frame(plates: dict[int, Plate], motion: StillMotion, move: FrameMotion) -> Tensor:
    """Put one frame together, ``[1, 3, H, W]``."""
    frame = plates[0].read(move.camera)
    regions = motion.regions
    for region, place in ((SKY, move.sky), (WATER, move.water)):
        if region in plates:
            share = read_at(regions[:, region : region + 1], move.camera)
            frame = frame + (plates[region].read(place) - frame) * share
    if OBJECT in plates:
        share = read_at(regions[:, OBJECT:], move.object)
        frame = frame + (plates[OBJECT].read(move.object) - frame) * share
    return frame


def _local_mean(x: Tensor, window: int) -> Tensor:
    """Average over square windows of odd side, cut at the edges: one axis after the other."""
    rows = F.avg_pool2d(x, (window, 1), 1, (window // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, window), 1, (0, window // 2), count_include_pad=False)


def _fill(frame: Tensor, generated: Tensor, visibility: Tensor) -> Tensor:
    """Put generated pixels where the still shows nothing, without a seam."""
    size = tuple(frame.shape[-2:])
    fill = F.interpolate(generated, size, mode="bicubic", align_corners=False)
    hidden = F.max_pool2d(1 - visibility, 5, 1, 2)  # the seam lies where both are known
    hidden = F.avg_pool2d(hidden, 5, 1, 2, count_include_pad=False)
    hidden = F.interpolate(hidden, size, mode="bilinear", align_corners=False)
    return frame + (fill.clamp(0, 1) - frame) * hidden


def _coarse_difference(frame: Tensor, generated: Tensor) -> Tensor:
    """Return what a generated frame has otherwise, as far as its pixels can tell."""
    small = F.interpolate(frame, generated.shape[-2:], mode="area")
    size = (frame.shape[-2], frame.shape[-1])
    return F.interpolate(generated - small, size, mode="bicubic", align_corners=False)


def middle(picture: Tensor, view: float) -> Tensor:
    """Return the middle of ``[..., H, W]``, ``view`` of its height and width."""
    height, width = picture.shape[-2:]
    shown = [max(round(side * view), 1) for side in (height, width)]
    top, left = (height - shown[0]) // 2, (width - shown[1]) // 2
    return picture[..., top : top + shown[0], left : left + shown[1]]
