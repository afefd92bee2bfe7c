"""Training TRIP on clips of the procedural world, in the latents of the trained autoencoder.

Loss on the clean latents after fusion, weighted by ``min(SNR, 5) + 1`` (min-SNR, Hang et al. 2023,
for v-prediction, and 1 so that no timestep is ignored), and a cross-entropy that teaches the gate
where the (warped) still already is the answer.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..compose import compose
from ..data.captions import Caption, plain_caption, sample_caption
from ..data.world import World, render
from ..fusion import compress_gate
from ..nn.autoencoder import AutoencoderConfig, TinyAutoencoder
from ..nn.motion import MotionConfig, MotionNetwork
from ..nn.motion_field import StillMotion, motion_flow
from ..nn.text import TextConfig, TextEncoder
from ..nn.warp import warp
from ..pipeline import settle
from ..sampling import initial_latents, sample, timesteps
from ..systems.trip import PRESETS, TRIP, Conditioning
from .bank import Bank, BankConfig, Sample, as_bytes, cached, from_bytes
from .config import from_table
from .sheet import HELD_OUT, picture_grid, some_frames
from .state import load_into, load_weights
from .task import Batch, TaskContext

_SHEET_KINDS = ("truck_right", "clouds_right", "pan_left", "zoom_out", "snow", "object_right")


@dataclass(frozen=True)
class TripOptions:
    """Settings of the TRIP task.

    Attributes:
        preset: One of ``systems.trip.PRESETS``.
        autoencoder: Stage that trained the autoencoder.
        words: Stage that trained the text encoder and holds the motion network.
        size: Side of the clips in pixels.
        num_frames: Frames of a clip, the still included.
        bank: Bank of clips, kept as latents.
        keep_clips: Keep the clips' latents on disk for other stages of the run, too.
        true_motion: Share of clips whose still is warped by the world's true flow; the others by
            the motion network's.
        caption_drop: Share of samples that see the empty caption, for guidance.
        gate_weight: Weight of the gate's cross-entropy.
        gate_error: Squared latent error at which trust in the warped still has fallen to 1/e.
        sheet_steps: Sampling steps of the sample sheets.
    """

    preset: str = "small"
    autoencoder: str = "autoencoder"
    words: str = "words"
    size: int = 128
    num_frames: int = 8
    bank: BankConfig = field(default_factory=BankConfig)
    keep_clips: bool = False
    true_motion: float = 0.5
    caption_drop: float = 0.1
    gate_weight: float = 0.1
    gate_error: float = 0.1
    sheet_steps: int = 8


class TripTask:
    """The clean latents of a clip from its noisy ones, its still and its caption."""

    def __init__(self, options: TripOptions, context: TaskContext) -> None:
        """Build TRIP, load the frozen networks around it."""
        if options.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {options.preset!r}")
        self.options, self.context = options, context
        self.trip = TRIP(PRESETS[options.preset]).to(context.device)
        self.modules: dict[str, nn.Module] = {"trip": self.trip}
        self._frozen = FrozenParts(context.run, options.autoencoder, options.words)
        self._frozen.to(context.data_device).eval().requires_grad_(False)
        if self.trip.config.channels != self._frozen.vae.config.latent_channels:
            raise ValueError(
                f"preset {options.preset!r} has {self.trip.config.channels} latent channels, the "
                f"autoencoder {self._frozen.vae.config.latent_channels}; they must be equal"
            )
        with torch.no_grad():
            self._nothing = self._frozen.text.encode([""]).half()
        world = World(options.size, context.seed, str(context.data_device))
        make = clips(world, self._frozen, options, context.seed)
        if options.keep_clips:
            folder = f"{options.size}px-{options.num_frames}f-{options.true_motion}"
            make = cached(make, context.run / "clips" / folder)
        self._bank = Bank(options.bank, make)

    def config(self) -> dict[str, object]:
        """Return TRIP's configuration."""
        return {"trip": self.trip.config.to_dict()}

    def batch(self, index: int) -> Batch:
        """Return latents of clips, their warped stills and captions, timesteps, a noise seed."""
        generator = self.context.generator(index)
        count, device = self.context.batch_size, generator.device
        drawn = self._bank.draw(index, count, generator)
        dropped = torch.rand(count, generator=generator, device=device) < self.options.caption_drop
        drawn["text"] = torch.where(dropped.view(-1, 1, 1), self._nothing, drawn["text"])
        share = 0.005 + 0.99 * torch.rand(count, generator=generator, device=device)
        steps = (share * self.trip.schedule.num_train_timesteps).long()
        seed = torch.randint(2**62, (1,), generator=generator, device=device)
        return drawn | {"timesteps": steps, "seed": seed.cpu()}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted error of the fused clean latents plus the gate's cross-entropy."""
        z_0, warped = batch["latents"].float(), batch["warped"].float()
        draw = torch.Generator(z_0.device).manual_seed(int(batch["seed"].item()))
        noise = torch.randn(z_0.shape, generator=draw, device=z_0.device)
        steps = batch["timesteps"]
        z_t = self.trip.schedule.add_noise(z_0, noise, steps)
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
        weight = (alpha_bar / (1 - alpha_bar)).clamp(max=5) + 1
        error = (out.x0.float() - z_0).square().mean((1, 2, 3, 4))  # [B]
        loss = (weight * error).mean()
        anchor = warped if motion else z_0[:, :, :1]
        distance = (anchor - z_0).square().mean(1, keepdim=True)  # [B, 1, F, h, w]
        parts = {"x0": error.mean(), "warp": distance.mean()}
        if out.gate_logits is not None:
            trust = compress_gate(torch.exp(-distance / self.options.gate_error))
            gate = F.binary_cross_entropy_with_logits(out.gate_logits.float(), trust)
            loss = loss + self.options.gate_weight * gate
            parts["gate"] = gate
        return loss, {name: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def sheet(self) -> Image.Image:
        """Return held-out clips, three rows each: the truth, the warped still, the sample."""
        options, device = self.options, self.context.data_device
        captions = [plain_caption(kind) for kind in _SHEET_KINDS]
        world = World(options.size, HELD_OUT, str(device))
        clip = _clip(world, self._frozen, options, captions, 0, [False] * len(captions))
        clip = {name: value.to(self.context.device) for name, value in clip.items()}
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
        rows = [self._pictures(latents) for latents in (z_0, warped, sampled)]
        return picture_grid(torch.stack(rows, dim=1).flatten(0, 1))

    def _pictures(self, latents: Tensor) -> Tensor:
        """Decode four frames of each clip, ``[B, 4, 3, H, W]`` in 0..1, on the CPU."""
        some = some_frames(latents, 4).to(self.context.data_device)
        pixels = self._frozen.vae.decode(some.flatten(0, 1))
        return (pixels.float() / 2 + 0.5).unflatten(0, some.shape[:2]).cpu()


class FrozenParts(nn.Module):
    """Autoencoder, motion network and text encoder of earlier stages."""

    def __init__(self, run: Path, autoencoder: str, words: str) -> None:
        """Load them from the run's folder."""
        super().__init__()
        parts, made = load_weights(run / autoencoder / "weights.safetensors")
        self.vae = TinyAutoencoder(from_table(AutoencoderConfig, made["vae"], "the vae's config"))
        load_into(self.vae, parts["vae"], f"stage {autoencoder!r}")
        parts, made = load_weights(run / words / "weights.safetensors")
        self.motion = MotionNetwork(from_table(MotionConfig, made["motion"], "the motion config"))
        load_into(self.motion, parts["motion"], f"stage {words!r}")
        self.text = TextEncoder(from_table(TextConfig, made["text"], "the text config"))
        load_into(self.text, parts["text"], f"stage {words!r}")
        self.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, video: Tensor) -> Tensor:
        """Encode ``[B, 3, F, H, W]`` in 0..1 as latents ``[B, C, F, h, w]``, a clip at a time."""
        clips = []
        with torch.autocast(video.device.type, torch.bfloat16):
            for clip in video:
                frames = (clip.movedim(0, 1) * 2 - 1).contiguous(memory_format=torch.channels_last)
                clips.append(self.vae.encode(frames).movedim(0, 1))
        return torch.stack(clips).float()


