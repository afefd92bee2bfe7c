"""TRIP: one still becomes a short, faithful, coherent clip.

The method (image noise prior, temporal residual learning, temporal noise fusion), its network, its
sampling, its training and its metrics; runs without ComfyUI.
"""

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
