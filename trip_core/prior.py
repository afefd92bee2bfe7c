"""Image noise prior: the noise that carries the still into every frame.

TRIP (Zhang et al., CVPR 2024, arXiv:2403.17005), shortcut path, and its linear fusion. The
**motion-compensated** prior is this project's extension: it is taken with respect to ``w^i``, the
still warped into frame i, instead of the still itself. A flow of zero gives ``w^i = z_0^1`` and so
TRIP exactly. Everything is computed in float32 at least.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: Frames F and signal powers ``[B]`` to lambda(i, t), ``[B, 1, F, 1 or h, 1 or w]``.
Lambda = Callable[[int, Tensor], Tensor]


def image_noise_prior(z_t: Tensor, still: Tensor, alpha_bar: Tensor) -> Tensor:
    r"""Return the noise that would denoise every frame to the still in one step.

    .. math:: \epsilon^{i \to 1}_t = (z^i_t - \sqrt{\bar\alpha_t}\, z^1_0) / \sqrt{1 - \bar\alpha_t}

    It equals the true noise plus :math:`\sqrt{\bar\alpha_t / (1 - \bar\alpha_t)}\,(z^i_0 - z^1_0)`:
    exact where a frame is the still, unit variance at large t, large at small t where it is not.

    Args:
        z_t: Noisy video latents, ``[B, C, F, H, W]``, scaled latent units.
        still: Clean latent of the still, ``[B, C, H, W]``, or the still warped into every frame,
            ``[B, C, F, H, W]``; same units.
        alpha_bar: Signal power at t, ``[B]``, below 1.

    Returns:
        The prior for every frame, ``[B, C, F, H, W]``, float32 or wider.

    Raises:
        ValueError: If ``still`` fits neither one frame of ``z_t`` nor all of them.
    """
    scaled = scaled_image_noise_prior(z_t, still, alpha_bar)
    return scaled * torch.rsqrt(1 - alpha_bar.to(scaled.dtype)).view(-1, 1, 1, 1, 1)


def scaled_image_noise_prior(z_t: Tensor, still: Tensor, alpha_bar: Tensor) -> Tensor:
    r"""Return the image noise prior times sqrt(1 - alpha_bar): bounded at every t, by no division.

    .. math:: \sqrt{1 - \bar\alpha_t}\, \epsilon^{i \to 1}_t = z^i_t - \sqrt{\bar\alpha_t}\, z^1_0

    Arguments, result and errors as :func:`image_noise_prior`'s.
    """
    dtype = torch.promote_types(z_t.dtype, torch.float32)
    alpha = alpha_bar.to(dtype).sqrt().view(-1, 1, 1, 1, 1)
    return torch.addcmul(z_t.to(dtype), alpha, per_frame(still, z_t).to(dtype), value=-1)


def blend_towards_still(x0: Tensor, still: Tensor, weight: Tensor) -> Tensor:
    r"""Return linear fusion (TRIP^W) in x0 space: a blend of denoised frames and still.

    .. math:: \tilde x^i_0 = \lambda^i z^1_0 + (1 - \lambda^i)\, x^i_0

    It is the same as blending the noises, :math:`\lambda\,\epsilon^{i \to 1} + (1-\lambda)\,
    \epsilon`, at every t, but divides by nothing. So the prior also works, untrained, on any video
    model that predicts clean latents by whatever route. A weight of 1 gives the still exactly.

    Args:
        x0: Denoised latents, ``[B, C, F, H, W]``, scaled latent units.
        still: ``[B, C, H, W]``, or warped into every frame, ``[B, C, F, H, W]``.
        weight: Lambda in 0..1, broadcastable to ``x0``; usually :func:`prior_weight`'s.

    Returns:
        ``[B, C, F, H, W]``, float32 or wider.
    """
    dtype = torch.promote_types(x0.dtype, torch.float32)
    # lerp is exact at both ends.
    return torch.lerp(x0.to(dtype), per_frame(still, x0).to(dtype), weight.to(dtype))


def prior_weight(
    num_frames: int,
    alpha_bar: Tensor,
    first: float = 1.0,
    last: float = 0.0,
    time_decay: float = 1.0,
) -> Tensor:
    r"""Return lambda(i, t): how far frame i trusts the still at timestep t.

    Linear in the frame, from ``first`` to ``last``; its odds then fall with the noise:

    .. math:: \frac{\lambda(i, t)}{1 - \lambda(i, t)}
        = \frac{\lambda^i}{1 - \lambda^i} (1 - \bar\alpha_t)^{\mathrm{time\_decay}}

    A frame that *is* the still (lambda 1) keeps it at every t. The others let go of it towards
    small t, where an error of the prior is magnified by sqrt(alpha_bar / (1 - alpha_bar)): from
    ``time_decay`` 1/2 upwards the magnified error stays bounded.

    Args:
        num_frames: F, at least 1.
        alpha_bar: Signal power at t, ``[B]``.
        first: Lambda of the first frame, 0..1.
        last: Lambda of the last frame, 0..1.
        time_decay: 0 (the paper's linear fusion: the same at every t) or more.

    Returns:
        ``[B, 1, F, 1, 1]``, in 0..1.

    Raises:
        ValueError: If a weight lies outside 0..1 or the decay is negative.
    """
    return PriorWeights(first, last, time_decay)(num_frames, alpha_bar)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"the prior's {name} must be within 0..1; got {value}")


@dataclass(frozen=True)
class PriorWeights:
    """Lambda's ends and its decay over time; see :func:`prior_weight`.

    Attributes:
        first: Lambda of the first frame, 0..1.
        last: Lambda of the last frame, 0..1.
        time_decay: Exponent of (1 - alpha_bar) on lambda's odds, 0 or more: the model's own.
        later_decay: Exponent of (1 - alpha_bar) on lambda itself of the frames after the first, 0
            or more: the user's. It lets go of frames whose lambda is 1, too; the first frame is the
            still, where the prior is exact (law 2), so it stays held.
    """

    first: float = 1.0
    last: float = 0.0
    time_decay: float = 1.0
    later_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers once."""
        for name, value in (("first weight", self.first), ("last weight", self.last)):
            _check_share(name, value)
        for name, value in (("time_decay", self.time_decay), ("decay", self.later_decay)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"the prior's {name} must be 0 or more; got {value}")

    def __call__(self, num_frames: int, alpha_bar: Tensor) -> Tensor:
        """Return lambda(i, t), ``[B, 1, F, 1, 1]``."""
        dtype = torch.promote_types(alpha_bar.dtype, torch.float32)
        noise = (1 - alpha_bar.to(dtype)).view(-1, 1, 1, 1, 1)
        weight = torch.linspace(
            self.first, self.last, num_frames, dtype=dtype, device=alpha_bar.device
        ).view(1, 1, -1, 1, 1)
        weight = weight.expand(len(alpha_bar), -1, -1, -1, -1)
        if self.time_decay != 0:
            decay = noise.pow(self.time_decay)
            weight = weight * decay / (weight * decay + (1 - weight))
        if self.later_decay != 0:
            later = weight[:, :, 1:] * noise.pow(self.later_decay)
            weight = torch.cat((weight[:, :, :1], later), dim=2)
        return weight

    def scaled(
        self, strength: float = 1.0, later_decay: float = 0.0, frames_decay: float = 0.0
    ) -> "PriorWeights":
        """Return weights for a user's taste.

        Args:
            strength: Multiplies all of them, 0 (the still is only a condition of the network) .. 1
                (as the model asks).
            later_decay: See the attribute; added to it.
            frames_decay: How much is gone at the last frame, linear in the frame: 0..1.

        Raises:
            ValueError: If a share lies outside 0..1 or the decay is negative.
        """
        _check_share("strength", strength)
        _check_share("decay over frames", frames_decay)
        return replace(
            self,
            first=self.first * strength,
            last=self.last * strength * (1 - frames_decay),
            later_decay=self.later_decay + later_decay,
        )


#: For models that were not trained with the prior: linear fusion as published (TRIP^W), its decay
#: over frames the user's.
UNTRAINED = PriorWeights(1.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class StillPrior:
    """The image noise prior on a model that was not trained with it (linear fusion, TRIP^W).

    Attributes:
        still: Clean latent of the still, ``[B, C, h, w]``, or one for each frame,
            ``[B, C, F, h, w]``, scaled latent units.
        weights: Lambda over frames and timesteps; with two stills, from either to the middle.
        two: The clip leads from one still to another, or back.
        kept: Where the still stays whatever the weights, 0..1, ``[B or 1, 1, h, w]``; None is
            nowhere.
    """

    still: Tensor
    weights: PriorWeights = UNTRAINED
    two: bool = False
    kept: Tensor | None = None

    @classmethod
    def between(
        cls,
        still: Tensor,
        end: Tensor | None,
        num_frames: int,
        weights: PriorWeights,
        kept: Tensor | None = None,
    ) -> "StillPrior":
        """Return the prior of a clip that holds each frame to the still it is nearer to.

        Args:
            still: ``[B, C, h, w]``.
            end: The last frame's, same shape; None = the clip has one still.
            num_frames: F.
            weights: See the attribute.
            kept: See the attribute.
        """
        half, last = (num_frames + 1) // 2, still if end is None else end
        stills = [still] * half + [last] * (num_frames - half)
        return cls(torch.stack(stills, dim=2), weights, end is not None, kept)

    def trust(self, num_frames: int, alpha_bar: Tensor) -> Tensor:
        """Return lambda(i, t), ``[B, 1, F, 1 or h, 1 or w]``, for signal powers ``[B]``."""
        half = (num_frames + 1) // 2 if self.two else num_frames
        weight = self.weights(half, alpha_bar)
        if self.two:
            weight = torch.cat((weight, weight.flip(2)[:, :, num_frames % 2 :]), dim=2)
        return weight if self.kept is None else keep(weight, self.kept)

    def towards_still(self, x0: Tensor, alpha_bar: Tensor) -> Tensor:
        """Return denoised latents ``[B, C, F, h, w]`` drawn towards their stills."""
        return blend_towards_still(x0, self.still, self.trust(x0.shape[2], alpha_bar))


def keep(weight: Tensor, kept: Tensor) -> Tensor:
    """Return lambda ``[B, 1, F, h, w]`` that is 1 where ``kept``, ``[B, 1, h, w]``, is 1."""
    return 1 - (1 - weight) * (1 - kept.to(weight)[:, :, None])


def per_frame(still: Tensor, video: Tensor) -> Tensor:
    """Return ``still`` as ``[B, C, 1 or F, H, W]``, ready to broadcast over ``video``'s frames.

    Args:
        still: ``[B, C, H, W]`` or ``[B, C, F, H, W]``.
        video: ``[B, C, F, H, W]``.

    Raises:
        ValueError: If the shapes do not belong together.
    """
    if video.ndim == 5 and still.shape == video.shape:
        return still
    if video.ndim == 5 and still.shape == video[:, :, 0].shape:
        return still.unsqueeze(2)
    raise ValueError(
        "still must be [B, C, H, W] or [B, C, F, H, W] of the video latents [B, C, F, H, W]; "
        f"got still {tuple(still.shape)} and video latents {tuple(video.shape)}"
    )
