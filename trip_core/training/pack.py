"""One checkpoint out of the weights of several stages."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import save_checkpoint
from ..pipeline import SamplingDefaults
from ..tables import from_table
from .config import PackConfig
from .state import load_start


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
        # Read once here, so that a wrong key is found now and not when the model is used.
        configs["defaults"] = asdict(from_table(SamplingDefaults, config.defaults, "defaults"))
    small = {
        name: {k: v.to(dtype) if v.is_floating_point() else v for k, v in part.items()}
        for name, part in parts.items()
    }
    target = run / config.path
    target.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(target, configs, small)
    return target
