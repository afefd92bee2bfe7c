"""What a caption must reach to be offered, and a model to be shipped."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..data.captions import KINDS, MIXED_KINDS, plain_caption
from ..nn.motion_field import MOTION_PARAMETERS
from .photographs import CAMERA_KINDS, PhotographClip
from .scenes import WEATHER_KINDS, SceneFigures

#: First frame against the still, dB.
FIRST_FRAME = 38.0
#: Share of clips that follow the asked direction.
DIRECTIONS_FOLLOWED = 0.98
#: Motion in pixels per frame when asked to stay still.
STILL_MOTION = 0.05
#: Laplacian energy of the last frame over the still's, mean over photographs, for pans and tilts.
SHARPNESS = 0.85
#: Moving region against the truth's on procedural scenes, mean over scenes.
REGION_IOU = 0.8
#: Flow error over that of predicting no motion.
FLOW_RATIO = 0.5
#: Change in the clip over change in the truth, for weather and light.
ACTIVITY = (0.5, 2.0)
#: ... and so much nearer, dB, the clip must be to the truth than the still is: noise changes, too.
WEATHER_GAIN = 0.5

#: Caption kinds that mix motions; each of those is judged by itself.
PAN_KINDS = ("pan_left", "pan_right", "tilt_up", "tilt_down")
#: Captions that the model ships for: a model in which one is held back is not to be shipped.
REQUIRED_KINDS = (
    "still",
    *CAMERA_KINDS,
    "truck_left",
    "truck_right",
    "dolly_in",
    "clouds_left",
    "clouds_right",
    "waves",
    "gentle",
)


@dataclass(frozen=True)
class Gate:
    """One demand and what was measured.

    Attributes:
        name: What is measured.
        value: The figure; ``nan`` if nothing was measured, which does not pass.
        demand: In words, e.g. "at least 38 dB".
        passed: Whether the demand is met.
    """

    name: str
    value: float
    demand: str
    passed: bool


@dataclass(frozen=True)
class CaptionVerdict:
    """Whether a caption is offered.

    Attributes:
        kind: Caption kind.
        prompt: Its plain caption.
        gates: What was demanded of it; none for a caption that only has to look right.
    """

    kind: str
    prompt: str
    gates: tuple[Gate, ...]

    @property
    def held_back(self) -> bool:
        """Whether some gate failed."""
        return not all(gate.passed for gate in self.gates)


def at_least(name: str, value: float, limit: float, unit: str = "") -> Gate:
    """Return a gate that a high value passes."""
    return Gate(name, value, f"at least {limit:g}{unit}", value >= limit)


def below(name: str, value: float, limit: float, unit: str = "") -> Gate:
    """Return a gate that a low value passes."""
    return Gate(name, value, f"below {limit:g}{unit}", value < limit)


def model_gates(clips: Sequence[PhotographClip]) -> list[Gate]:
    """Judge a model on its clips of photographs.

    Args:
        clips: Clips under camera, still and other captions.
    """
    gates = [
        at_least(
            "first frame, worst clip",
            min((c.report.first_frame_psnr for c in clips), default=math.nan),
            FIRST_FRAME,
            " dB",
        )
    ]
    asked = [c.followed for c in clips if c.kind in CAMERA_KINDS]
    gates.append(
        at_least(
            f"directions followed, of {len(asked)}",
            100 * _mean([float(bool(f)) for f in asked]),
            100 * DIRECTIONS_FOLLOWED,
            " %",
        )
    )
    still = [c.report.motion for c in clips if c.kind == "still"]
    gates.append(
        below("motion when still, worst clip", max(still, default=math.nan), STILL_MOTION, " px")
    )
    sharp = [c.report.sharpness for c in clips if c.kind in PAN_KINDS]
    gates.append(at_least("sharpness of pans, mean", 100 * _mean(sharp), 100 * SHARPNESS, " %"))
    return gates


def caption_verdict(
    kind: str, prompt: str, clips: Sequence[PhotographClip], scene: SceneFigures | None
) -> CaptionVerdict:
    """Judge one caption.

    Args:
        kind: Caption kind.
        prompt: Its plain caption.
        clips: The caption's clips of photographs; may be none.
        scene: Its figures on procedural scenes; None if it was not tried there.
    """
    gates: list[Gate] = []
    if kind == "still" and clips:
        motion = max(c.report.motion for c in clips)
        gates.append(below("motion", motion, STILL_MOTION, " px"))
    if kind == "gentle" and clips:  # no words ask for some motion, not for none
        motion = min(c.report.motion for c in clips)
        gates.append(at_least("motion", motion, STILL_MOTION, " px"))
    if kind in CAMERA_KINDS and clips:
        followed = _mean([float(bool(c.followed)) for c in clips])
        gates.append(at_least("direction", 100 * followed, 100 * DIRECTIONS_FOLLOWED, " %"))
    if scene is not None and kind in WEATHER_KINDS:
        low, high = ACTIVITY
        passed = low <= scene.activity <= high
        gates.append(Gate("activity", scene.activity, f"{low:g} to {high:g}", passed))
        gates.append(at_least("gain over the still", _weather_gain(scene), WEATHER_GAIN, " dB"))
    elif scene is not None and kind != "still":
        if kind not in CAMERA_KINDS:  # there everything moves, whatever the model knows
            gates.append(at_least("IoU", scene.iou, REGION_IOU))
        ratio = scene.flow_error / scene.flow_zero if scene.flow_zero else math.nan
        gates.append(below("flow error over none", ratio, FLOW_RATIO))
    return CaptionVerdict(kind, prompt, tuple(gates))


def _weather_gain(scene: SceneFigures) -> float:
    """Return the PSNR of the clip minus the still's: where flakes hide the still, or anywhere."""
    area = scene.revealed if not math.isnan(scene.revealed.get("clip", math.nan)) else scene.visible
    return area.get("clip", math.nan) - area.get("frozen", math.nan)


def parameters_of(kind: str) -> frozenset[str]:
    """Return the names of the motion parameters that a kind's plain caption asks for."""
    values = plain_caption(kind).parameters
    return frozenset(name for name, v in zip(MOTION_PARAMETERS, values, strict=True) if v)


def kinds_offered(understood: Collection[str]) -> list[str]:
    """Return the caption kinds that a model offers.

    Args:
        understood: Motion parameters that it does not hold back.
    """
    return [k for k in KINDS if k not in MIXED_KINDS and parameters_of(k) <= set(understood)]


def understood_parameters(verdicts: Sequence[CaptionVerdict]) -> list[str]:
    """Return the motion parameters that a model should offer.

    Those of every caption that passed, but for those of a failed caption that asks for nothing
    else.

    Args:
        verdicts: Of all captions tried.
    """
    passed, failed = set[str](), set[str]()
    for verdict in verdicts:
        names = parameters_of(verdict.kind)
        if not verdict.held_back:
            passed |= names
        elif len(names) == 1:
            failed |= names
    return [name for name in MOTION_PARAMETERS if name in passed - failed]


def sample_loses(scene: SceneFigures) -> bool | None:
    """Return whether the diffusion's sample is worse than the warp in what comes into view.

    None where nothing comes into view, or content is random (weather), so that PSNR says nothing.
    """
    warp, sample = scene.revealed.get("warp", math.nan), scene.revealed.get("sample", math.nan)
    if scene.kind in WEATHER_KINDS or math.isnan(warp) or math.isnan(sample):
        return None
    return sample < warp


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
