"""Image noise prior: the noise that carries the still into every frame.

TRIP (Zhang et al., CVPR 2024, arXiv:2403.17005), shortcut path, and its linear fusion. The
**motion-compensated** prior is this project's extension: it is taken with respect to ``w^i``, the
still warped into frame i, instead of the still itself. A flow of zero gives ``w^i = z_0^1`` and so
TRIP exactly. Everything is computed in float32 at least.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


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


@dataclass(frozen=True)
class PriorWeights:
    """Lambda's ends and its decay over time; see :func:`prior_weight`.

    Attributes:
        first: Lambda of the first frame, 0..1.
        last: Lambda of the last frame, 0..1.
        time_decay: Exponent of (1 - alpha_bar) on lambda's odds, 0 or more.
    """

    first: float = 1.0
    last: float = 0.0
    time_decay: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers once."""
        for name, value in (("first", self.first), ("last", self.last)):
            if not 0 <= value <= 1:
                raise ValueError(f"the prior's {name} weight must be within 0..1; got {value}")
        if not 0 <= self.time_decay < float("inf"):
            raise ValueError(f"the prior's time_decay must be 0 or more; got {self.time_decay}")

    def __call__(self, num_frames: int, alpha_bar: Tensor) -> Tensor:
        """Return lambda(i, t), ``[B, 1, F, 1, 1]``."""
        dtype = torch.promote_types(alpha_bar.dtype, torch.float32)
        weight = torch.linspace(
            self.first, self.last, num_frames, dtype=dtype, device=alpha_bar.device
        ).view(1, 1, -1, 1, 1)
        if self.time_decay == 0:
            return weight.expand(len(alpha_bar), -1, -1, -1, -1)
        decay = (1 - alpha_bar.to(dtype)).pow(self.time_decay).view(-1, 1, 1, 1, 1)
        return weight * decay / (weight * decay + (1 - weight))

    def scaled(self, strength: float = 1.0, extra_decay: float = 0.0) -> "PriorWeights":
        """Return weights for a user's taste: all of them times ``strength``, decaying faster.

        Args:
            strength: 0 (the still is only a condition of the network) .. 1 (as the model asks).
            extra_decay: Added to the decay over time, 0 or more.

        Raises:
            ValueError: If strength lies outside 0..1 or the decay is negative.
        """
        if not 0 <= strength <= 1:
            raise ValueError(f"the prior's strength must be within 0..1; got {strength}")
        return replace(
            self,
            first=self.first * strength,
            last=self.last * strength,
            time_decay=self.time_decay + extra_decay,
        )


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
