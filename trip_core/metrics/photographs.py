"""Clips of natural photographs: no truth is known, so they are judged by what can be seen."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..data.captions import plain_caption
from ..sizes import fit_still
from ..stills import read_still
from .optical_flow import DIRECTIONS, direction_followed
from .report import ClipMeter, ClipReport
from .subject import Subject, for_sheet

#: Photographs that lie inside the scikit-image package itself (nothing is fetched): a portrait, a
#: cat, a table top, a launch under an open sky, a workshop, a man in a park.
PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "camera.png",
)
#: Camera moves whose direction is looked for.
CAMERA_KINDS = (
    "pan_left",
    "pan_right",
    "tilt_up",
    "tilt_down",
    "zoom_in",
    "zoom_out",
    "rotate_cw",
    "rotate_ccw",
)
#: Frames of a clip that are kept for the contact sheet.
SHEET_FRAMES = (0, 5, 10, 15)


@dataclass(frozen=True)
class PhotographClip:
    """One photograph under one caption.

    Attributes:
        photograph: File name.
        kind: Caption kind.
        prompt: The caption.
        report: Figures of the clip.
        followed: Whether the asked direction was taken; None where none was asked.
        seconds: From still and prompt to the last frame.
        frames: The frames for a contact sheet.
    """

    photograph: str
    kind: str
    prompt: str
    report: ClipReport
    followed: bool | None
    seconds: float
    frames: tuple[Tensor, ...]


def load_photographs(size: int, names: Sequence[str] = PHOTOGRAPHS) -> dict[str, Tensor]:
    """Read photographs from the installed scikit-image package, cropped to a square.

    Args:
        size: Height and width in pixels.
        names: Files of ``skimage/data``.

    Returns:
        Name -> pixels 0..1, ``[3, size, size]``.

    Raises:
        ValueError: If scikit-image is not installed, or came without these files.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise ValueError(
            "the evaluation uses scikit-image's sample photographs and scikit-image is not "
            "installed; install it with: pip install scikit-image"
        ) from error
    folder = Path(str(skimage.data.__file__)).parent
    return {name: fit_still(read_still(folder / name), (size, size)) for name in names}


def evaluate_photographs(
    subject: Subject, photographs: dict[str, Tensor], kinds: Sequence[str]
) -> list[PhotographClip]:
    """Animate every photograph under the plain caption of every kind and measure the clips.

    Args:
        subject: What animates.
        photographs: Name -> pixels 0..1, ``[3, H, W]``.
        kinds: Caption kinds.
    """
    return [
        _evaluate_one(subject, name, still, kind)
        for name, still in photographs.items()
        for kind in kinds
    ]


def _evaluate_one(subject: Subject, name: str, still: Tensor, kind: str) -> PhotographClip:
    prompt = "" if kind == "gentle" else plain_caption(kind).text
    start = time.perf_counter()
    frames = [frame.detach().float().cpu() for frame in subject.frames(still, prompt)]
    seconds = time.perf_counter() - start
    meter = ClipMeter(still)
    for frame in frames:
        meter.add(frame)
    report = meter.report()
    return PhotographClip(
        photograph=name,
        kind=kind,
        prompt=prompt,
        report=report,
        followed=direction_followed(kind, report.camera) if kind in DIRECTIONS else None,
        seconds=seconds,
        frames=tuple(for_sheet(frames[k]) for k in SHEET_FRAMES if k < len(frames)),
    )
