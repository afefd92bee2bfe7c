"""Clips of held-out procedural scenes: flow, visibility and every frame are known exactly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.captions import plain_caption
from ..data.world import Scenes, World, WorldClip, render, render_stills
from ..nn.motion_field import OBJECT, SKY, WATER
from ..nn.warp import warp
from .fidelity import decibels, luma, squared_error
from .regions import flow_error, mask_iou, motion_threshold, moving_region
from .subject import NUM_FRAMES, Subject, for_sheet

#: The world that evaluations draw from. Trainings use worlds of other numbers.
EVALUATION_SEED = 9001
#: Frames of a clip that are compared with the truth.
COMPARED_FRAMES = (5, 10, 15)
#: Caption kinds of weather and light, which displace nothing: they are judged by how much changes.
WEATHER_KINDS = ("snow", "rain", "flicker")
#: Caption kinds that are sampled and finished too, one of every mirrored pair: it takes longest.
SAMPLED_KINDS = (
    "pan_left",
    "tilt_up",
    "zoom_in",
    "zoom_out",
    "rotate_cw",
    "truck_right",
    "dolly_in",
    "clouds_left",
    "waves",
    "object_right",
    *WEATHER_KINDS,
)
#: Scenes looked through at most for those that suit a caption.
_MOST_SCENES = 160


@dataclass(frozen=True)
class SceneCounts:
    """How many scenes a caption is tried on.

    Attributes:
        size: Height and width in pixels.
        motion: Scenes whose motion is compared with the truth; of ten, a single one that is not
            understood moves an IoU by a tenth.
        sampled: Of these, how many are sampled and finished too, for ``SAMPLED_KINDS``.
    """

    size: int = 512
    motion: int = 24
    sampled: int = 2


@dataclass(frozen=True)
class SceneFigures:
    """One caption on procedural scenes; figures are ``nan`` where nothing was measured.

    Attributes:
        kind: Caption kind.
        prompt: The caption.
        scenes: Scenes tried.
        flow_error: Mean end-point error on visible pixels, in pixels.
        flow_zero: The same of predicting no motion.
        iou: Moving region against the truth's, mean over scenes.
        visible: Name (frozen, warp, sample, clip, other subjects) -> PSNR in dB where the still
            shows what the frame shows.
        revealed: Name -> PSNR in dB where it does not.
        activity: Change against the still in the finished clip over that of the truth.
    """

    kind: str
    prompt: str
    scenes: int
    flow_error: float
    flow_zero: float
    iou: float
    visible: dict[str, float]
    revealed: dict[str, float]
    activity: float


@dataclass
class SceneRows:
    """Rows for a contact sheet: frames and their labels."""

    rows: list[list[Tensor]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


@dataclass
class _Tally:
    """Sums over the scenes of one caption."""

    kind: str
    errors: list[float] = field(default_factory=list)
    zeros: list[float] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    activities: list[float] = field(default_factory=list)
    pooled: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    scenes: int = 0

    def pool(self, area: str, name: str, error: tuple[float, float]) -> None:
        """Add (sum of squares, weight) of one area and method."""
        total, weight = self.pooled.get((area, name), (0.0, 0.0))
        self.pooled[area, name] = (total + error[0], weight + error[1])

    def figures(self) -> SceneFigures:
        """Return the means."""
        areas: dict[str, dict[str, float]] = {"visible": {}, "revealed": {}}
        for (area, name), (total, weight) in self.pooled.items():
            areas[area][name] = decibels(total / weight) if weight else math.nan
        return SceneFigures(
            kind=self.kind,
            prompt=plain_caption(self.kind).text,
            scenes=self.scenes,
            flow_error=_mean(self.errors),
            flow_zero=_mean(self.zeros),
            iou=_mean(self.ious),
            visible=areas["visible"],
            revealed=areas["revealed"],
            activity=_mean(self.activities),
        )


def evaluate_scenes(
    subject: Subject,
    others: Mapping[str, Subject],
    kinds: Sequence[str],
    counts: SceneCounts,
    world_seed: int = EVALUATION_SEED,
) -> tuple[list[SceneFigures], SceneRows]:
    """Compare clips of procedural scenes with the truth, per caption.

    Args:
        subject: What animates.
        others: Name -> subjects sampled on the same scenes.
        kinds: Caption kinds, each tried on scenes that have what it moves.
        counts: How many scenes.
        world_seed: Which world.

    Returns:
        (figures in the order of ``kinds``, rows for a contact sheet).
    """
    tallies = {kind: _Tally(kind) for kind in kinds}
    rows = SceneRows()
    world = World(counts.size, world_seed)
    for index in range(_MOST_SCENES):
        wanting = [t for t in tallies.values() if t.scenes < counts.motion]
        if not wanting:
            break
        scenes = world.scenes(1, index)
        still = render_stills(scenes)
        for tally in wanting:
            if scene_suits(tally.kind, still):
                _one_scene(subject, others, tally, scenes, counts, rows)
    return [tally.figures() for tally in tallies.values()], rows


def scene_suits(kind: str, still: WorldClip) -> bool:
    """Return whether a scene has what a caption moves, and something that it leaves alone.

    Args:
        kind: Caption kind.
        still: The scene's still, as ``render_stills`` gives it (one scene).
    """
    share = still.regions[0].mean((1, 2))
    if kind.startswith("clouds"):
        return 0.2 < share[SKY].item() < 0.9 and _sky_contrast(still) > 0.02
    if kind == "waves" or kind.startswith("flow"):
        return 0.1 < share[WATER].item() < 0.9
    if kind.startswith("object") or kind == "sway":
        return 0.02 < share[OBJECT].item() < 0.7
    if kind.startswith(("truck", "boom", "dolly")):
        return 0.1 < (still.depth > 0.15).float().mean().item() < 0.9
    return True


def _sky_contrast(still: WorldClip) -> float:
    """Return how much the sky differs from itself a 32nd of the width aside: what drift shows."""
    light, sky = luma(still.video[0, :, 0])[0], still.regions[0, SKY] > 0.5
    aside = max(light.shape[-1] // 32, 1)
    both = sky[:, aside:] & sky[:, :-aside]
    return (light[:, aside:] - light[:, :-aside])[both].std().item() if both.sum() > 1 else 0.0


def _one_scene(
    subject: Subject,
    others: Mapping[str, Subject],
    tally: _Tally,
    scenes: Scenes,
    counts: SceneCounts,
    rows: SceneRows,
) -> None:
    """Try one caption on one scene and add to its tally."""
    caption = plain_caption(tally.kind)
    parameters = torch.tensor([caption.parameters])
    truth = render(scenes, parameters, NUM_FRAMES, [0, *COMPARED_FRAMES])
    still = truth.video[0, :, 0]
    truth = WorldClip(
        truth.video[:, :, 1:],
        truth.flow[:, :, 1:],
        truth.visibility[:, :, 1:],
        truth.regions,
        truth.depth,
    )
    warped = _compare_motion(subject, tally, still, caption.text, truth)
    if tally.kind in SAMPLED_KINDS and tally.scenes < counts.sampled:
        finished = list(subject.frames(still, caption.text))
        clip = torch.stack([finished[k].float().cpu() for k in COMPARED_FRAMES])
        pictures = {
            name: each.sample(still, caption.text, list(COMPARED_FRAMES))
            for name, each in {"sample": subject, **others}.items()
        }
        frozen = still.expand_as(clip)
        _compare_pictures(
            tally, {"frozen": frozen, "warp": warped, "clip": clip, **pictures}, truth
        )
        actual = truth.video[0].movedim(1, 0)
        asked = (actual - still).abs().mean().item()
        if asked > 0:
            tally.activities.append((clip - still).abs().mean().item() / asked)
        if tally.scenes == 0:
            rows.rows += [[for_sheet(x) for x in (still, *each)] for each in (actual, clip)]
            rows.labels += [f"{caption.text}: the truth", f"{caption.text}: the model"]
    tally.scenes += 1


def _compare_motion(
    subject: Subject, tally: _Tally, still: Tensor, prompt: str, truth: WorldClip
) -> Tensor:
    """Measure flow and moving region; return the warped still, ``[F, 3, S, S]``."""
    frames = len(COMPARED_FRAMES)
    if subject.flow is None:
        return still.expand(frames, -1, -1, -1)
    flow = subject.flow(still, prompt, list(COMPARED_FRAMES)).float().cpu()
    threshold = motion_threshold(truth.flow)
    tally.errors.append(flow_error(flow, truth.flow, truth.visibility))
    tally.zeros.append(flow_error(torch.zeros_like(flow), truth.flow, truth.visibility))
    tally.ious.append(
        mask_iou(moving_region(flow, threshold), moving_region(truth.flow, threshold))
    )
    return warp(still[None], flow, "reflection", "bicubic")[0].movedim(1, 0).clamp(0, 1)


def _compare_pictures(tally: _Tally, pictures: dict[str, Tensor], truth: WorldClip) -> None:
    """Pool the errors of frames ``[F, 3, h, w]`` at the sample's size, by area."""
    size = pictures["sample"].shape[-2:]
    actual = _shrunk(truth.video[0].movedim(1, 0), size)
    seen = _shrunk(truth.visibility[0].movedim(1, 0), size)
    areas = {"visible": (seen > 0.99).float(), "revealed": (seen < 0.5).float()}
    for name, picture in pictures.items():
        small = _shrunk(picture.float().cpu(), size)
        for area, mask in areas.items():
            tally.pool(area, name, squared_error(small, actual, mask))


def _shrunk(pictures: Tensor, size: Sequence[int]) -> Tensor:
    """Bring ``[F, C, H, W]`` to a smaller size by averaging."""
    if tuple(pictures.shape[-2:]) == tuple(size):
        return pictures
    return F.interpolate(pictures, tuple(size), mode="area")


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
