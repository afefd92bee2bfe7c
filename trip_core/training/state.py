"""Resumable training checkpoints, and the settings they belong to: safetensors and JSON alone.

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

from ..checkpoint import fill_module
from ..tensor_files import read_tensors, write_tensors
from .weights import WEIGHTS

_PREFIX = "checkpoint-"
_PARTIAL = ".partial-"
_SETTINGS = "settings.json"


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
    fill_module(module, modules, str(checkpoint))
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
    begun = checkpoints(folder) or (folder / WEIGHTS).is_file()
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
