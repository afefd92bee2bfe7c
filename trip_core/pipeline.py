"""From a still and a sentence to a clip: ``animate`` is the algorithm."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .anchor import Anchor
from .compose import Edges, middle, needs_generated, overscan_view
from .guidance import Denoiser, text_guidance
from .intent import offered_motion, settle
from .nn.motion import MotionNetwork
from .nn.motion_field import MOTION_PARAMETERS, StillMotion
from .prior import Lambda, keep
from .sampling import Step, initial_latents, sample, timesteps
from .solvers import Sampler
from .systems.trip import TRIP, Conditioning


class Autoencoder(Protocol):
    """Pixels in -1..1, ``[B, 3, H, W]``, to scaled latents, ``[B, C, H / downscale, ...]``."""

    downscale: int

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels."""
        ...


class TextModel(Protocol):
    """Prompts to tokens, ``[B, L, D]``."""

    def encode(self, prompts: list[str]) -> Tensor:
        """Return the prompts' tokens."""
        ...


@dataclass(frozen=True)
class SamplingDefaults:
    """What a model does when it is not told otherwise.

    Attributes:
        steps: Denoising steps, 1..1000.
        guidance_scale: Text guidance, 0..50.
        size: Short side of the frames that the model samples, in pixels, 16..4096.
        understood: Motion parameters that passed the model's gates; the others are held back, so
            that words for them do no harm.
    """

    steps: int = 50
    guidance_scale: float = 9.0
    size: int = 256
    understood: tuple[str, ...] = tuple(MOTION_PARAMETERS)

    def __post_init__(self) -> None:
        """Refuse numbers out of range and unknown motion parameters."""
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps of defaults must be 1 to 1000; got {self.steps}")
        if not 0 <= self.guidance_scale <= 50:
            raise ValueError(
                f"guidance_scale of defaults must be 0 to 50; got {self.guidance_scale}"
            )
        if not 16 <= self.size <= 4096:
            raise ValueError(f"size of defaults must be 16 to 4096 pixels; got {self.size}")
        for name in self.understood:
            if name not in MOTION_PARAMETERS:
                raise ValueError(
                    f"understood of defaults are some of {', '.join(MOTION_PARAMETERS)}; "
                    f"got {name!r}"
                )


@dataclass(frozen=True)
class Model:
    """All that a clip needs.

    Attributes:
        trip: The system.
        vae: Its autoencoder.
        text: Its text encoder.
        motion: The motion network of a system with motion, else None.
        config: The checkpoint's configuration, JSON-able.
        defaults: What is done unless told otherwise.
    """

    trip: TRIP
    vae: Autoencoder
    text: TextModel
    motion: MotionNetwork | None = None
    config: dict[str, Any] = field(default_factory=dict)
    defaults: SamplingDefaults = SamplingDefaults()


class Sampled(Protocol):
    """A model of any system, as far as it has a size of its own and an autoencoder."""

    @property
    def vae(self) -> Autoencoder:
        """Its autoencoder."""
        ...

    @property
    def defaults(self) -> SamplingDefaults:
        """What is done unless told otherwise."""
        ...


@dataclass(frozen=True)
class Clip:
    """What ``animate`` returns.

    Attributes:
        frames: Frames ``[3, H, W]`` in 0..1, made while they are read, once; the first is the
            still.
        latents: Sampled latents, scaled, ``[1, C, F, h, w]``; None where none were needed.
        motion: The clip's motion; None for a system without.
        seconds: Time of each stage so far.
    """

    frames: Iterable[Tensor]
    latents: Tensor | None
    motion: StillMotion | None
    seconds: dict[str, float]


