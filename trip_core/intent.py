"""What is done of what the words asked for: tremor is not, and what a model holds back is not."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .nn.motion_field import GENTLE, MOTION_PARAMETERS, StillMotion


def settle(motion: StillMotion) -> StillMotion:
    """Return the motion without its tremor; unsure regions decide: no sky drifts at half speed."""
    sharper = motion.regions**2
    return StillMotion(
        without_tremor(motion.parameters), sharper / sharper.sum(1, keepdim=True), motion.depth
    )


def without_tremor(parameters: Tensor) -> Tensor:
    """Return motion parameters ``[B, P]`` in which what was hardly asked for is not done at all.

    A regression never says exactly zero; under 4 % of an ordinary move (well below a pixel a
    second) nothing was meant.
    """
    usual = parameters.new_tensor(list(MOTION_PARAMETERS.values()))
    return parameters * (parameters.abs() > 0.04 * usual)


def offered_motion(parameters: Tensor, understood: Sequence[str]) -> Tensor:
    """Hold back what a model does not offer; a row with nothing else becomes the gentle motion.

    Args:
        parameters: ``[B, P]`` in the order and units of ``MOTION_PARAMETERS``, without tremor.
        understood: Names of the motion parameters that are offered.
    """
    allowed = parameters.new_tensor([name in understood for name in MOTION_PARAMETERS])
    gentle = [GENTLE.get(name, 0.0) * usual for name, usual in MOTION_PARAMETERS.items()]
    offered = parameters * allowed
    only_held_back = parameters.any(1, keepdim=True) & ~offered.any(1, keepdim=True)
    return torch.where(only_held_back, parameters.new_tensor(gentle) * allowed, offered)
