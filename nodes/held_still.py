"""What Image Noise Prior binds to the conditioning, and how it reaches the network."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..trip_core.anchor import Anchor, Watch
from ..trip_core.nn.unet3d import TextKeysValues
from ..trip_core.pipeline import Model
from ..trip_core.prior import PriorWeights, keep
from ..trip_core.sizes import check_still_size
from .kept_text import KeptText
from .wishes import Wishes

#: Key in conditioning and LATENT dicts.
KEY = "trip"


@dataclass(frozen=True, eq=False)
class HeldStill:
    """The still of a clip, as the sampler needs it. Latents are the host's, unscaled.

    Attributes:
        still: ``[1, C, h, w]``.
        num_frames: F.
        prior: Weights of the prior over frames and time.
        warped: The still moved into every frame, ``[F, C, h, w]``; with motion alone.
        visibility: Where to trust it, ``[1, 1, F, h, w]``; with motion alone.
        kept: Where the prior counts fully, ``[1, 1, h, w]`` in 0..1.
    """

    still: Tensor
    num_frames: int
    prior: PriorWeights
    warped: Tensor | None = None
    visibility: Tensor | None = None
    kept: Tensor | None = None


@dataclass(frozen=True, eq=False)
class MovedStill:
    """What a LATENT brings for its decoding.

    Attributes:
        anchor: The still in motion.
        still: Its latent, ``[C, h, w]``: what the first frame of the clip is held to.
    """

    anchor: Anchor
    still: Tensor

    def check(self, samples: Tensor) -> None:
        """Check that latents ``[F, C, h, w]`` still lie where the anchor moves the still.

        Raises:
            ValueError: If they were cut, scaled, flipped or turned since Image Noise Prior.
        """
        expected, have = list(self.still.shape), list(samples.shape[1:])
        if have != expected:
            raise ValueError(
                f"this LATENT's frames are {have} (channels, height, width) but Image Noise Prior "
                f"made {expected}; cut or scale the frames after TRIP Decode, or use VAE Decode"
            )
        if len(samples) != self.anchor.num_frames:
            raise ValueError(
                f"this LATENT holds {len(samples)} frames but its motion is of "
                f"{self.anchor.num_frames}; decode it whole and cut the frames, or use VAE Decode"
            )
        if _is_turned(samples[0], self.still):
            raise ValueError(
                "this LATENT was flipped or turned, which the still's own pixels cannot follow; "
                "do that to the frames after TRIP Decode, or use VAE Decode"
            )


def _is_turned(first: Tensor, still: Tensor) -> bool:
    """Return whether a first frame is the still's mirror image, or that it is turned.

    Ten times nearer to it than to the still, which no sampling gives and no symmetrical still.
    """
    still = still.to(first)
    turned = [x.rot90(k, (-2, -1)) for x in (still, still.flip(-1)) for k in range(4)]
    distances = [float((first - x).square().mean()) for x in turned if x.shape == still.shape]
    return min(distances[1:]) < distances[0] / 100


@dataclass(frozen=True, eq=False)
class BoundStill:
    """The same for the network: scaled, on its device, axes ``[1, C, F, h, w]``.

    One is made for every sampling, and ``text`` with it.
    """

    source: HeldStill
    still: Tensor
    warped: Tensor | None
    visibility: Tensor | None
    kept: Tensor | None
    text: KeptText[TextKeysValues] = field(default_factory=KeptText)

    def arguments(self, branches: int, frames: list[int]) -> dict[str, object]:
        """Return what the network's forward takes, for a window of the clip's frames."""
        whole = frames == list(range(self.source.num_frames))

        def part(video: Tensor | None) -> Tensor | None:
            if video is None:
                return None
            window = video if whole else video[:, :, frames]
            return window.expand(branches, -1, -1, -1, -1)

        return {
            "still": self.still.expand(branches, -1, -1, -1),
            "warped": part(self.warped),
            "visibility": part(self.visibility),
            "prior": WindowedPrior(self.source.prior, self.source.num_frames, frames, self.kept),
        }


@dataclass(frozen=True, eq=False)
class WindowedPrior:
    """Prior weights of a window of frames of a longer clip, with places where they are 1."""

    weights: PriorWeights
    num_frames: int
    frames: list[int]
    kept: Tensor | None

    def __call__(self, num_frames: int, alpha_bar: Tensor) -> Tensor:
        """Return lambda(i, t), ``[B, 1, F, 1, 1]``, or ``[B, 1, F, h, w]`` with kept places."""
        del num_frames  # the window's; lambda follows the whole clip
        weight = self.weights(self.num_frames, alpha_bar)[:, :, self.frames]
        return weight if self.kept is None else keep(weight, self.kept)


def hold(conditioning: list, held: object) -> list:
    """Return conditioning with the still bound to every entry."""
    return [[tokens, {**values, KEY: held}] for tokens, values in conditioning]


def repeat_frames(still: Tensor, num_frames: int) -> Tensor:
    """Return ``[1, C, h, w]`` as a batch of frames, ``[F, C, h, w]``."""
    return torch.cat([still] * num_frames)


def prior_weights(core: Model, wishes: Wishes) -> PriorWeights:
    """Return the model's prior weights, changed to taste."""
    return core.trip.config.prior.scaled(
        wishes.prior_strength, wishes.decay_over_time, wishes.decay_over_frames
    )


def hold_still(
    core: Model,
    small: Tensor,
    anchor: Anchor | None,
    length: int,
    prior: PriorWeights,
    kept: Tensor | None,
    watch: Watch = iter,
) -> tuple[HeldStill, Tensor]:
    """Return what the sampler is held to, and the latents that it starts from.

    Args:
        core: The model; its autoencoder encodes.
        small: The still at the model's size, ``[1, 3, h, w]`` in 0..1.
        anchor: Its motion; None for a model without.
        length: Frames of the clip.
        prior: Weights.
        kept: Places that stay, ``[1, 1, H, W]``; an anchor brings its own.
        watch: Passes the moved frames through as they are encoded.
    """
    check_still_size(small.shape[-2], small.shape[-1])
    if anchor is None:
        still = core.vae.encode(small * 2 - 1)
        size = (still.shape[-2], still.shape[-1])
        places = None if kept is None else F.interpolate(kept.float(), size, mode="area")
        return HeldStill(still, length, prior, kept=places), repeat_frames(still, length)
    warped, visibility = anchor.latents(core.vae.encode, small[0], watch)
    places = anchor.kept_at((warped.shape[-2], warped.shape[-1]))
    return HeldStill(warped[:1], length, prior, warped, visibility, places), warped.clone()
