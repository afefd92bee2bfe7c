"""The procedural video world: layered scenes whose motion is known exactly.

A scene is a stack of layers (sky or wall, far land, ground or water, things, a near frame), each a
canvas larger than the picture, so that what a move brings into view exists. The layers move by the
formulas of ``nn.motion_field``; the world therefore knows, for every pixel of every frame, its
flow, whether the still shows it, its region and its depth.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..nn.motion_field import (
    OBJECT,
    REGIONS,
    SKY,
    STATIC,
    WATER,
    StillMotion,
    camera_view,
    coordinates,
    frame_times,
    object_centre,
    object_move,
    read_at,
    sky_drift,
    water_flow,
)
from .canvas import CANVAS, Layer
from .overlays import overlay
from .places import draw_scene
from .scenery import photograph


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes, ready to be rendered.

    Attributes:
        layers: Layers from far to near, of each scene.
        size: Height and width of the picture in pixels.
        seeds: One number a scene, for weather.
        looks: Photographic look of each scene (gamma, gains, saturation, grain).
    """

    layers: list[list[Layer]]
    size: int
    seeds: list[int]
    looks: list[Tensor]


@dataclass(frozen=True)
class WorldClip:
    """A rendered clip and all that is known about it.

    Attributes:
        video: ``[B, 3, F, S, S]`` in 0..1; the first frame is the still.
        flow: Backward flow in pixels, ``[B, 2, F, S, S]``.
        visibility: 1 where the still shows the pixel, ``[B, 1, F, S, S]``.
        regions: Of the still, one-hot, ``[B, 4, S, S]``.
        depth: Nearness in the still, ``[B, 1, S, S]``.
    """

    video: Tensor
    flow: Tensor
    visibility: Tensor
    regions: Tensor
    depth: Tensor


@dataclass(frozen=True)
class World:
    """Draws scenes; the same seed and index give the same scenes on the same device.

    Attributes:
        size: Height and width of the pictures in pixels.
        seed: Which world.
        device: Where it is drawn and rendered.
    """

    size: int = 128
    seed: int = 0
    device: str = "cpu"

    def scenes(self, count: int, index: int = 0) -> Scenes:
        """Return ``count`` scenes, numbers ``index`` to ``index + count - 1`` of this world."""
        seeds = [self.seed * 1_000_003 + index + k for k in range(count)]
        layers, looks = [], []
        for seed in seeds:
            generator = torch.Generator(self.device).manual_seed(seed)
            layers.append(draw_scene(generator, self.size))
            looks.append(torch.rand(8, generator=generator, device=self.device))
        return Scenes(layers, self.size, seeds, looks)


@torch.no_grad()
def render(scenes: Scenes, parameters: Tensor, num_frames: int, frames: list[int]) -> WorldClip:
    """Render some frames of a clip of each scene.

    Args:
        scenes: What is seen.
        parameters: How it moves, ``[B, P]`` in the order of ``MOTION_PARAMETERS``.
        num_frames: Length of the clip.
        frames: Which of its frames to render; 0 is the still.

    Returns:
        The rendered frames, in the order asked for.
    """
    clips = [
        _render_one(layers, scenes.size, parameters[k : k + 1], num_frames, frames, seed, look)
        for k, (layers, seed, look) in enumerate(
            zip(scenes.layers, scenes.seeds, scenes.looks, strict=True)
        )
    ]
    return WorldClip(*(torch.stack(part) for part in zip(*clips, strict=True)))


@torch.no_grad()
def render_stills(scenes: Scenes) -> WorldClip:
    """Render only the still of each scene (F = 1)."""
    nothing = torch.zeros(len(scenes.layers), 18)
    return render(scenes, nothing, 1, [0])


