"""What every frame of a clip is held to: the still, moved, with the places an artist keeps."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .compose import Edges, compose, middle, overscan_view
from .nn.motion_field import StillMotion, frame_flow

#: Frames that are encoded at a time: all of them fall out of a CPU's caches, layer by layer.
_AT_ONCE = 2
#: Passes frames through, to count them; what it raises ends the work on them.
Watch = Callable[[Iterator[Tensor]], Iterator[Tensor]]


@dataclass(frozen=True, eq=False)
class Anchor:
    """A still in motion, at any resolution.

    Attributes:
        still: The picture at its own resolution, ``[3, H, W]`` in 0..1.
        motion: How it moves (batch of one).
        num_frames: Length of the clip.
        kept: Where the first frame stays for good, ``[1, 1, h, w]`` in 0..1; None = nowhere.
        overscan: Show so much less of the picture that the camera never leaves it.
    """

    still: Tensor
    motion: StillMotion
    num_frames: int
    kept: Tensor | None = None
    overscan: bool = False

    def to(self, device: torch.device | str) -> "Anchor":
        """Return the same anchor on a device."""
        motion = StillMotion(
            self.motion.parameters.to(device),
            self.motion.regions.to(device),
            self.motion.depth.to(device),
        )
        kept = None if self.kept is None else self.kept.to(device)
        return Anchor(self.still.to(device), motion, self.num_frames, kept, self.overscan)

    @property
    def view(self) -> float:
        """The share of the picture that is shown, 0.5..1."""
        return overscan_view(self.motion, self.num_frames) if self.overscan else 1.0

    def frames(
        self,
        still: Tensor | None = None,
        edges: Edges = "mirror",
        generated: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Return the frames of the moved still, ``[3, H, W]`` in 0..1, made while they are read.

        The first is the still.

        Args:
            still: The picture at another size, ``[3, h, w]``; None = at its own.
            edges: What fills places that come into view; see ``compose.compose``.
            generated: Generated frames, ``[F, 3, h, w]`` in 0..1; see ``compose.needs_generated``.
        """
        still = self.still if still is None else still
        edges = "overscan" if self.overscan else edges
        kept = self.kept_at((still.shape[-2], still.shape[-1]))
        frames = compose(still, self.motion, self.num_frames, edges, generated)
        return frames if kept is None else _kept_as_first(frames, kept[0])

    def latents(
        self,
        encode: Callable[[Tensor], Tensor],
        still: Tensor | None = None,
        watch: Watch = iter,
    ) -> tuple[Tensor, Tensor]:
        """Return the moved still as latents ``[F, C, h, w]``, and where to trust them.

        Args:
            encode: Pixels -1..1, ``[F, 3, H, W]``, to latents.
            still: See ``frames``.
            watch: Passes the frames through as they are made and encoded.
        """
        frames = watch(self.frames(still))
        parts = iter(lambda: list(itertools.islice(frames, _AT_ONCE)), [])
        latents = torch.cat([encode(torch.stack(part) * 2 - 1) for part in parts])
        return latents, self.visibility((latents.shape[-2], latents.shape[-1]))

    def visibility(self, size: tuple[int, int]) -> Tensor:
        """Return where the frames can be trusted, ``[1, 1, F, h, w]`` in 0..1, at any size."""
        flows = (
            frame_flow(self.motion, self.num_frames, k, self.view) for k in range(self.num_frames)
        )
        visible = torch.cat([visible for _, visible in flows])  # [F, 1, H, W]
        visible = F.interpolate(visible, size, mode="area")
        kept = self.kept_at(size)
        if kept is not None:
            visible = torch.maximum(visible, kept)
        return visible.movedim(0, 1)[None]

    def kept_at(self, size: tuple[int, int]) -> Tensor | None:
        """Return where the first frame stays in what is shown, ``[1, 1, h, w]``, at any size."""
        if self.kept is None:
            return None
        part = middle(self.kept, self.view).float()
        if part.shape[-2] * part.shape[-1] > size[0] * size[1]:
            return F.interpolate(part, size, mode="area")
        return F.interpolate(part, size, mode="bilinear", align_corners=False)


def _kept_as_first(frames: Iterator[Tensor], kept: Tensor) -> Iterator[Tensor]:
    first: Tensor | None = None
    for frame in frames:
        first = frame if first is None else first
        yield torch.lerp(frame, first, kept)