def clips(
    world: World, frozen: FrozenParts, options: TripOptions, seed: int
) -> Callable[[int, int], Sample]:
    """Return a maker of clips, as latents.

    Shapes: ``latents``, ``warped`` ``[N, C, F, h, w]`` float16, ``visibility`` ``[N, 1, F, h, w]``
    uint8, ``text`` ``[N, L, D]`` float16.
    """

    def make(count: int, index: int) -> Sample:
        numbers = [random.Random(f"{seed} clip {index + k}") for k in range(count)]
        captions = [sample_caption(rng) for rng in numbers]
        true = [rng.random() < options.true_motion for rng in numbers]
        return _clip(world, frozen, options, captions, index, true)

    return make


@torch.no_grad()
def _clip(
    world: World,
    frozen: FrozenParts,
    options: TripOptions,
    captions: list[Caption],
    index: int,
    true: list[bool],
) -> Sample:
    """Render clips, warp their stills, and encode both."""
    count, frames = len(captions), options.num_frames
    parameters = torch.tensor([c.parameters for c in captions], device=world.device)
    clip = render(world.scenes(count, index), parameters, frames, list(range(frames)))
    still = clip.video[:, :, 0]
    text = frozen.text.encode([c.text for c in captions])
    warped = warp(still, clip.flow)
    visibility = clip.visibility
    guess = frozen.motion(still, text)
    for k in (k for k, known in enumerate(true) if not known):
        one = slice(k, k + 1)
        part = StillMotion(guess.parameters[one], guess.regions[one], guess.depth[one])
        motion = settle(part)
        warped[k] = torch.stack(list(compose(still[k], motion, frames)), dim=1)
        visibility[k] = motion_flow(motion, frames)[1][0]
    scale = frozen.vae.downscale
    return {
        "latents": frozen.encode(clip.video).half(),
        "warped": frozen.encode(warped).half(),
        "visibility": as_bytes(F.avg_pool3d(visibility, (1, scale, scale))),
        "text": text.half(),
    }