def _render_one(
    layers: list[Layer],
    size: int,
    parameters: Tensor,
    num_frames: int,
    frames: list[int],
    seed: int,
    look: Tensor,
) -> tuple[Tensor, ...]:
    parameters = parameters.to(layers[0].color.device).float()
    still = _frame(layers, size, parameters, num_frames, 0, None)
    truth = StillMotion(parameters, still.regions, still.depth)
    centre = object_centre(still.regions)
    drawn = [
        still if i == 0 else _frame(layers, size, parameters, num_frames, i, centre) for i in frames
    ]
    place = coordinates(size, size, like=still.color)[None]
    video, flow, visible = [], [], []
    for index, frame in zip(frames, drawn, strict=True):
        color, hidden = overlay(frame.color, truth.parameters, num_frames, index, seed)
        inside = (frame.source.abs() < 0.5).all(1, keepdim=True).float()
        same = (read_at(still.top, frame.source, "nearest") == frame.top).float()
        video.append(photograph(color, look))
        flow.append((frame.source - place) * size)
        visible.append(inside * same * (1 - hidden))
    return (
        torch.cat(video).movedim(0, 1),
        torch.cat(flow).movedim(0, 1),
        torch.cat(visible).movedim(0, 1),
        still.regions[0],
        still.depth[0],
    )


@dataclass
class _Frame:
    color: Tensor  # [1, 3, S, S]
    source: Tensor  # where its pixels were in the still, [1, 2, S, S]
    top: Tensor  # number of the front layer, [1, 1, S, S]
    regions: Tensor  # one-hot, [1, 4, S, S]
    depth: Tensor  # [1, 1, S, S]


def _frame(
    layers: list[Layer],
    size: int,
    parameters: Tensor,
    num_frames: int,
    index: int,
    centre: Tensor | None,
) -> _Frame:
    """Composite one frame, far to near."""
    device = layers[0].color.device
    progress, time = frame_times(num_frames, index)
    place = coordinates(size, size, like=layers[0].color)[None]
    color = torch.zeros(1, 3, size, size, device=device)
    source, top = place.clone(), torch.zeros(1, 1, size, size, device=device)
    depth = torch.zeros(1, 1, size, size, device=device)
    region = torch.zeros(1, size, size, dtype=torch.long, device=device)
    for number, layer in enumerate(layers):
        seen = _seen(layer, parameters, progress, place)
        near = _read(layer.depth, seen)[:, 0]
        kind = _read(layer.region.float(), seen, "nearest")[0].long()  # [1, S, S]
        from_ = seen
        if time and bool((kind == SKY).any()):
            from_ = torch.where((kind == SKY)[:, None], sky_drift(parameters, time, seen), from_)
        if time and bool((kind == WATER).any()):
            moved = water_flow(parameters, time, seen, near)
            from_ = torch.where((kind == WATER)[:, None], moved, from_)
        if time and centre is not None and layer.movable:
            from_ = object_move(parameters, time, seen, centre)
        if layer.movable:
            kind = torch.full_like(kind, OBJECT)
        alpha = _read(layer.alpha, from_)
        if bool((kind == SKY).any()) and number > 0:
            # A bank of clouds drifts, its outline stays: what is not sky does not move with it.
            alpha = torch.where((kind == SKY)[:, None], _read(layer.alpha, seen), alpha)
        color = color + (_read(layer.color, from_) - color) * alpha
        front = alpha > 0.5
        source = torch.where(front, from_, source)
        top = torch.where(front, number + 0.1 * kind[:, None].float(), top)
        depth = torch.where(front, near[:, None], depth)
        region = torch.where(front[:, 0], kind, region)
    regions = torch.nn.functional.one_hot(region, len(REGIONS)).movedim(-1, 1).float()
    return _Frame(color, source, top, regions, depth)


def _seen(layer: Layer, parameters: Tensor, progress: float, place: Tensor) -> Tensor:
    """Return which point of the layer the camera sees at each place of the frame."""
    near = _read(layer.depth, place)[:, 0]
    seen = camera_view(parameters, progress, place, near)
    if progress:
        for _ in range(3):
            near = _read(layer.depth, seen)[:, 0]
            seen = camera_view(parameters, progress, place, near)
    return seen


def _read(canvas: Tensor, position: Tensor, mode: str = "bilinear") -> Tensor:
    """Read a layer's canvas, ``[C, c, c]``, at picture coordinates, ``[1, 2, S, S]``."""
    return read_at(canvas[None], position / CANVAS, mode)


__all__ = ["STATIC", "Scenes", "World", "WorldClip", "render", "render_stills"]
