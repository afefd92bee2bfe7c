"""Averaged weights: what a training stage hands on.

An exponential moving average over the steps (Polyak averaging) with a warm-up, so that the random
start is forgotten early: the decay at step n is ``min(decay, (1 + n) / (10 + n))``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Moving average of a module's parameters; its buffers are copied.

    Attributes:
        decay: Decay after the warm-up, 0 (no averaging) to 1 (excluded).
        shadow: Averaged values by name, float32, on the parameters' device.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start the average at the module's present values."""
        self.decay = decay
        self._source = module
        self.shadow = {
            name: value.detach().to(torch.float32 if value.is_floating_point() else value.dtype)
            for name, value in module.state_dict().items()
        }
        self.shadow = {name: value.clone() for name, value in self.shadow.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the module's values after optimizer step ``step`` (counted from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        values = self._source.state_dict()
        averaged = [n for n, v in self.shadow.items() if v.is_floating_point()]
        torch._foreach_lerp_(
            [self.shadow[n] for n in averaged], [values[n].float() for n in averaged], 1 - decay
        )
        for name, value in self.shadow.items():
            if not value.is_floating_point():
                value.copy_(values[name])

    def load(self, values: dict[str, Tensor]) -> None:
        """Continue from a saved average."""
        for name, value in self.shadow.items():
            value.copy_(values[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the module its averaged values inside the ``with`` block, its own afterwards."""
        own = {name: value.clone() for name, value in self._source.state_dict().items()}
        self._source.load_state_dict(self.shadow)
        try:
            yield
        finally:
            self._source.load_state_dict(own)
