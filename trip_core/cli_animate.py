"""``python -m trip_core animate``: stills in, clips out.

Everything that can be wrong (arguments, stills, targets, the checkpoint) is found before the first
clip is begun, and a clip's file appears when it is complete.
"""

import argparse
import inspect
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .metrics import ClipMeter
    from .pipeline import Clip
    from .sampling import Step

MIN_FRAMES, MAX_FRAMES = 2, 128
#: Characters of a prompt; a longer one is a paste gone wrong, and no motion is told in it.
MAX_PROMPT = 2000
MAX_SEED = 2**64 - 1
MAX_CONTINUATIONS = 15
EDGES = ("mirror", "generate", "overscan")
SAMPLERS = ("ddim", "dpmpp_2m", "euler", "unipc")
DTYPES = ("float32", "bfloat16", "float16")

EXAMPLES = """\
examples:
  python -m trip_core animate ship.png
      plain gentle motion; writes output/ship.mp4
  python -m trip_core animate ship.png --prompt "the camera slowly zooms in while clouds drift left"
  python -m trip_core animate a.png b.jpg --prompt "pan right" --size 768x512 --out clips/
  python -m trip_core animate ship.png --prompt "gentle waves" --out ship.webm --fps 12 --json
  python -m trip_core animate ship.png --mask still-parts.png --prompt "gentle waves"
      what is white in the mask stays as it is in the still, what is black may move
  python -m trip_core animate ship.png --model dreamvideo-small.safetensors --continue 2

words that the small model understands: the camera pans left/right, tilts up/down, zooms in/out,
rolls clockwise/counter-clockwise, moves (trucks) left/right, rises, sinks, moves forward/back
(dolly); clouds drift left/right; the water ripples (waves); the river flows left/right; nothing
moves; static camera; slowly, fast; and combinations. Held back, because they did not pass the
model card's gates: objects that move, turn or sway, snow, rain, flicker. Other words do no harm.
"the camera pans left" moves the picture's content to the right.
"""


# Arguments


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    command.epilog = EXAMPLES
    command.set_defaults(run=run)
    add = command.add_argument
    add("stills", nargs="+", metavar="STILL", help="a picture: PNG, JPEG, WebP ...")
    add("--prompt", type=_prompt, default="", help="what moves; without it plain gentle motion")
    add(
        "--out",
        default="output",
        help="a file ending in .mp4, .webm, .webp or .gif (replaced if it exists), or a folder, "
        "where names are numbered so that nothing is replaced",
    )
    add("--frames", type=number(int, MIN_FRAMES, MAX_FRAMES), default=16, help="length in frames")
    add("--fps", type=number(float, 0.1, 240), default=8.0, help="frames per second")
    add(
        "--size",
        help="WIDTHxHEIGHT (scaled and cropped to fit) or the short side alone, in pixels; "
        "without it the still's own size; models without a motion network keep the shape and "
        "sample at the size they were trained at",
    )
    add(
        "--edges",
        choices=EDGES,
        help="what fills areas that come into view: the mirrored picture (mirror, the default), "
        "generated content, or none are shown because the clip starts slightly zoomed in",
    )
    add(
        "--motion-strength",
        type=number(float, 0, 4),
        help="how far things move, as a multiple of what the words say",
    )
    _add_mask(command)
    _add_sampling(command)
    _add_systems(command)
    _add_model(command)
    add("--json", action="store_true", help="print one line of JSON a clip, with measurements")


