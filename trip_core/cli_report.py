"""What ``animate`` says of a clip."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from .metrics import ClipMeter


def line(facts: dict[str, Any]) -> str:
    """Return the facts of a clip that a person wants, on one line."""
    width, height = facts["size"]
    return (
        f"{facts['path']}: {facts['frames']} frames, {width}x{height}, {facts['fps']:g} fps, "
        f"seed {facts['seed']}, {sum(facts['seconds'].values()):.1f} s"
    )


def say_unused(options: argparse.Namespace) -> None:
    """Say which options had no effect, because nothing was sampled."""
    names = ("steps", "guidance", "guidance_rescale", "sampler", "negative", "prior_strength")
    names += ("prior_frames_decay", "prior_decay", "seed", "compile", "dtype")
    given = [f"--{n.replace('_', '-')}" for n in names if getattr(options, n) not in (None, "")]
    if given:
        sys.stderr.write(
            f"{', '.join(given)}: without effect, since the still's own pixels were moved and "
            "nothing was sampled; --edges generate samples\n"
        )


class Meter:
    """Measures a clip against its still while it is written, and how long that takes."""

    def __init__(self, still: "Tensor") -> None:
        self._still = still
        self._meter: ClipMeter | None = None
        self.seconds = 0.0

    def add(self, frame: "Tensor") -> None:
        """Measure the next frame."""
        from .metrics import ClipMeter
        from .sizes import fit_still

        started = time.perf_counter()
        if self._meter is None:
            # A system without motion network gives frames of its own size.
            self._still = fit_still(self._still, (frame.shape[1], frame.shape[2]))
            self._meter = ClipMeter(self._still)
        self._meter.add(frame)
        self.seconds += time.perf_counter() - started

    def facts(self, path: Path) -> dict[str, Any]:
        """Return the report without what is said already, numbers short enough to read.

        The first frame is measured as the file gives it back.
        """
        from .metrics.fidelity import psnr
        from .video_io import read_video

        assert self._meter is not None
        report = self._meter.report().to_dict()
        height, width = self._still.shape[-2:]
        report["first_frame_psnr"] = psnr(read_video(path, 1)[0, :, :height, :width], self._still)
        kept = {k: v for k, v in report.items() if k not in ("num_frames", "height", "width")}
        return json.loads(json.dumps(kept), parse_float=lambda number: round(float(number), 5))