@torch.no_grad()
def animate(
    model: Model,
    still: Tensor,
    prompt: str = "",
    *,
    negative: str = "",
    num_frames: int = 16,
    steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_rescale: float = 0.0,
    seed: int = 0,
    sampler: Sampler = "ddim",
    edges: Edges = "mirror",
    prior_strength: float = 1.0,
    prior_frames_decay: float = 0.0,
    prior_decay: float = 0.0,
    mask: Tensor | None = None,
    motion_strength: float = 1.0,
    on_step: Callable[[Step], None] | None = None,
) -> Clip:
    """Animate a still.

    A system with motion moves the still's own pixels; the diffusion then only fills what comes
    into view, so it runs for ``edges="generate"`` alone. A system without samples every pixel, at
    its own size.

    Args:
        model: See ``trip_file.load_model``.
        still: ``[3, H, W]`` in 0..1.
        prompt: What moves and how; empty gives gentle motion.
        negative: What should not be seen (sampling only).
        num_frames: Length F.
        steps: Denoising steps; None = the model's own.
        guidance_scale: Text guidance; None = the model's own.
        guidance_rescale: How much of the unguided contrast is restored, 0..1.
        seed: Of the noise, drawn on the CPU.
        sampler: See ``sampling.sample``.
        edges: What fills places that come into view; see ``compose.compose``.
        prior_strength: Weight of the image noise prior, 0..1; 1 is as trained, 0 none.
        prior_frames_decay: How much of it is gone at the last frame, 0..1; 0 is as trained.
        prior_decay: How early the sampling lets go of it: ``PriorWeights.later_decay``; 0 is as
            trained.
        mask: Where the still stays as it is, ``[1, H, W]`` in 0..1 over ``still``.
        motion_strength: How far things move, as a multiple of what the words say.
        on_step: Called after every denoising step; raising in it cancels.

    Raises:
        ValueError: If a number is out of range or an option is not the model's.
    """
    _check(model, still, num_frames, edges)
    prior = model.trip.config.prior.scaled(prior_strength, prior_decay, prior_frames_decay)
    clock = StageClock()
    device = next(model.trip.parameters()).device
    still = still.to(device)
    kept = None if mask is None else mask[None].to(device)
    small = fit_to_model(model, still)
    with clock("text"):
        text = model.text.encode([prompt, negative])
    with clock("motion"):
        motion = estimate_motion(model, small, text[:1], motion_strength)
    latents, generated = None, None
    if motion is None or needs_generated(motion, edges):
        with clock("encode"):
            bound = condition(model, small, text[:1], motion, num_frames, prior, kept)
        with clock("sample"):
            latents = denoise_clip(
                model,
                bound,
                text[1:],
                num_frames,
                steps,
                guidance_scale,
                seed,
                sampler,
                on_step,
                guidance_rescale,
            )
        with clock("decode"):
            generated = decode(model, latents)
    if motion is not None and generated is not None and edges == "overscan":
        generated = middle(generated, overscan_view(motion, num_frames))  # sampled was all
    if motion is None:
        assert generated is not None
        return Clip(iter(generated), latents, None, clock.seconds)
    anchor = Anchor(still, motion, num_frames, kept, overscan=edges == "overscan")
    frames = anchor.frames(edges=edges, generated=generated)
    return Clip(clock.timed("compose", frames), latents, motion, clock.seconds)


def fit_to_model(model: Sampled, still: Tensor) -> Tensor:
    """Return the still at the size the model works at, ``[1, 3, h, w]``, in 0..1."""
    height, width = still.shape[-2:]
    unit = 2 * model.vae.downscale
    scale = model.defaults.size / min(height, width)
    size = [max(round(side * scale / unit), 1) * unit for side in (height, width)]
    out = F.interpolate(still[None].float(), size, mode="bicubic", antialias=True)
    return out.clamp(0, 1)


def estimate_motion(
    model: Model, small: Tensor, text: Tensor, strength: float = 1.0
) -> StillMotion | None:
    """Return what moves in a still, or None if the system has no motion network.

    What the model does not offer is held back. Words that ask for nothing else do no harm: they
    give the gentle motion that no words give.

    Args:
        model: The model.
        small: The still at the model's size, ``[1, 3, h, w]`` in 0..1.
        text: Tokens of the prompt, ``[1, L, D]``.
        strength: Multiplies all motion.
    """
    if model.motion is None:
        return None
    motion = settle(model.motion(small, text.float()))
    offered = offered_motion(motion.parameters, model.defaults.understood)
    return replace(motion, parameters=offered * strength)


