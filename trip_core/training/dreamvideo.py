"""Training DreamVideo on the clips that TRIP is trained on, batch by batch the same.

Text and picture are dropped independently of each other, as double-condition guidance needs it.
With a base, a text-to-video model that was trained before, the UNet and the branch start from its
weights and its spatial layers stay frozen, as the paper's do. The small size has no such base: all
of it is trained, the base's layers and the branch's together.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from ..checkpoint import fill_module
from ..nn.unet3d import enable_gradient_checkpointing
from ..prediction import x0_from
from ..sampling import initial_latents, sample, timesteps
from ..systems.dreamvideo import PRESETS, Conditioning, DreamVideo, DreamVideoConfig
from .bank import from_bytes
from .clips import ClipOptions, Clips, clip_error, noised, pictured_clips
from .sheet import picture_grid
from .task import Batch, TaskContext
from .weights import load_begun, load_start


@dataclass(frozen=True)
class DreamVideoOptions(ClipOptions):
    """Settings of the DreamVideo task.

    Attributes:
        picture_drop: Share of samples that see no picture, for guidance; independent of
            ``caption_drop``.
        base: Text-to-video weights that the UNet and the branch start from: an earlier TRIP or
            DreamVideo stage, a model's file, or a ModelScopeT2V or ZeroScope folder (which may
            then be named as ``autoencoder`` and ``words``, too). Its sizes, schedule and target are
            taken over and its spatial layers frozen. Empty: no base, nothing is frozen.
    """

    picture_drop: float = 0.1
    base: str = ""


class DreamVideoTask:
    """The clean latents of a clip from its noisy ones, its still's pixels and its caption."""

    def __init__(self, options: DreamVideoOptions, context: TaskContext) -> None:
        """Build DreamVideo, load the frozen networks around it."""
        if options.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {options.preset!r}")
        self.options, self.context = options, context
        self.model = _start(options, context.run)
        if options.base:
            self.model.freeze_spatial_base()
        self.model.to(context.device)
        enable_gradient_checkpointing(self.model, options.checkpointing)
        self.modules: dict[str, nn.Module] = {"dreamvideo": self.model}
        self._clips = Clips(
            options,
            context,
            self.model.config.unet.out_channels,
            pictured_clips,
            f"{options.size}px-{options.num_frames}f-pictured",
        )
        scale = int(self._clips.frozen.vae.downscale)
        if self.model.config.downscale != scale:
            raise ValueError(
                f"preset {options.preset!r} sees {self.model.config.downscale} pixels a latent, "
                f"the autoencoder makes one of {scale}; they must be equal"
            )

    def config(self) -> dict[str, object]:
        """Return DreamVideo's configuration."""
        return {"dreamvideo": self.model.config.to_dict()}

    def batch(self, index: int) -> Batch:
        """Return latents of clips, their stills' pixels and captions, timesteps, a noise seed."""
        batch = self._clips.batch(index, self.model.schedule)
        # A stream of its own: all else is drawn as it is for TRIP.
        generator = self.context.generator(index, stream=1)
        drawn = torch.rand(len(batch["text"]), generator=generator, device=generator.device)
        return batch | {"given": drawn >= self.options.picture_drop}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted error of the clean latents."""
        steps, schedule = batch["timesteps"], self.model.schedule
        z_0, z_t = noised(batch, schedule)
        output = self.model(
            z_t,
            steps,
            batch["text"].float(),
            from_bytes(batch["reference"]) * 2 - 1,
            batch["given"],
        )
        alpha_bar = schedule.alpha_bar(steps)
        x0 = x0_from(output, z_t, alpha_bar, self.model.config.prediction_type)
        loss, error = clip_error(x0, z_0, alpha_bar)
        return loss, {"x0": error.detach()}

    @torch.no_grad()
    def sheet(self) -> Image.Image:
        """Return held-out clips, three rows each: the truth, the still, the sample."""
        options, schedule, clip = self.options, self.model.schedule, self._clips.held_out()
        z_0 = clip["latents"].float()
        still = z_0[:, :, :1].expand_as(z_0)
        bound = Conditioning(clip["text"].float(), from_bytes(clip["reference"]) * 2 - 1)
        first = timesteps(schedule, steps=options.sheet_steps)[0]
        noisy = initial_latents(
            still, options.num_frames, schedule, first, torch.Generator().manual_seed(0)
        )
        sampled = sample(self.model.denoiser(bound), noisy, schedule, steps=options.sheet_steps)
        rows = [self._clips.pictures(latents) for latents in (z_0, still, sampled)]
        return picture_grid(torch.stack(rows, dim=1).flatten(0, 1))


def _start(options: DreamVideoOptions, run: Path) -> DreamVideo:
    """Return the network as its training begins."""
    config = PRESETS[options.preset]
    if options.start:
        advice = "from another model's UNet, name it as base"
        tensors, made = load_begun(run, options.start, "dreamvideo", "DreamVideo", advice)
        model = DreamVideo(DreamVideoConfig.from_dict(made))
        fill_module(model, tensors, repr(options.start))
        return model
    if not options.base:
        return DreamVideo(config)
    base, weights = _base(options.base, run)
    model = DreamVideo(replace(base, stem_widths=config.stem_widths))
    fill_module(model.unet, weights, f"the base {options.base!r}")
    model.copy_base()
    return model


def _base(origin: str, run: Path) -> tuple[DreamVideoConfig, dict[str, Tensor]]:
    """Return the sizes and the UNet's weights of a text-to-video model."""
    if Path(origin).is_dir():
        from ..diffusers_folder import load_folder

        trip = load_folder(Path(origin), "cpu", torch.float32).trip
        system, weights = trip.config.to_dict(), trip.unet.state_dict()
    else:
        parts, made = load_start(run, origin)
        name = next((name for name in ("dreamvideo", "trip") if name in parts), None)
        if name is None:
            raise ValueError(f"base = {origin!r} holds no video UNet but {', '.join(parts)}")
        system, tensors = made[name], parts[name]
        mark = "unet."
        weights = {k.removeprefix(mark): v for k, v in tensors.items() if k.startswith(mark)}
    known = {name: system[name] for name in ("unet", "prediction_type", "schedule")}
    return DreamVideoConfig.from_dict(known), weights
