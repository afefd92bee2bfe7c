"""``python -m trip_core animate``: stills in, clips out.

Everything that can be wrong (arguments, stills, targets, the checkpoint) is found before the first
clip is begun, and a clip's file appears when it is complete.
"""

import argparse
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cli_options
from .cli_device import find_device
from .cli_report import Meter, line, say_unused

if TYPE_CHECKING:
    from torch import Tensor

    from .pipeline import Clip
    from .sampling import Step


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Make a parser the command's."""
    cli_options.add_arguments(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Animate every still; all stills and targets are checked before the model is loaded."""
    from .formats import check_fps, video_format
    from .sizes import fit_mask, fit_still
    from .stills import read_still
    from .targets import check_writable

    size = _size(options.size)
    if options.frames is None:
        options.frames = cli_options.DEFAULT_FRAMES - bool(options.loop)
    stills = [Path(still) for still in options.stills]
    for still in stills:
        fit_still(read_still(still), size)
    also = [Path(path) for path in (options.end, options.mask) if path is not None]
    targets = _targets(stills, options.out, also)
    for target in targets:
        check_writable(target)
        video_format(target).check_rate(check_fps(options.fps))
    started = time.perf_counter()
    animate = _load(options)
    chosen = _chosen(animate, options)
    loading = time.perf_counter() - started
    mask = chosen.pop("mask", None)
    for still, target in zip(stills, targets, strict=True):
        picture = read_still(still)
        fitted = fit_still(picture, size)
        if mask is not None:
            over = fit_mask(mask, (picture.shape[1], picture.shape[2]), "stretch")
            chosen["mask"] = fit_mask(over, size)
        facts = _animate_one(partial(animate, **chosen), fitted, target, options)
        facts["seconds"] = {"load": round(loading, 3), **facts["seconds"]}
        loading = 0.0
        sys.stdout.write((json.dumps(facts) if options.json else line(facts)) + "\n")
        sys.stdout.flush()
    return 0


def _size(text: str | None) -> int | tuple[int, int] | None:
    """Return the short side or ``(height, width)``, checked."""
    if text is None:
        return None
    from .sizes import check_still_size

    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise ValueError(f"--size must be WIDTHxHEIGHT or a short side, e.g. 768x512; got {text!r}")
    lengths = [int(side) for side in sides]
    check_still_size(lengths[-1], lengths[0], "--size")
    return (lengths[1], lengths[0]) if len(lengths) == 2 else lengths[0]


def _targets(stills: list[Path], out: str, also: list[Path]) -> list[Path]:
    """Choose the file of every still's clip: the one named, or new names in the folder named.

    It replaces no still, and no picture that is ``also`` read.
    """
    from .formats import FORMATS, video_format

    if not out:
        raise ValueError("--out must name a file or a folder; got nothing")
    path = Path(out)
    if path.name.lower() in FORMATS:
        named = path.with_name(f"clip{path.name}")
        raise ValueError(f"--out {out} is only an ending; give it a name, e.g. {named}")
    if not (os.path.isdir(path) or out.endswith("/") or not path.suffix):
        video_format(path)
        if len(stills) > 1:
            raise ValueError(f"--out must be a folder for {len(stills)} stills; got the file {out}")
        if os.path.exists(path) and any(path.samefile(p) for p in (*stills, *also) if p.exists()):
            raise ValueError(f"--out {out} would replace a picture that is read; give another name")
        return [path]
    targets: list[Path] = []
    for still in stills:
        target, number = path / f"{still.stem}.mp4", 1
        while os.path.exists(target) or target in targets:
            number += 1
            target = path / f"{still.stem}-{number}.mp4"
        targets.append(target)
    return targets


def _load(options: argparse.Namespace) -> "Callable[..., Clip]":
    import torch

    from .models import load_animator

    device = find_device(options.device)
    dtype = getattr(torch, options.dtype or "float32")
    if dtype == torch.float16 and device.type == "cpu":
        raise ValueError("--dtype float16 needs a GPU; use float32 or bfloat16 on a CPU")
    return load_animator(options.model, device, dtype, compile=bool(options.compile))


#: Options whose names differ from those of what they set.
_OPTIONS = {"image_guidance_scale": "image-guidance", "continuations": "continue"}


def _chosen(animate: "Callable[..., Clip]", options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given and that not every system has."""
    from .stills import read_mask, read_still

    given = {
        "edges": options.edges,
        "motion_strength": options.motion_strength,
        "prior_strength": options.prior_strength,
        "prior_frames_decay": options.prior_frames_decay,
        "prior_decay": options.prior_decay,
        "mask": options.mask,
        "end": options.end,
        "loop": options.loop,
        "pace": options.pace,
        "continuations": options.continuations,
        "image_guidance_scale": options.image_guidance,
        "guidance_rescale": options.guidance_rescale,
    }
    given = {name: value for name, value in given.items() if value is not None}
    strange = sorted(given.keys() - inspect.signature(animate).parameters.keys())
    if strange:
        option = _OPTIONS.get(strange[0], strange[0].replace("_", "-"))
        raise ValueError(f"--{option} is not for this model; leave it out or give another --model")
    if "end" in given:
        given["end"] = read_still(given["end"])
    if "mask" in given:
        given["mask"] = read_mask(given["mask"])
    return given


def _animate_one(
    animate: "Callable[..., Clip]", still: "Tensor", target: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Animate one still into one file and return what is worth knowing about it."""
    from .video_io import VideoWriter

    with _progress("denoising") as on_step, _compiling(bool(options.compile)):
        clip = animate(
            still,
            options.prompt,
            negative=options.negative,
            num_frames=options.frames,
            steps=options.steps,
            guidance_scale=options.guidance,
            seed=options.seed or 0,
            sampler=options.sampler or "ddim",
            on_step=on_step,
        )
    if clip.latents is None:
        say_unused(options)
    meter = Meter(_shown(still, clip, options)) if options.json else None
    started, size = time.perf_counter(), [0, 0]
    with VideoWriter(target, options.fps) as writer:
        count = options.frames + (options.continuations or 0) * (options.frames - 1)
        for frame in _bar(clip.frames, count, f"writing {target.name}"):
            height, width = writer.format.stored_size((frame.shape[1], frame.shape[2]))
            size = [width, height]
            writer.add(frame)
            if meter is not None:
                meter.add(frame)
    # Frames are composed and measured while they are written.
    seconds = dict(clip.seconds) | ({"measure": meter.seconds} if meter is not None else {})
    seconds["write"] = time.perf_counter() - started
    seconds["write"] -= seconds.get("compose", 0.0) + seconds.get("measure", 0.0)
    return {
        "path": str(target),
        "frames": writer.num_frames,
        "fps": options.fps,
        "size": size,
        "seed": options.seed or 0,
        "prompt": options.prompt,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        **(meter.facts(target) if meter is not None else {}),
    }


def _shown(still: "Tensor", clip: "Clip", options: argparse.Namespace) -> "Tensor":
    """Return what the clip begins with: the still, or with overscan its middle."""
    if options.edges != "overscan" or clip.motion is None:
        return still
    from .compose import middle, overscan_view

    return middle(still, overscan_view(clip.motion, options.frames))


@contextmanager
def _compiling(wanted: bool) -> Iterator[None]:
    """Say in one sentence that this machine cannot compile networks."""
    try:
        yield
    except RuntimeError as error:
        module = type(error).__module__
        if not wanted or not module.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"--compile cannot be used here ({reason}); leave it out") from None


@contextmanager
def _progress(what: str) -> Iterator[Callable[["Step"], None]]:
    """Show a bar over denoising steps; gone again when they are done or fail."""
    from tqdm import tqdm

    # disable=None: no bar where stderr is not a terminal.
    with tqdm(desc=what, unit="step", leave=False, disable=None) as bar:

        def on_step(step: "Step") -> None:
            bar.total = step.count
            bar.update()

        yield on_step


def _bar(frames: Iterable["Tensor"], count: int, what: str) -> Iterator["Tensor"]:
    from tqdm import tqdm

    yield from tqdm(frames, what, count, leave=False, disable=None, unit="frame")
