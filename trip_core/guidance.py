r"""Guidance: denoisers made from denoisers, for all systems.

A denoiser is ``denoise(z_t, t) -> x0``: noisy latents ``[B, C, F, H, W]`` and timesteps ``[B]`` in,
clean latents out, its conditioning bound beforehand. Guidance in x0 space equals guidance of the
noise or of v: all are affine in :math:`x_0` and the weights of each combination sum to 1. So the
same functions take a network's own output, where a system was published so; only the rescale then
restores the contrast of another quantity.

Branches that are a :class:`Branch` run in one batch where memory allows and it pays.

==============  ===================================================================================
TRIP            text, after the fusion of each branch: x0
DreamVideo      text and picture, each dropped by itself (double-condition): x0
DynamiCrafter   text with image tokens, or each by a scale (multi-condition): the network's output
==============  ===================================================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

#: Predicts the clean latents from noisy latents ``[B, C, F, H, W]`` and timesteps ``[B]``.
Denoiser = Callable[[Tensor, Tensor], Tensor]

#: Bytes up to which branches gain by sharing a batch on a CPU; what leaves its caches takes longer.
_IN_CACHE = 2**26


@dataclass(frozen=True)
class Branch:
    """A denoiser that can share a batch with others of its system.

    Attributes:
        network: ``network(z_t, t, inputs)``.
        inputs: What is bound: tensors ``[B, ...]``, tuples of these, and other things, which are
            the same for all branches of a batch.
        memory: Bytes that a call needs beside the weights, of its latent places ``B F h w``.
    """

    network: Callable[[Tensor, Tensor, Any], Tensor]
    inputs: Any
    memory: Callable[[int], int]

    def __call__(self, z_t: Tensor, timesteps: Tensor) -> Tensor:
        """Denoise with what is bound."""
        return self.network(z_t, timesteps, self.inputs)


def answers(denoisers: Sequence[Denoiser], z_t: Tensor, timesteps: Tensor) -> list[Tensor]:
    """Return what each denoiser says of the same latents; neighbours share a batch if they can."""
    found: list[Tensor] = []
    for _, alike in groupby(denoisers, _shapes):
        found += _answers(list(alike), z_t, timesteps)
    return found


def _answers(alike: Sequence[Denoiser], z_t: Tensor, timesteps: Tensor) -> Sequence[Tensor]:
    first, count = alike[0], len(alike)
    places = count * z_t[:, 0].numel()
    if (
        count == 1
        or not isinstance(first, Branch)
        or first.memory(places) > batch_bytes(z_t.device)
    ):
        return [denoise(z_t, timesteps) for denoise in alike]
    inputs = _concatenated([branch.inputs for branch in alike if isinstance(branch, Branch)])
    repeated = z_t.repeat(count, *(1,) * (z_t.ndim - 1)), timesteps.repeat(count)
    return first.network(*repeated, inputs).chunk(count)


def batch_bytes(device: torch.device) -> int:
    """Return how many bytes branches in one batch may take: on CUDA what is free."""
    if device.type != "cuda":
        return _IN_CACHE
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def text_guidance(cond: Denoiser, uncond: Denoiser, scale: float, rescale: float = 0.0) -> Denoiser:
    r"""Return classifier-free guidance (Ho & Salimans 2022): ``u + scale (c - u)``.

    Args:
        cond: Denoiser with the text.
        uncond: Denoiser without it (or with a negative text).
        scale: 1 is ``cond`` alone, and ``uncond`` is then never called.
        rescale: Phi of :func:`rescale_guidance`, 0..1.
    """
    check_rescale(rescale)
    if scale == 1:
        return cond

    def denoise(z_t: Tensor, timesteps: Tensor) -> Tensor:
        with_text, without = answers((cond, uncond), z_t, timesteps)
        return rescale_guidance(without + scale * (with_text - without), with_text, rescale)

    return denoise


def text_image_guidance(
    full: Denoiser,
    image_only: Denoiser,
    neither: Denoiser,
    text_scale: float,
    image_scale: float,
    rescale: float = 0.0,
) -> Denoiser:
    r"""Return double-condition guidance (Brooks et al. 2023, Eq. 3).

    ``n + image_scale (i - n) + text_scale (f - i)``: what the image adds and what the text adds to
    it have scales of their own. Both scales 1 give ``full`` alone.

    Args:
        full: Denoiser with image and text.
        image_only: Denoiser with the image, without the text.
        neither: Denoiser with neither.
        text_scale: How far to follow the text.
        image_scale: How far to follow the image.
        rescale: Phi of :func:`rescale_guidance`, 0..1.
    """
    check_rescale(rescale)
    if text_scale == 1 and image_scale == 1:
        return full
    if image_scale == 1:
        return text_guidance(full, image_only, text_scale, rescale)

    def denoise(z_t: Tensor, timesteps: Tensor) -> Tensor:
        f, i, n = answers((full, image_only, neither), z_t, timesteps)
        return rescale_guidance(n + image_scale * (i - n) + text_scale * (f - i), f, rescale)

    return denoise


def rescale_guidance(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    r"""Return ``guided`` pulled back to the contrast of ``cond`` (Lin et al. 2023, Eq. 15-16).

    :math:`\phi\, x\, \mathrm{std}(x_c) / \mathrm{std}(x) + (1 - \phi)\, x`, each item of the batch
    by itself.

    Args:
        guided: The guided prediction x, ``[B, ...]``.
        cond: The prediction with the condition, same shape.
        phi: 0 (as guided) .. 1 (all of ``cond``'s contrast); the paper uses 0.7.
    """
    if phi == 0:
        return guided
    axes = tuple(range(1, guided.ndim))
    # A constant prediction has no contrast to restore: leave it as it is.
    spread = guided.std(axes, keepdim=True).clamp(min=1e-12)
    return guided * (phi * cond.std(axes, keepdim=True) / spread + (1 - phi))


def check_rescale(phi: float) -> None:
    """Raise a ValueError if ``phi`` is not a share."""
    if not 0 <= phi <= 1:
        raise ValueError(f"guidance rescale must be within 0..1; got {phi}; most use 0 or 0.7")


def _shapes(bound: Any) -> Any:
    """Return what branches of one batch have in common."""
    if isinstance(bound, Branch):
        return bound.network, _shapes(bound.inputs)
    if isinstance(bound, tuple):
        return tuple(_shapes(part) for part in bound)
    return bound.shape if isinstance(bound, Tensor) else bound


def _concatenated(trees: Sequence[Any]) -> Any:
    first = trees[0]
    if isinstance(first, tuple):
        return tuple(_concatenated(parts) for parts in zip(*trees, strict=True))
    return torch.cat(tuple(trees)) if isinstance(first, Tensor) else first
