"""TRIP: one still becomes a short, faithful, coherent clip.

The method (image noise prior, temporal residual learning, temporal noise fusion), its network, its
sampling, its training and its metrics; runs without ComfyUI.
"""

import importlib

TYPE_CHECKING = False  # typing takes long to import, and a Ctrl-C during it is a traceback
if TYPE_CHECKING:
    from typing import Any

    from .prior import PriorWeights, blend_towards_still, image_noise_prior, prior_weight
    from .schedule import NoiseSchedule, noise_schedule

__version__ = "0.1.0"

__all__ = [
    "NoiseSchedule",
    "PriorWeights",
    "__version__",
    "blend_towards_still",
    "image_noise_prior",
    "noise_schedule",
    "prior_weight",
]


def __getattr__(name: str) -> "Any":
    """Import what is asked for: torch takes seconds, which ``--help`` need not wait for."""
    if name in __all__:
        module = "schedule" if name in ("NoiseSchedule", "noise_schedule") else "prior"
        return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
