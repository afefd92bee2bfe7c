"""The options of ``python -m trip_core animate``; argument types that other commands use."""

import argparse
import math
from collections.abc import Callable
from typing import Any

MIN_FRAMES, DEFAULT_FRAMES, MAX_FRAMES = 2, 16, 128
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


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    command.epilog = EXAMPLES
    add = command.add_argument
    add("stills", nargs="+", metavar="STILL", help="a picture: PNG, JPEG, WebP ...")
    add("--prompt", type=_prompt, default="", help="what moves; without it plain gentle motion")
    add(
        "--out",
        default="output",
        help="a file ending in .mp4, .webm, .webp or .gif (replaced if it exists), or a folder, "
        "where names are numbered so that nothing is replaced",
    )
    add(
        "--frames",
        type=number(int, MIN_FRAMES, MAX_FRAMES),
        help=f"length in frames; without it {DEFAULT_FRAMES}, with --loop {DEFAULT_FRAMES - 1}, "
        "which then is the most",
    )
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
    add("--seed", type=number(int, 0, MAX_SEED), help="same seed, same file; without it 0")
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
        help="go on N times from the last frame: a clip N clips longer; a join shows as far as the "
        "model misses its still",
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
    add("--dtype", choices=DTYPES, help="number type of the networks; without it float32")
    add(
        "--compile",
        action="store_const",
        const=True,
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
