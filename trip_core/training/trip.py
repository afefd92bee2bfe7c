"""Training TRIP on clips of the procedural world, in the latents of the trained autoencoder.

Loss on the clean latents after fusion (``clips.clip_error``); the same on what the residual path
says alone, or it would learn only in the few places that the gate leaves to it; and a cross-entropy
that teaches the gate where the (warped) still already is the answer.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..checkpoint import fill_module
from ..fusion import compress_gate
from ..nn.unet3d import enable_gradient_checkpointing
from ..sampling import initial_latents, sample, timesteps
from ..systems.trip import PRESETS, TRIP, Conditioning, TRIPConfig
from .bank import from_bytes
from .clips import ClipOptions, Clips, clip_error, noised, warped_clips
from .sheet import picture_grid
from .task import Batch, TaskContext
from .weights import load_begun


@dataclass(frozen=True)
class TripOptions(ClipOptions):
    """Settings of the TRIP task.

    Attributes:
        true_motion: Share of clips whose still is warped by the world's true flow; the others by
            the motion network's.
        residual_weight: Weight of the residual path's own error, where there is a fusion.
        gate_weight: Weight of the gate's cross-entropy.
        gate_error: Squared latent error at which trust in the warped still has fallen to 1/e.
    """

    true_motion: float = 0.5
    residual_weight: float = 0.5
    gate_weight: float = 0.1
    gate_error: float = 0.1


class TripTask:
    """The clean latents of a clip from its noisy ones, its still and its caption."""

    def __init__(self, options: TripOptions, context: TaskContext) -> None:
        """Build TRIP, load the frozen networks around it."""
        self.options = options
        self.trip = _start(options, context.run)
        self.trip.to(context.device)
        enable_gradient_checkpointing(self.trip, options.checkpointing)
        self.modules: dict[str, nn.Module] = {"trip": self.trip}
        self._clips = Clips(
            options,
            context,
            self.trip.config.channels,
            warped_clips,
            f"{options.size}px-{options.num_frames}f-{options.true_motion}",
            options.true_motion,
        )

    def config(self) -> dict[str, object]:
        """Return TRIP's configuration."""
        return {"trip": self.trip.config.to_dict()}

    def batch(self, index: int) -> Batch:
        """Return latents of clips, their warped stills and captions, timesteps, a noise seed."""
        return self._clips.batch(index, self.trip.schedule)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted errors of fused and residual clean latents and of the gate."""
        warped, steps = batch["warped"].float(), batch["timesteps"]
        z_0, z_t = noised(batch, self.trip.schedule)
        motion = self.trip.config.motion
        out = self.trip(
            z_t,
            steps,
            batch["text"].float(),
            z_0[:, :, 0],
            warped if motion else None,
            from_bytes(batch["visibility"]) if motion else None,
        )
        alpha_bar = self.trip.schedule.alpha_bar(steps)
        loss, error = clip_error(out.x0, z_0, alpha_bar)
        anchor = warped if motion else z_0[:, :, :1]
        distance = (anchor - z_0).square().mean(1, keepdim=True)  # [B, 1, F, h, w]
        parts = {"x0": error, "warp": distance.mean()}
        if self.trip.config.fusion != "none":
            alone, parts["residual"] = clip_error(out.residual_x0, z_0, alpha_bar)
            loss = loss + self.options.residual_weight * alone
        if out.gate_logits is not None:
            trust = compress_gate(torch.exp(-distance / self.options.gate_error))
            gate = F.binary_cross_entropy_with_logits(out.gate_logits.float(), trust)
            loss = loss + self.options.gate_weight * gate
            parts["gate"] = gate
        return loss, {name: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def sheet(self) -> Image.Image:
        """Return held-out clips, three rows each: the truth, the warped still, the sample."""
        options, clip = self.options, self._clips.held_out()
        z_0, warped = clip["latents"].float(), clip["warped"].float()
        motion = self.trip.config.motion
        bound = Conditioning(
            clip["text"].float(),
            z_0[:, :, 0],
            warped if motion else None,
            from_bytes(clip["visibility"]) if motion else None,
        )
        schedule, frames = self.trip.schedule, options.num_frames
        first = timesteps(schedule, steps=options.sheet_steps)[0]
        start = warped if motion else z_0[:, :, 0]
        noisy = initial_latents(start, frames, schedule, first, torch.Generator().manual_seed(0))
        sampled = sample(self.trip.denoiser(bound), noisy, schedule, steps=options.sheet_steps)
        rows = [self._clips.pictures(latents) for latents in (z_0, warped, sampled)]
        return picture_grid(torch.stack(rows, dim=1).flatten(0, 1))


def _start(options: TripOptions, run: Path) -> TRIP:
    """Return the TRIP that training begins with."""
    if options.start:
        tensors, made = load_begun(run, options.start, "trip", "TRIP", "anew, leave start out")
        model = TRIP(TRIPConfig.from_dict(made))
        fill_module(model, tensors, repr(options.start))
        return model
    if options.preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {options.preset!r}")
    return TRIP(PRESETS[options.preset])
