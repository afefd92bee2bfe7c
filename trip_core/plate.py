"""A picture that is read between its pixels, and stays sharp there.

A bicubic kernel alone takes up to a quarter of the finest detail away half between two pixels and
nothing on them, so a moving picture would go soft and sharp again. Here samples are laid between
the pixels once, by a longer kernel, and the bicubic reads among those.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: Most pixels that get samples between them: of larger pictures nobody sees the finest detail, and
#: four times their memory is much.
_FINE_PIXELS = 2**22
#: Pixels on each side of the samples between them (Lanczos's window).
_REACH = 4


def _half_way() -> list[float]:
    """Return Lanczos's kernel half between two pixels, from the nearest outwards; sum 1/2."""
    away = [k + 0.5 for k in range(_REACH)]
    kernel = [math.sin(math.pi * x) * math.sin(math.pi * x / _REACH) / x**2 for x in away]
    return [value / (2 * sum(kernel)) for value in kernel]


_HALF_WAY = _half_way()


class Plate:
    """A picture to be read at any place."""

    def __init__(self, picture: Tensor) -> None:
        """Lay samples between the pixels of ``[1, C, H, W]``, float32."""
        self._size = picture.shape[-2:]
        self._fine = self._size.numel() <= _FINE_PIXELS and min(self._size) >= _REACH
        if self._fine:
            picture = _doubled(_doubled(picture, dim=-1), dim=-2)
        self._samples = picture

    def read(self, position: Tensor) -> Tensor:
        """Read at places in short sides from the centre, ``[1, 2, h, w]``; edges are mirrored."""
        height, width = self._size
        scale = 2 * min(height, width) / position.new_tensor([width, height]).view(1, 2, 1, 1)
        grid = (position * scale).permute(0, 2, 3, 1)
        # The finer samples begin and end on the picture's outer edges, pixels half a pixel inside.
        return F.grid_sample(self._samples, grid, "bicubic", "reflection", align_corners=self._fine)


def _doubled(picture: Tensor, dim: int) -> Tensor:
    """Return the pixels along one axis with a sample before, between and behind: 2 N + 1."""
    length = picture.shape[dim]
    start, end = (picture.narrow(dim, k, _REACH).flip(dim) for k in (0, length - _REACH))
    mirrored = torch.cat((start, picture, end), dim)
    between = torch.zeros_like(mirrored.narrow(dim, 0, length + 1))
    for k, weight in enumerate(_HALF_WAY):
        for first in (_REACH - 1 - k, _REACH + k):
            between.add_(mirrored.narrow(dim, first, length + 1), alpha=weight)
    pairs = torch.stack((between.narrow(dim, 0, length), picture), dim).flatten(dim - 1, dim)
    return torch.cat((pairs, between.narrow(dim, length, 1)), dim)
