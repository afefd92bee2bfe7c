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
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..checkpoint import load_parts, read_config

_PREFIX = "checkpoint-"


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
    """
    target = folder / f"{_PREFIX}{step:08d}"
    partial = folder / f".partial-{step:08d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(_contiguous(module.state_dict()), partial / "modules.safetensors")
    if average:
        save_file(_contiguous(average), partial / "average.safetensors")
    moments = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value
        for index, values in moments["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    save_file(_contiguous(tensors), partial / "optimizer.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step} | extra, indent=1))
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
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
        ValueError: If the checkpoint is of another model.
    """
    state = json.loads((checkpoint / "state.json").read_text())
    load_into(module, load_file(checkpoint / "modules.safetensors"), str(checkpoint))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(checkpoint / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    average = checkpoint / "average.safetensors"
    return state, load_file(average) if average.is_file() else {}


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
    partial = path.with_name(f".partial-{path.name}")
    save_file(_contiguous(tensors), partial, {"training_config": json.dumps(config)})
    os.replace(partial, path)


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
        return load_weights(run / start / "weights.safetensors")
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
    try:
        with safe_open(path, "pt") as file:
            config = json.loads((file.metadata() or {}).get("training_config", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        module, name = key.split(".", 1)
        parts.setdefault(module, {})[name] = value
    return parts, config


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that safetensors can write: on the CPU, contiguous, sharing no memory."""
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
