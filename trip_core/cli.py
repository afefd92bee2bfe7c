"""The command line: ``python -m trip_core COMMAND``.

Wrong use ends with exit code 2 and one line on stderr, before anything is written; Ctrl-C with
130; a file is there whole or not at all. Heavy imports happen inside the commands, after the
arguments were found right.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from . import cli_animate
from .allocator import keep_freed_memory
from .cli_options import number
from .cli_process import Interrupt, make_streams_bear_all, show_log, signals

_EXAMPLES = """\
examples:
  python -m trip_core animate still.png --prompt "the camera pans left"
  python -m trip_core info checkpoint.safetensors
  python -m trip_core convert model.ckpt model.safetensors
  python -m trip_core train configs/embedded.toml --resume
  python -m trip_core preview-data --out preview.png
  python -m trip_core evaluate-embedded --check
  python -m trip_core bench

python -m trip_core COMMAND --help explains a command.
"""


#: Commands that run for minutes or hours and say how far they are.
_LOGGED = ("train", "evaluate-embedded")


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line; None takes the process's own.

    Returns:
        The exit code: 0, what the command says, 2 for wrong use, 130 after Ctrl-C, 141
        where what it printed has no reader any more.
    """
    interrupt = Interrupt()
    make_streams_bear_all()
    try:
        with signals(interrupt):
            words = sys.argv[1:] if arguments is None else arguments
            options = _parser(words).parse_args(words)
            keep_freed_memory()
            importlib.import_module("torch")  # every command's; takes seconds
            interrupt.wait_no_more()
            if options.command in _LOGGED:
                show_log()
            code = int(options.run(options) or 0)
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        # Whoever read has gone, as "head" does; what is left to say is not worth an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as if SIGPIPE had ended it
    except (Exception, KeyboardInterrupt) as error:
        # What was interrupted may say so in its own words.
        if interrupt.came or isinstance(error, KeyboardInterrupt):
            print("interrupted; nothing half-written was left", file=sys.stderr)
            return 130
        if isinstance(error, ValueError | OSError):
            print(f"trip_core: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        raise


# Commands


def _info(options: argparse.Namespace) -> int:
    from .models import info

    facts = info(options.checkpoint)
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    print(f"{facts['path']}: {facts['kind']}, {facts['bytes'] / 1e6:.1f} MB")
    told = {name: facts[name] for name in ("system", "variant", "prediction_type") if facts[name]}
    print("  " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items()))
    for part, counts in facts["parts"].items():
        print(
            f"  {part:13} {counts['tensors']:5} tensors  {counts['parameters'] / 1e6:9.2f} M "
            f"parameters  {', '.join(counts['dtypes'])}"
        )
    if facts.get("missing"):
        print(f"  not in this file: {', '.join(facts['missing'])}")
    print(json.dumps({key: facts[key] for key in ("config", "card") if key in facts}, indent=2))
    return 0


def _preview_data(options: argparse.Namespace) -> int:
    from .data.preview import save_preview
    from .targets import check_writable

    target = Path(options.out)
    if target.suffix.lower() != ".png":
        raise ValueError(f"--out must end in .png; got {options.out}")
    check_writable(target)
    save_preview(target, options.count, options.seed, options.size, options.kind)
    print(target)
    return 0


# Arguments


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} ({self.prog} --help)")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples' lines and shows the defaults that there are."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        default = action.default
        if default is None or default is False or default in ("", [], argparse.SUPPRESS):
            return text
        return text + " (default: %(default)s)"


def _parser(words: list[str]) -> argparse.ArgumentParser:
    """Return the parser; commands that define themselves do so only when they are asked for."""
    parser = _Parser(
        prog="python -m trip_core",
        description="Turn a still picture into a short clip; train, measure and time the models.",
        epilog=_EXAMPLES,
        formatter_class=_Help,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, add) in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=_Help,
            allow_abbrev=False,
        )
        if callable(add):
            add(command)
        elif name in words[:1]:
            importlib.import_module(add, __package__).add_arguments(command)
    return parser


def _add_info(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_info)
    command.epilog = """\
examples:
  python -m trip_core info trip_core/embedded/trip-small.safetensors
      its parts, their sizes and its model card
  python -m trip_core info dynamicrafter_512.safetensors --json"""
    command.add_argument("checkpoint", help="a .safetensors file or a diffusers folder")
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_preview(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_preview_data)
    command.epilog = """\
examples:
  python -m trip_core preview-data
      eight clips of all kinds; writes output/preview.png
  python -m trip_core preview-data --kind waves --count 4 --size 256 --out waves.png"""
    add = command.add_argument
    add("--out", default="output/preview.png", help="the contact sheet, a PNG (replaced)")
    add("--count", type=number(int, 1, 100), default=8, help="clips, one a row")
    add(
        "--seed",
        type=number(int, 0, 2**31),
        default=0,
        help="which scenes and captions",
    )
    add(
        "--size",
        type=number(int, 32, 1024),
        default=128,
        help="side of a frame in pixels",
    )
    add("--kind", help="one kind of caption only, e.g. pan_left; without it all kinds")


#: What the command line can do: help, and the arguments' function or the module that has it.
_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None] | str]] = {
    "animate": ("animate one or more stills", cli_animate.add_arguments),
    "info": ("say what a checkpoint is, without loading it", _add_info),
    "convert": ("turn a pickled checkpoint into safetensors, running nothing", ".convert"),
    "train": ("train models from a configuration", ".cli_train"),
    "preview-data": ("draw clips of the world that models are trained on", _add_preview),
    "evaluate-embedded": ("measure a model and write its card", ".evaluate"),
    "bench": ("time and check the network and the stages of a clip", ".bench"),
}
