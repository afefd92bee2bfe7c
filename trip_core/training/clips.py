"""Clips of the procedural world in the latents of a trained autoencoder: what the systems learn on.

Every system draws the same clips, captions, timesteps and noise for the same batch of the same
seed, so that systems trained for the same number of steps can be compared.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint import fill_module
from ..compose import compose
from ..data.captions import Caption, plain_caption, sample_caption
from ..data.world import World, WorldClip, render
from ..intent import settle
from ..nn.autoencoder import AutoencoderConfig, TinyAutoencoder
from ..nn.motion import MotionConfig, MotionNetwork
from ..nn.motion_field import motion_flow
from ..nn.text import TextConfig, TextEncoder
from ..nn.warp import warp
from ..schedule import NoiseSchedule
from ..tables import from_table
from .bank import Bank, BankConfig, Sample, as_bytes, cached
from .sheet import HELD_OUT, some_frames
from .task import Batch, TaskContext
from .weights import load_start

_SHEET_KINDS = ("truck_right", "clouds_right", "pan_left", "zoom_out", "snow", "object_right")

#: Renders clips of captions: ``make(world, captions, first scene, true flow?)``.
ClipMaker = Callable[[World, list[Caption], int, list[bool]], Sample]


@dataclass(frozen=True)
class ClipOptions:
    """Settings of every task that learns clips.

    Attributes:
        preset: One of the system's ``PRESETS``; with ``start``, that model's sizes count.
        autoencoder: Stage that trained the autoencoder, or a model's file, or a diffusers folder.
        words: Stage, or a model's file, with the text encoder and the motion network; or a
            diffusers folder with the text encoder.
        size: Side of the clips in pixels.
        num_frames: Frames of a clip, the still included.
        bank: Bank of clips, kept as latents.
        keep_clips: Keep the clips' latents on disk for other stages of the run, too.
        caption_drop: Share of samples that see the empty caption, for guidance.
        sheet_steps: Sampling steps of the sample sheets.
        start: Earlier stage, or a model's file, whose system to train on; empty starts anew.
        checkpointing: Compute the video UNet's activations again for the gradient instead of
            keeping them: less memory, about a third more time.
    """

    preset: str = "small"
    autoencoder: str = "autoencoder"
    words: str = "words"
    size: int = 128
    num_frames: int = 8
    bank: BankConfig = field(default_factory=BankConfig)
    keep_clips: bool = False
    caption_drop: float = 0.1
    sheet_steps: int = 8
    start: str = ""
    checkpointing: bool = False


class Clips:
    """A task's batches of clips, and the frozen networks that made them."""

    def __init__(
        self,
        options: ClipOptions,
        context: TaskContext,
        latent_channels: int,
        maker: Callable[["FrozenParts", ClipOptions], ClipMaker],
        kept_as: str,
        true_motion: float = 0.0,
    ) -> None:
        """Load the frozen networks, begin with an empty bank.

        Args:
            options: The task's settings.
            context: What every task is given.
            latent_channels: Channels of the system's latents.
            maker: Makes the clips; see ``warped_clips`` and ``pictured_clips``.
            kept_as: Folder in ``run / "clips"`` for ``keep_clips``; one for each kind of sample.
            true_motion: Share of clips whose still is warped by the world's true flow.

        Raises:
            ValueError: If the autoencoder has other latents than the system.
        """
        self._options, self._context = options, context
        self.frozen = FrozenParts(context.run, options.autoencoder, options.words)
        self.frozen.to(context.data_device).eval().requires_grad_(False)
        if latent_channels != self.frozen.latent_channels:
            raise ValueError(
                f"preset {options.preset!r} has {latent_channels} latent channels, the "
                f"autoencoder {self.frozen.latent_channels}; they must be equal"
            )
        with torch.no_grad():
            self._nothing = self.frozen.text.encode([""]).half()
        self._make = maker(self.frozen, options)
        world = World(options.size, context.seed, str(context.data_device))
        make = _numbered(world, self._make, context.seed, true_motion)
        if options.keep_clips:
            make = cached(make, context.run / "clips" / kept_as)
        self._bank = Bank(options.bank, make)

    def batch(self, index: int, schedule: NoiseSchedule) -> Batch:
        """Return clips, some without their captions, timesteps, and a noise seed."""
        generator = self._context.generator(index)
        count, device = self._context.batch_size, generator.device
        drawn = self._bank.draw(index, count, generator)
        dropped = torch.rand(count, generator=generator, device=device) < self._options.caption_drop
        drawn["text"] = torch.where(dropped.view(-1, 1, 1), self._nothing, drawn["text"])
        share = 0.005 + 0.99 * torch.rand(count, generator=generator, device=device)
        steps = (share * schedule.num_train_timesteps).long()
        seed = torch.randint(2**62, (1,), generator=generator, device=device)
        return drawn | {"timesteps": steps, "seed": seed.cpu()}

    def held_out(self) -> Sample:
        """Return clips of a world that nothing learns from, for sample sheets."""
        world = World(self._options.size, HELD_OUT, str(self._context.data_device))
        captions = [plain_caption(kind) for kind in _SHEET_KINDS]
        clip = self._make(world, captions, 0, [False] * len(captions))
        return {name: value.to(self._context.device) for name, value in clip.items()}

    def pictures(self, latents: Tensor) -> Tensor:
        """Decode four frames of each clip, ``[B, 4, 3, H, W]`` in 0..1, on the CPU."""
        some = some_frames(latents, 4).to(self._context.data_device)
        pixels = self.frozen.vae.decode(some.flatten(0, 1))
        return (pixels.float() / 2 + 0.5).unflatten(0, some.shape[:2]).cpu()


