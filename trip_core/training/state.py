"""Resumable training checkpoints and stage weights: safetensors and JSON, nothing pickled.

A checkpoint folder ``checkpoint-00000500`` holds the modules, their average, the optimizer's
moments and ``state.json``. It is written beside its place and renamed, so that a kill at any moment
leaves only whole checkpoints.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import load_parts, read_config
from ..tensor_files import read_header, read_tensors, write_tensors

_PREFIX = "checkpoint-"
_PARTIAL = ".partial-"
_SETTINGS = "settings.json"
_WEIGHTS = "weights.safetensors"


def save_state(
    folder: Path,
    step: int,
    module: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    extra: dict[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint of optimizer step ``step`` into ``folder`` and drop the oldest ones.

    Args:
        folder: Folder of the stage.
        step: Optimizer steps done.
        module: What is trained.
        average: Its averaged weights, empty if none are kept.
        optimizer: Its optimizer.
        extra: More JSON-able state.
        keep: Checkpoints to keep, the newest.

    Returns:
        The folder of the checkpoint.

    Raises:
        OSError: If it cannot be written; nothing of it is left then.
    """
    target = folder / f"{_PREFIX}{step:08d}"
    partial = folder / f"{_PARTIAL}{step:08d}"
    for killed in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(killed, ignore_errors=True)
    moments = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value
        for index, values in moments["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    try:
        write_tensors(partial / "modules.safetensors", module.state_dict(), {})
        if average:
            write_tensors(partial / "average.safetensors", average, {})
        write_tensors(partial / "optimizer.safetensors", tensors, {})
        (partial / "state.json").write_text(json.dumps({"step": step} | extra, indent=1))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
    except OSError as error:
        raise OSError(
            f"{target} could not be saved: {error}; make room and continue with --resume"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints of a stage, oldest first."""
    return sorted(p for p in folder.glob(f"{_PREFIX}*") if (p / "state.json").is_file())


def load_state(
    checkpoint: Path, module: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Continue from a checkpoint.

    Returns:
        (the JSON state with ``step``, the averaged weights or an empty dict).

    Raises:
        ValueError: If the checkpoint is of another model or damaged.
    """
    average = checkpoint / "average.safetensors"
    try:
        state = _read_table(checkpoint / "state.json")
        if not isinstance(state.get("step"), int):
            raise ValueError(f"{checkpoint / 'state.json'} is damaged (it names no step)")
        modules = read_tensors(checkpoint / "modules.safetensors")
        tensors = read_tensors(checkpoint / "optimizer.safetensors")
        shadow = read_tensors(average) if average.is_file() else {}
    except ValueError as error:
        raise ValueError(
            f"{error}; or delete {checkpoint}: --resume then takes the one before it, if any"
        ) from None
    load_into(module, modules, str(checkpoint))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return state, shadow


def save_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Note what a stage is trained with, unless it has checkpoints already."""
    if checkpoints(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{os.getpid()}-{_SETTINGS}"
    try:
        partial.write_text(json.dumps(settings, indent=1))
        os.replace(partial, folder / _SETTINGS)
    finally:
        partial.unlink(missing_ok=True)


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse to go on with a stage, or to hand on its weights, under other settings than its own.

    A stage that was begun before settings were noted is not refused, nor for settings that one of
    the two does not know.

    Raises:
        ValueError: If settings differ, naming them, or the note is damaged.
    """
    noted = folder / _SETTINGS
    begun = checkpoints(folder) or (folder / _WEIGHTS).is_file()
    if not begun or not noted.is_file():
        return
    old = _read_table(noted)
    new = json.loads(json.dumps(settings))  # as they are read: lists for tuples
    changed = [name for name in new if name in old and new[name] != old[name]]
    if changed:
        was, now = (", ".join(f"{k} = {of[k]}" for k in changed) for of in (old, new))
        raise ValueError(
            f"{folder} was trained with {was}, but the configuration says now {now}; "
            f"put the settings back, or delete {folder} to train it anew"
        )


def _read_table(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one table."""
    try:
        table = json.loads(path.read_text())
        if not isinstance(table, dict):
            raise ValueError("it holds no table")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); copy it again") from None
    return table


def load_into(module: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Load tensors into a module, naming the first keys or shapes that do not fit.

    Raises:
        ValueError: If names or shapes differ.
    """
    own = module.state_dict()
    wrong = [f"{k} is missing" for k in own if k not in tensors]
    wrong += [f"{k} is not of this model" for k in tensors if k not in own]
    wrong += [
        f"{k} is {tuple(v.shape)} instead of {tuple(own[k].shape)}"
        for k, v in tensors.items()
        if k in own and own[k].shape != v.shape
    ]
    if wrong:
        raise ValueError(f"{origin} does not fit the model: {'; '.join(wrong[:3])}")
    module.load_state_dict(tensors)


def save_weights(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write a stage's final weights, their configuration in the metadata."""
    write_tensors(path, tensors, {"training_config": json.dumps(config)})


def load_start(run: Path, start: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read the weights that a stage builds on.

    Args:
        run: Folder of the run.
        start: Name of an earlier stage of the run, or the path of a finished model
            (``.safetensors``), which training then continues.

    Returns:
        What ``load_weights`` returns; a model's half-precision weights as float32.

    Raises:
        ValueError: If the stage was not trained, or the model cannot be read.
    """
    if not start.endswith(".safetensors"):
        return load_weights(run / start / _WEIGHTS)
    path = Path(start)
    config = read_config(path)
    names = [name for name in config if name not in ("defaults", "card")]
    parts = load_parts(path, names)
    return {
        name: {k: v.float() if v.is_floating_point() else v for k, v in part.items()}
        for name, part in parts.items()
    }, {name: config[name] for name in names}


def load_begun(
    run: Path, start: str, part: str, system: str, advice: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the one network of ``start`` that training goes on with.

    Args:
        run: Folder of the run.
        start: As ``load_start`` takes it.
        part: Name of the network's tensors there.
        system: What users call the network.
        advice: What else can be done, for the error.

    Returns:
        (its tensors, its configuration).

    Raises:
        ValueError: If ``start`` cannot be read or holds no such network.
    """
    parts, made = load_start(run, start)
    if part not in parts:
        raise ValueError(
            f"start = {start!r} holds no {system} but {', '.join(parts)}; to begin {advice}"
        )
    return parts[part], made[part]


def load_weights(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read a stage's final weights.

    Returns:
        (tensors by module name and key, configurations by module name).

    Raises:
        ValueError: If the stage was not trained or the file is damaged.
    """
    if not path.is_file():
        raise ValueError(
            f"there are no weights at {path}; train stage {path.parent.name!r} of this run first"
        )
    tensors = read_tensors(path)
    try:
        config = json.loads(read_header(path).metadata.get("training_config", "{}"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} has a damaged training_config ({error})") from None
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        module, name = key.split(".", 1)
        parts.setdefault(module, {})[name] = value
    return parts, config
