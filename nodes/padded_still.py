"""A still between borders: the picture moves inside of them, and they stand."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..trip_core.anchor import Anchor
from ..trip_core.compose import Edges
from ..trip_core.nn.motion_field import StillMotion
from .still_fit import inner_box
from .wishes import Wishes


def build_anchor(still: Tensor, motion: StillMotion, wishes: Wishes, kept: Tensor | None) -> Anchor:
    """Return a fitted still in motion.

    Args:
        still: ``[3, H, W]`` in 0..1.
        motion: Its motion.
        wishes: The node's inputs.
        kept: Places that stay, ``[1, 1, H, W]``; None = nowhere.
    """
    if wishes.fit != "pad":
        return Anchor(still, motion, wishes.length, kept, overscan=wishes.fit == "overscan")
    height, width = still.shape[-2:]
    rows, columns = inner_box((wishes.image.shape[1], wishes.image.shape[2]), (height, width))
    box = (rows[0] / height, rows[1] / height, columns[0] / width, columns[1] / width)
    return PaddedAnchor(still, motion, wishes.length, kept, box=box)


@dataclass(frozen=True, eq=False)
class PaddedAnchor(Anchor):
    """An anchor whose still lies between borders.

    Attributes:
        box: Where the picture begins and ends, down and across, as shares of the still.
    """

    box: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)

    def to(self, device: torch.device | str) -> "PaddedAnchor":
        """Return the same anchor on a device."""
        moved = super().to(device)
        return PaddedAnchor(moved.still, moved.motion, moved.num_frames, moved.kept, box=self.box)

    def frames(
        self,
        still: Tensor | None = None,
        edges: Edges = "mirror",
        generated: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """See ``Anchor.frames``; what moves in at the borders is the picture, mirrored."""
        still = self.still if still is None else still
        rows, columns = (
            _pixels(self.box[2 * axis : 2 * axis + 2], side)
            for axis, side in enumerate(still.shape[-2:])
        )
        mirrored = _mirrored(_mirrored(still, rows, 1), columns, 2)

        def bordered(frame: Tensor) -> Tensor:
            out = still.clone()
            inside = (..., slice(*rows), slice(*columns))
            out[inside] = frame[inside]
            return out

        return map(bordered, super().frames(mirrored, edges, generated))


def _pixels(share: tuple[float, ...], side: int) -> tuple[int, int]:
    """Return the first pixel that is all picture, and the end of the last one."""
    first = math.ceil(share[0] * side - 1e-4)
    return first, max(math.floor(share[1] * side + 1e-4), first + 1)


def _mirrored(still: Tensor, inside: tuple[int, int], axis: int) -> Tensor:
    """Return ``[3, H, W]`` with its borders along an axis mirroring what is inside of them."""
    count = inside[1] - inside[0]
    place = (torch.arange(still.shape[axis], device=still.device) - inside[0]) % (2 * count)
    return still.index_select(axis, torch.minimum(place, 2 * count - 1 - place) + inside[0])