class FrozenParts(nn.Module):
    """Autoencoder, text encoder and motion network that were trained before.

    Attributes:
        vae: The autoencoder.
        latent_channels: Channels of its latents.
        text: The text encoder.
        motion: The motion network; None where a diffusers folder gave the text encoder.
    """

    def __init__(self, run: Path, autoencoder: str, words: str) -> None:
        """Load them: from stages of the run, models' files or diffusers folders."""
        super().__init__()
        self.vae: Any
        self.text: Any
        self.motion: MotionNetwork | None = None
        if Path(autoencoder).is_dir():
            self.vae = _folder_encoders(autoencoder)[0]
            self.latent_channels = int(self.vae.vae.config.latent_channels)
        else:
            parts, made = load_start(run, autoencoder)
            config = from_table(AutoencoderConfig, made["vae"], "the vae's config")
            self.vae, self.latent_channels = TinyAutoencoder(config), config.latent_channels
            fill_module(self.vae, parts["vae"], repr(autoencoder))
        if Path(words).is_dir():
            self.text = _folder_encoders(words)[1]
        else:
            parts, made = load_start(run, words)
            motion = from_table(MotionConfig, made["motion"], "the motion config")
            self.motion = MotionNetwork(motion)
            fill_module(self.motion, parts["motion"], repr(words))
            self.text = TextEncoder(from_table(TextConfig, made["text"], "the text config"))
            fill_module(self.text, parts["text"], repr(words))
        self.vae.to(memory_format=torch.channels_last)

    def encode(self, video: Tensor) -> Tensor:
        """Encode ``[B, 3, F, H, W]`` in 0..1 as latents ``[B, C, F, h, w]``, a clip at a time."""
        clips = []
        with torch.autocast(video.device.type, torch.bfloat16):
            for clip in video:
                frames = (clip.movedim(0, 1) * 2 - 1).contiguous(memory_format=torch.channels_last)
                clips.append(self.vae.encode(frames).movedim(0, 1))
        return torch.stack(clips).float()


