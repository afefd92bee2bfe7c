"""What of ComfyUI the nodes use: progress, cancel, metadata, its own lists.

Nothing of the host is imported before a function needs it, so the nodes import anywhere and can be
tested without a host. Beside this file only the ``host_*`` modules, ``after_guidance`` and VIDEO's
touch it.
"""

import importlib.util
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")

#: Samplers and schedulers shown where no host is there to ask.
_SAMPLERS = ("ddim", "euler", "euler_ancestral", "dpmpp_2m", "uni_pc")
_SCHEDULERS = ("ddim_uniform", "simple", "normal", "karras")


def is_present() -> bool:
    """Return whether this process runs inside ComfyUI."""
    return all(importlib.util.find_spec(name) for name in ("comfy", "folder_paths"))


# Metadata


def workflow_texts(
    prompt: Any, extra_pnginfo: dict[str, Any] | None, wanted: bool
) -> dict[str, str]:
    """Return the texts to store in a file so that dropping it brings the graph back.

    Empty where the artist or the host (``--disable-metadata``) does not want them.
    """
    if not wanted:
        return {}
    from comfy.cli_args import args

    if args.disable_metadata:
        return {}
    values = {**(extra_pnginfo or {}), **({} if prompt is None else {"prompt": prompt})}
    return {name: json.dumps(finite(value), allow_nan=False) for name, value in values.items()}


def finite(value: Any) -> Any:
    """Return JSON values with NaN and infinities (which no JSON parser reads) as null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Progress and cancel


class Progress:
    """Steps of a node's work; each one also lets the host cancel it."""

    def __init__(self, total: int) -> None:
        """Start a bar of ``total`` steps."""
        import comfy.utils

        self._bar = comfy.utils.ProgressBar(total)

    def step(self, count: int = 1) -> None:
        """Count steps; raises the host's interruption if Cancel was pressed."""
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()
        self._bar.update(count)

    def through(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass items through, a step each."""
        for item in items:
            self.step()
            yield item

    def show(self, done: int, total: int, picture: Any = None) -> None:
        """Set the bar and, given a Pillow picture, show it on the node."""
        from comfy.cli_args import args

        preview = None if picture is None else ("JPEG", picture, args.preview_size)
        self._bar.update_absolute(done, total, preview)


# Models


def signal_power(model: Any, sigma: Tensor) -> Tensor:
    """Return alpha_bar at a sigma of any of the host's models, of the sigma's shape.

    Rectified flow mixes ``(1 - sigma) x0 + sigma noise``, all others ``x0 + sigma noise``; what
    counts is the share of the signal's power.
    """
    import comfy.model_sampling

    sigma = sigma.float()
    if isinstance(model.model_sampling, comfy.model_sampling.CONST):
        signal = (1 - sigma).clamp(min=0).square()
        return signal / (signal + sigma.square())
    return 1 / (1 + sigma.square())


def compute_device() -> torch.device:
    """Return the device that the host computes on."""
    import comfy.model_management

    return comfy.model_management.get_torch_device()


# The host's own lists


def sampler_names() -> list[str]:
    """Return the host's samplers."""
    if not is_present():
        return list(_SAMPLERS)
    import comfy.samplers

    return list(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> list[str]:
    """Return the host's schedulers."""
    if not is_present():
        return list(_SCHEDULERS)
    import comfy.samplers

    return list(comfy.samplers.KSampler.SCHEDULERS)
