"""A whole training run: every stage of a configuration in order, then one checkpoint."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..tables import from_table
from .autoencoder import AutoencoderOptions, AutoencoderTask
from .config import StageConfig, TrainConfig, read_config
from .dreamvideo import DreamVideoOptions, DreamVideoTask
from .loop import train_stage
from .motion import MotionOptions, MotionTask
from .pack import check_files, pack
from .state import check_settings, save_settings
from .task import Task, TaskContext, seeded
from .trip import TripOptions, TripTask
from .weights import WEIGHTS
from .words import WordsOptions, WordsTask

_log = logging.getLogger(__name__)

#: Name in a configuration -> (its settings, the task).
TASKS: dict[str, tuple[type[Any], type[Any]]] = {
    "autoencoder": (AutoencoderOptions, AutoencoderTask),
    "motion": (MotionOptions, MotionTask),
    "words": (WordsOptions, WordsTask),
    "trip": (TripOptions, TripTask),
    "dreamvideo": (DreamVideoOptions, DreamVideoTask),
}


#: Settings that change no weight; ``stage_settings`` lists a task's options one by one.
_FREE = {
    *("name", "options", "workers", "worker_threads", "keep", "tensorboard"),
    *("log_every", "save_every", "sheet_every"),
    *("options.keep_clips", "options.checkpointing", "options.sheet_steps"),
}


def train(
    config: str | Path | TrainConfig,
    *,
    resume: bool = False,
    device: str = "auto",
    out: str | Path | None = None,
    stage: str | None = None,
    progress: bool = True,
) -> list[Path]:
    """Run a training configuration: stages that are already finished are not repeated.

    Args:
        config: A TOML file, or its content.
        resume: Continue stages from their newest checkpoints.
        device: "cpu", "cuda" or "auto" (a GPU when there is one).
        out: Folder of the run; None takes the configuration's.
        stage: Train only this stage, and pack nothing.
        progress: Show progress bars.

    Returns:
        The checkpoints that were packed, or the stage's weights.

    Raises:
        ValueError: If the configuration is wrong, or a stage was begun with other settings.
        TrainingDiverged: If a loss stops being a number.
    """
    plan = config if isinstance(config, TrainConfig) else read_config(config)
    folder = Path(out if out is not None else plan.out)
    wanted = [s for s in plan.stages if stage in (None, s.name)]
    if not wanted:
        names = ", ".join(s.name for s in plan.stages)
        raise ValueError(f"there is no stage {stage!r} in this configuration; it has {names}")
    # All that can be wrong is looked at before hours are spent on the first stage.
    settings = {each.name: stage_settings(each, plan.seed) for each in wanted}
    for name, each in settings.items():
        check_settings(folder / name, each)
    weights = [folder / each.name / WEIGHTS for each in wanted]
    left = [each for each, done in zip(wanted, weights, strict=True) if not done.is_file()]
    check_files(left, plan.pack if stage is None else (), folder)
    for each in wanted:
        target = folder / each.name
        if each not in left:
            _log.info("stage %s is finished: %s", each.name, target / WEIGHTS)
            continue
        task = make_task(each, folder, plan.seed, device)
        save_settings(target, settings[each.name])
        train_stage(task, each, target, device=device, resume=resume, progress=progress)
    if stage is not None:
        return weights
    return [pack(each, folder) for each in plan.pack]


def rehearse(
    config: str | Path | TrainConfig, steps: int, *, device: str = "auto", progress: bool = True
) -> list[str]:
    """Run every stage of a configuration for a few steps, at its real size, and keep nothing.

    Shows that all of it fits together and into memory, and (in the progress bars) how long a step
    takes, before a night is spent on it.

    Args:
        config: A TOML file, or its content.
        steps: Steps of each stage, at least 1.
        device: "cpu", "cuda" or "auto" (a GPU when there is one).
        progress: Show progress bars.

    Returns:
        Names of the stages and of the checkpoints that were made.

    Raises:
        ValueError: If the configuration is wrong.
    """
    if steps < 1:
        raise ValueError(f"a rehearsal needs at least 1 step of each stage; got {steps}")
    plan = config if isinstance(config, TrainConfig) else read_config(config)
    short = tuple(replace(stage, steps=min(stage.steps, steps)) for stage in plan.stages)
    with TemporaryDirectory(prefix="rehearsal-") as folder:
        packed = train(replace(plan, stages=short), device=device, out=folder, progress=progress)
        return [*(stage.name for stage in short), *(path.name for path in packed)]


def task_options(stage: StageConfig) -> Any:
    """Return the task's settings of a stage.

    Raises:
        ValueError: If the task is unknown or does not know one of the settings.
    """
    if stage.task not in TASKS:
        raise ValueError(
            f"stage {stage.name!r}: task must be one of {', '.join(TASKS)}; got {stage.task!r}"
        )
    return from_table(TASKS[stage.task][0], stage.options, f"[stage.options] of {stage.name!r}")


def stage_settings(stage: StageConfig, seed: int) -> dict[str, Any]:
    """Return what decides a stage's weights, by name, defaults included."""
    table = asdict(stage) | {"seed": seed}
    options = asdict(task_options(stage))
    table |= {f"options.{name}": value for name, value in options.items()}
    return {name: value for name, value in table.items() if name not in _FREE}


def make_task(stage: StageConfig, run: Path, seed: int, device: str = "auto") -> Task:
    """Build the task of a stage, its modules on the device, their start decided by the seed."""
    on = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    context = TaskContext(
        run=run,
        device=torch.device(on),
        data_device=torch.device("cpu" if stage.workers else on),
        batch_size=stage.batch_size,
        seed=seed,
    )
    with seeded(seed):
        return TASKS[stage.task][1](task_options(stage), context)
