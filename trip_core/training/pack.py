"""One checkpoint out of the weights of several stages."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import read_config, save_checkpoint
from ..pipeline import SamplingDefaults
from ..tables import from_table
from .config import PackConfig, StageConfig
from .weights import load_start


def check_files(stages: list[StageConfig], packs: tuple[PackConfig, ...], run: Path) -> None:
    """Look for the models' files that stages and packs name.

    Args:
        stages: Stages that are still to be trained.
        packs: What is packed after them.
        run: Folder of the run.

    Raises:
        ValueError: If a file is missing or no checkpoint; a pack may name an earlier one's file.
    """
    options = [value for stage in stages for value in stage.options.values()]
    named = [Path(v) for v in options if isinstance(v, str) and v.endswith(".safetensors")]
    made: set[Path] = set()
    for each in packs:
        files = {Path(stage) for stage in each.stages if stage.endswith(".safetensors")}
        named += sorted(files - made)
        made.add(run / each.path)
    for file in named:
        read_config(file)


def pack(config: PackConfig, run: Path) -> Path:
    """Write one checkpoint that holds the modules of several stages.

    Args:
        config: Which stages, where to, stored how.
        run: Folder of the run; stage s lies in ``run / s``.

    Returns:
        The checkpoint's path.

    Raises:
        ValueError: If a stage has no weights yet.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    configs: dict[str, Any] = {}
    for stage in config.stages:
        tensors, made = load_start(run, stage)
        parts |= tensors
        configs |= made
    if not configs.get("trip", {}).get("motion", True):
        # The stage that reads the words brings a motion network; the paper's TRIP does not use it.
        parts.pop("motion", None)
        configs.pop("motion", None)
    for name in config.parts:
        if name not in parts:
            raise ValueError(
                f"[pack] {config.path} wants the part {name!r}, but its stages hold "
                f"{', '.join(parts)}"
            )
    kept = config.parts or tuple(parts)
    parts = {name: part for name, part in parts.items() if name in kept}
    configs = {name: made for name, made in configs.items() if name in kept}
    dtype = getattr(torch, config.dtype)
    if config.defaults:
        configs["defaults"] = asdict(from_table(SamplingDefaults, config.defaults, "defaults"))
    small = {
        name: {k: v.to(dtype) if v.is_floating_point() else v for k, v in part.items()}
        for name, part in parts.items()
    }
    target = run / config.path
    target.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(target, configs, small)
    return target