def _add_sampling(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group(
        "sampling",
        "for models that sample; the small one moves the still's own pixels and samples only with "
        "--edges generate",
    ).add_argument
    add("--steps", type=number(int, 1, 500), help="denoising steps; without it the model's own")
    add("--guidance", type=number(float, 0, 50), help="text guidance; without it the model's own")
    add(
        "--guidance-rescale",
        type=number(float, 0, 1),
        help="how much of the contrast that guidance adds is taken back, 0 to 1; without it the "
        "model's own",
    )
    add("--seed", type=number(int, 0, MAX_SEED), default=0, help="same seed, same file")
    add("--sampler", choices=SAMPLERS, help="how the steps are made; without it ddim")
    add("--negative", type=_prompt, default="", help="what should not be seen")
    add(
        "--prior-strength",
        type=number(float, 0, 1),
        help="pull of the image noise prior towards the still, 0 to 1; without it the model's own "
        "(1 for TRIP, 0 for DynamiCrafter)",
    )
    add(
        "--prior-frames-decay",
        type=number(float, 0, 1),
        help="how much of that pull is gone at the last frame (with --end or --loop: in the "
        "middle), 0 to 1; without it nothing",
    )
    add(
        "--prior-decay",
        type=number(float, 0, 8),
        help="how early the sampling lets go of the frames after the first, 0 to 8: the pull is "
        "multiplied by the share of noise that is left, to this power; without it 0, never",
    )


def _add_mask(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mask",
        metavar="FILE",
        help="a picture: what is white stays as it is in the still, in every frame; scaled to the "
        "still (TRIP and DynamiCrafter)",
    )


def _add_systems(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("DynamiCrafter").add_argument
    add("--end", metavar="STILL", help="the last frame; for the model made for two stills")
    add("--loop", action="store_const", const=True, help="end where the clip begins; likewise")
    add(
        "--pace",
        type=number(int, 1, 60),
        help="frames per second of the motion, 5 to 30, lower is more motion (256 model: frame "
        "stride, 1 to 6, higher is more)",
    )
    add = command.add_argument_group("DreamVideo").add_argument
    add(
        "--continue",
        dest="continuations",
        type=number(int, 0, MAX_CONTINUATIONS),
        metavar="N",
        help="go on N times from the last frame: a clip N clips longer, without a cut",
    )
    add = command.add_argument_group("DynamiCrafter and DreamVideo").add_argument
    add(
        "--image-guidance",
        type=number(float, 0, 50),
        help="how far to follow the picture, apart from the text; without it as far as the text "
        "(DynamiCrafter), or 1 (DreamVideo)",
    )


def _add_model(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--model",
        help="a .safetensors checkpoint of TRIP or DreamVideo, a diffusers folder or a folder with "
        "DynamiCrafter and its encoders; without it the small model that ships",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ...")
    add("--dtype", choices=DTYPES, default="float32", help="number type of the networks")
    add(
        "--compile",
        action="store_true",
        help="compile the denoising network first: slow to begin, then faster; for many or long "
        "clips, needs a C++ compiler (CPU) or Triton (GPU)",
    )


def number(kind: Callable[[str], Any], low: float, high: float) -> Callable[[str], Any]:
    """Return an argument type: a number from ``low`` to ``high``, both included."""

    def parse(text: str) -> Any:
        what = "a whole number" if kind is int else "a number"
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be {what} from {low} to {high}; got {text!r}")
        return value

    return parse


def _prompt(text: str) -> str:
    if len(text) > MAX_PROMPT:
        raise argparse.ArgumentTypeError(
            f"must have at most {MAX_PROMPT} characters; got {len(text)}, shorten it"
        )
    return text


def _size(text: str | None) -> int | tuple[int, int] | None:
    """Return the short side or ``(height, width)``, checked."""
    if text is None:
        return None
    from .video_io import check_still_size

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
    from .video_io import video_format

    if not out:
        raise ValueError("--out must name a file or a folder; got nothing")
    path = Path(out)
    if not (path.is_dir() or out.endswith("/") or not path.suffix):
        video_format(path)
        if len(stills) > 1:
            raise ValueError(f"--out must be a folder for {len(stills)} stills; got the file {out}")
        if path.exists() and any(path.samefile(p) for p in (*stills, *also) if p.exists()):
            raise ValueError(f"--out {out} would replace a picture that is read; give another name")
        return [path]
    targets: list[Path] = []
    for still in stills:
        target, number = path / f"{still.stem}.mp4", 1
        while target.exists() or target in targets:
            number += 1
            target = path / f"{still.stem}-{number}.mp4"
        targets.append(target)
    return targets


def _load(options: argparse.Namespace) -> "Callable[..., Clip]":
    import torch

    from .models import load_animator

    device = find_device(options.device)
    dtype = getattr(torch, options.dtype)
    if dtype == torch.float16 and device.type == "cpu":
        raise ValueError("--dtype float16 needs a GPU; use float32 or bfloat16 on a CPU")
    return load_animator(options.model, device, dtype, compile=options.compile)


def find_device(name: str) -> "torch.device":
    """Return the device of a name; "auto" is a GPU if there is one.

    Raises:
        ValueError: If it cannot be used here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # "meta" has no numbers
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name} cannot be used here: {reason}") from None
    return device


# The command


def run(options: argparse.Namespace) -> int:
    """Animate every still; all stills and targets are checked before the model is loaded."""
    from . import video_io
    from .stills import fit_mask

    size = _size(options.size)
    stills = [Path(still) for still in options.stills]
    for still in stills:
        video_io.fit_still(video_io.read_still(still), size)
    also = [Path(path) for path in (options.end, options.mask) if path is not None]
    targets = _targets(stills, options.out, also)
    for target in targets:
        video_io.check_writable(target)
    started = time.perf_counter()
    animate = _load(options)
    chosen = _chosen(animate, options)
    loading = time.perf_counter() - started
    mask = chosen.pop("mask", None)
    for still, target in zip(stills, targets, strict=True):
        picture = video_io.read_still(still)
        fitted = video_io.fit_still(picture, size)
        if mask is not None:
            over = fit_mask(mask, (picture.shape[1], picture.shape[2]), "stretch")
            chosen["mask"] = fit_mask(over, size)
        facts = _animate_one(partial(animate, **chosen), fitted, target, options)
        facts["seconds"] = {"load": round(loading, 3), **facts["seconds"]}
        loading = 0.0
        sys.stdout.write((json.dumps(facts) if options.json else _line(facts)) + "\n")
        sys.stdout.flush()
    return 0


#: Options whose names differ from those of what they set.
_OPTIONS = {"image_guidance_scale": "image-guidance", "continuations": "continue"}


def _chosen(animate: "Callable[..., Clip]", options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given and that not every system has."""
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
        from .video_io import read_still

        given["end"] = read_still(given["end"])
    if "mask" in given:
        from .stills import read_mask

        given["mask"] = read_mask(given["mask"])
    return given


def _animate_one(
    animate: "Callable[..., Clip]", still: "Tensor", target: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Animate one still into one file and return what is worth knowing about it."""
    from .video_io import VideoWriter

    with _progress("denoising") as on_step, _compiling(options.compile):
        clip = animate(
            still,
            options.prompt,
            negative=options.negative,
            num_frames=options.frames,
            steps=options.steps,
            guidance_scale=options.guidance,
            seed=options.seed,
            sampler=options.sampler or "ddim",
            on_step=on_step,
        )
    if clip.latents is None:
        _say_unused(options)
    meter = _Meter(_shown(still, clip, options)) if options.json else None
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
        "seed": options.seed,
        "prompt": options.prompt,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        **(meter.facts() if meter is not None else {}),
    }


def _shown(still: "Tensor", clip: "Clip", options: argparse.Namespace) -> "Tensor":
    """Return what the clip begins with: the still, or with overscan its middle."""
    if options.edges != "overscan" or clip.motion is None:
        return still
    from .compose import middle, overscan_view

    return middle(still, overscan_view(clip.motion, options.frames))


def _say_unused(options: argparse.Namespace) -> None:
    """Say which options had no effect, because nothing was sampled."""
    names = ("steps", "guidance", "guidance_rescale", "sampler", "negative", "prior_strength")
    names += ("prior_frames_decay", "prior_decay")
    given = [f"--{n.replace('_', '-')}" for n in names if getattr(options, n) not in (None, "")]
    if given:
        sys.stderr.write(
            f"{', '.join(given)}: without effect, since the still's own pixels were moved and "
            "nothing was sampled; --edges generate samples\n"
        )


class _Meter:
    """Measures a clip against its still while it is written, and how long that takes."""

    def __init__(self, still: "Tensor") -> None:
        self._still = still
        self._meter: ClipMeter | None = None
        self.seconds = 0.0

    def add(self, frame: "Tensor") -> None:
        from .metrics import ClipMeter
        from .video_io import fit_still

        started = time.perf_counter()
        if self._meter is None:
            # A system without motion network gives frames of its own size.
            still = fit_still(self._still, (frame.shape[1], frame.shape[2]))
            self._meter = ClipMeter(still)
        self._meter.add(frame)
        self.seconds += time.perf_counter() - started

    def facts(self) -> dict[str, Any]:
        """Return the report without what is said already, numbers short enough to read."""
        assert self._meter is not None
        report = self._meter.report().to_dict()
        kept = {k: v for k, v in report.items() if k not in ("num_frames", "height", "width")}
        return json.loads(json.dumps(kept), parse_float=lambda number: round(float(number), 5))


def _line(facts: dict[str, Any]) -> str:
    width, height = facts["size"]
    return (
        f"{facts['path']}: {facts['frames']} frames, {width}x{height}, {facts['fps']:g} fps, "
        f"seed {facts['seed']}, {sum(facts['seconds'].values()):.1f} s"
    )


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