def condition(
    model: Model,
    small: Tensor,
    text: Tensor,
    motion: StillMotion | None,
    num_frames: int,
    prior: Lambda,
    kept: Tensor | None = None,
) -> Conditioning:
    """Return what the clip is made from.

    Args:
        model: The model.
        small: The still at the model's size, ``[1, 3, h, w]`` in 0..1.
        text: Tokens of the prompt, ``[1, L, D]``.
        motion: The still's; None for a system without.
        num_frames: F.
        prior: Weights of the image noise prior.
        kept: Where they are 1, ``[1, 1, H, W]`` in 0..1.
    """
    if motion is None:
        bound = Conditioning(text, model.vae.encode(small * 2 - 1), prior=prior)
    else:
        anchor = Anchor(small[0], motion, num_frames, kept)
        latents, visibility = anchor.latents(model.vae.encode)
        warped = latents.movedim(0, 1)[None]  # [1, C, F, h, w]
        bound = Conditioning(text, latents[:1], warped, visibility, prior)
    if kept is not None:
        places = F.interpolate(kept, bound.still.shape[-2:], mode="area")
        bound = replace(bound, prior=lambda f, alpha_bar: keep(prior(f, alpha_bar), places))
    return bound


def denoise_clip(
    model: Model,
    bound: Conditioning,
    negative: Tensor,
    num_frames: int,
    steps: int | None,
    guidance_scale: float | None,
    seed: int,
    sampler: Sampler,
    on_step: Callable[[Step], None] | None,
    guidance_rescale: float = 0.0,
) -> Tensor:
    """Return the sampled latents, ``[1, C, F, h, w]``, started from the (warped) still's noise."""
    steps = steps or model.defaults.steps
    scale = model.defaults.guidance_scale if guidance_scale is None else guidance_scale
    schedule = model.trip.schedule
    generator = torch.Generator().manual_seed(seed)
    start = bound.still if bound.warped is None else bound.warped
    first = timesteps(schedule, sampler=sampler, steps=steps)[0]
    noisy = initial_latents(start, num_frames, schedule, first, generator)
    denoise: Denoiser = model.trip.denoiser(bound)
    if scale != 1:
        without = model.trip.denoiser(replace(bound, text=negative))
        denoise = text_guidance(denoise, without, scale, guidance_rescale)
    return sample(denoise, noisy, schedule, sampler=sampler, steps=steps, on_step=on_step)


def decode(model: Sampled, latents: Tensor, chunk: int = 8) -> Tensor:
    """Decode ``[1, C, F, h, w]`` a few frames at a time; return frames ``[F, 3, H, W]`` in 0..1."""
    parts = latents[0].movedim(1, 0).split(chunk)  # [f, C, h, w] each
    return torch.cat([(model.vae.decode(part).float() / 2 + 0.5).clamp(0, 1) for part in parts])


def _check(
    model: Model,
    still: Tensor,
    num_frames: int,
    edges: Edges,
) -> None:
    if still.ndim != 3 or still.shape[0] != 3:
        raise ValueError(f"the still must be [3, H, W]; got {tuple(still.shape)}")
    if num_frames < 1:
        raise ValueError(f"a clip has at least 1 frame; got num_frames={num_frames}")
    if model.motion is None and edges != "mirror":
        raise ValueError(
            f"edges={edges!r} is for models with a motion network; this one samples whole frames"
        )


class StageClock:
    """Adds up the seconds of a clip's stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what happens inside as part of a stage."""
        started = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def timed(self, stage: str, frames: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield the frames, their making timed."""
        while True:
            with self(stage):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame
