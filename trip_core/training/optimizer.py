"""Rates, parameter groups and precision of a stage."""

import math
from typing import Any

import torch
from torch import nn

from .config import StageConfig


def learning_rate_share(step: int, stage: StageConfig) -> float:
    """Return the share of the peak learning rate at a step: linear warm-up, then decay."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    progress = (step - stage.warmup) / max(stage.steps - stage.warmup, 1)
    left = {
        "constant": 1.0,
        "linear": 1 - progress,
        "cosine": 0.5 + 0.5 * math.cos(math.pi * progress),
    }[stage.decay]
    return stage.final_rate + (1 - stage.final_rate) * left


def make_optimizer(module: nn.Module, stage: StageConfig) -> torch.optim.AdamW:
    """Return AdamW over the module's learning parameters, grouped by rate and weight decay.

    Every group remembers its peak rate as ``initial_lr``.

    Raises:
        ValueError: If one of the stage's ``learning_rates`` is of no parameter.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    used: set[str] = set()
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        prefixes = [p for p in stage.learning_rates if name.startswith(p)]
        used.update(prefixes)
        prefix = max(prefixes, key=len, default=None)
        rate = stage.learning_rate if prefix is None else stage.learning_rates[prefix]
        # Biases and the scales of norms are not pulled to zero.
        decay = stage.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    idle = sorted(set(stage.learning_rates) - used)
    if idle:
        raise ValueError(f"stage {stage.name!r}: no parameter's name starts with {idle[0]!r}")
    return torch.optim.AdamW(
        [
            {"params": params, "lr": rate, "initial_lr": rate, "weight_decay": decay}
            for (rate, decay), params in groups.items()
        ],
        betas=stage.betas,
    )


def make_accelerator(stage: StageConfig, device: str) -> Any:
    """Return accelerate's ``Accelerator`` for a stage.

    Args:
        stage: Its precision and accumulation.
        device: "cpu", "cuda" or "auto".

    Raises:
        ValueError: If the device is unknown or absent.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda; got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but this torch sees no CUDA device; use cpu")
    # accelerate keeps one precision per process; the stages of a run may differ.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return Accelerator(
        mixed_precision=stage.precision,
        gradient_accumulation_steps=stage.accumulation,
        cpu=device == "cpu",
    )