def clip_error(x0: Tensor, z_0: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and the plain error of predicted clean latents, ``[B, C, F, h, w]``.

    Weighted by ``min(SNR, 5) + 1`` (min-SNR, Hang et al. 2023, for v-prediction, and 1 so that no
    timestep is ignored).
    """
    weight = (alpha_bar / (1 - alpha_bar)).clamp(max=5) + 1
    error = (x0.float() - z_0).square().mean((1, 2, 3, 4))  # [B]
    return (weight * error).mean(), error.mean()


def noised(batch: Batch, schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """Return a batch's clean and its noisy latents, float32, ``[B, C, F, h, w]`` each."""
    z_0 = batch["latents"].float()
    draw = torch.Generator(z_0.device).manual_seed(int(batch["seed"].item()))
    noise = torch.randn(z_0.shape, generator=draw, device=z_0.device)
    return z_0, schedule.add_noise(z_0, noise, batch["timesteps"])


def warped_clips(frozen: FrozenParts, options: ClipOptions) -> ClipMaker:
    """Return a maker of clips with their stills warped into every frame.

    Shapes: ``latents``, ``warped`` ``[N, C, F, h, w]`` float16, ``visibility`` ``[N, 1, F, h, w]``
    uint8, ``text`` ``[N, L, D]`` float16.
    """
    frames, guess_motion = options.num_frames, frozen.motion
    if guess_motion is None:
        raise ValueError(
            f"words = {options.words!r} has no motion network to warp stills by; name a stage or a "
            "model of this project"
        )

    @torch.no_grad()
    def make(world: World, captions: list[Caption], index: int, true: list[bool]) -> Sample:
        clip = _render(world, captions, index, frames)
        still = clip.video[:, :, 0]
        text = frozen.text.encode([c.text for c in captions])
        warped = warp(still, clip.flow)
        visibility = clip.visibility
        for k in (k for k, known in enumerate(true) if not known):
            # One at a time: its last bits depend on how many there are, and a resumed run makes
            # other numbers of clips at once.
            motion = settle(guess_motion(still[k : k + 1], text[k : k + 1]))
            warped[k] = torch.stack(list(compose(still[k], motion, frames)), dim=1)
            visibility[k] = motion_flow(motion, frames)[1][0]
        scale = frozen.vae.downscale
        return {
            "latents": frozen.encode(clip.video).half(),
            "warped": frozen.encode(warped).half(),
            "visibility": as_bytes(F.avg_pool3d(visibility, (1, scale, scale))),
            "text": text.half(),
        }

    return make


def pictured_clips(frozen: FrozenParts, options: ClipOptions) -> ClipMaker:
    """Return a maker of the same clips with their stills in pixels.

    Shapes: ``latents`` ``[N, C, F, h, w]`` float16, ``reference`` ``[N, 3, H, W]`` uint8, ``text``
    ``[N, L, D]`` float16.
    """

    @torch.no_grad()
    def make(world: World, captions: list[Caption], index: int, _true: list[bool]) -> Sample:
        clip = _render(world, captions, index, options.num_frames)
        return {
            "latents": frozen.encode(clip.video).half(),
            "reference": as_bytes(clip.video[:, :, 0]),
            "text": frozen.text.encode([c.text for c in captions]).half(),
        }

    return make


def _folder_encoders(folder: str) -> tuple[nn.Module, nn.Module]:
    from ..diffusers_folder import load_encoders

    return load_encoders(Path(folder), "cpu", torch.float32)


def _render(world: World, captions: list[Caption], index: int, num_frames: int) -> WorldClip:
    parameters = torch.tensor([c.parameters for c in captions], device=world.device)
    scenes = world.scenes(len(captions), index)
    return render(scenes, parameters, num_frames, list(range(num_frames)))


def _numbered(
    world: World, make: ClipMaker, seed: int, true_motion: float
) -> Callable[[int, int], Sample]:
    """Return the maker of clips by their numbers: each number has its scene and its caption."""

    def numbered(count: int, index: int) -> Sample:
        numbers = [random.Random(f"{seed} clip {index + k}") for k in range(count)]
        captions = [sample_caption(rng) for rng in numbers]
        return make(world, captions, index, [rng.random() < true_motion for rng in numbers])

    return numbered
