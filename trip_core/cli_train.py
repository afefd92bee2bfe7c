"""``python -m trip_core train``: models from a configuration."""

import argparse
import importlib.util
import sys

#: Libraries of the extra "training".
_LIBRARIES = ("accelerate", "tensorboard", *(("tomli",) if sys.version_info < (3, 11) else ()))


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    command.set_defaults(run=run)
    command.epilog = """\
examples:
  python -m trip_core train configs/embedded.toml
      trains the model that ships, from nothing; uses a GPU when there is one
  python -m trip_core train configs/embedded.toml --resume
      goes on where it was stopped, with the same numbers
  python -m trip_core train configs/embedded-gpu.toml --rehearse 20
      runs 20 steps of every stage and keeps nothing: does it fit, how fast is it?"""
    add = command.add_argument
    add("config", help="a TOML file, see configs/")
    add("--resume", action="store_true", help="continue from the newest checkpoints of the run")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train")
    add("--out", help="folder of the run; without it the configuration's")
    add("--stage", help="train this stage only")
    add("--rehearse", type=int, metavar="N", help="run N steps of every stage and keep nothing")


def run(options: argparse.Namespace) -> int:
    """Train, or rehearse it.

    Returns:
        0, or 1 if a loss stopped being a number.

    Raises:
        ValueError: If a library is missing, or options or the configuration are wrong.
    """
    for name in _LIBRARIES:
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"training needs {name}, which is not installed here; in the repository's folder, "
                "run python -m pip install -e '.[training]'"
            )
    from .training.loop import TrainingDiverged
    from .training.run import rehearse, train

    try:
        if options.rehearse is not None:
            if options.resume or options.out is not None or options.stage is not None:
                raise ValueError(
                    "--rehearse runs every stage and keeps nothing; leave --resume, --out and "
                    "--stage out"
                )
            names = rehearse(options.config, options.rehearse, device=options.device)
            sys.stdout.write(f"rehearsed, nothing kept: {', '.join(names)}\n")
            return 0
        made = train(
            options.config,
            resume=options.resume,
            device=options.device,
            out=options.out,
            stage=options.stage,
        )
    except TrainingDiverged as error:
        sys.stderr.write(f"trip_core: {' '.join(str(error).split())}\n")
        return 1
    for path in made:
        sys.stdout.write(f"{path}\n")
    return 0
