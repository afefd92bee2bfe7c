"""A stage's final weights, in safetensors: written at its end, read by the stages after it."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint import load_parts, read_config
from ..tensor_files import read_header, read_tensors, write_tensors

#: A stage's weights, in its folder.
WEIGHTS = "weights.safetensors"


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
        return load_weights(run / start / WEIGHTS)
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
