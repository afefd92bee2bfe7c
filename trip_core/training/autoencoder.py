"""Training the tiny autoencoder on single pictures of the procedural world.

Starts from principal components of the world's own pictures. A first stage without blocks and with
a fixed encoder finds a decoder for them in a minute; a second one refines both. The latents are
pulled to mean 0 and variance 1, because the diffusion schedule counts on it, and decoded with a
little noise on them, because that is what a sampled latent has.
"""

from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn

from ..checkpoint import fill_module
from ..data.world import World
from ..nn.autoencoder import AutoencoderConfig, TinyAutoencoder
from .bank import Bank, BankConfig, as_bytes, from_bytes, stills
from .sheet import HELD_OUT, picture_grid
from .task import Batch, TaskContext
from .weights import load_start


@dataclass(frozen=True)
class AutoencoderOptions:
    """Settings of the autoencoder task.

    Attributes:
        size: Side of the world's pictures in pixels.
        crop: Side of the crops that are learned from, a multiple of 8.
        bank: Bank of pictures.
        gradient_weight: Weight of the L1 of differences between neighbours (edges, texture).
        latent_weight: Weight of the latents' deviation from mean 0 and variance 1.
        noise: Largest deviation of the noise on the latents that are decoded.
        latent_channels: Channels of the latents.
        learn_encoder: False keeps the encoder (and the latents) as it starts.
        depth: Levels of blocks that work, 0 to 4 (all); see ``TinyAutoencoder.limit_depth``.
        start: Earlier stage, or a model's file, to start from; empty starts from principal
            components.
    """

    size: int = 128
    crop: int = 64
    bank: BankConfig = field(default_factory=BankConfig)
    gradient_weight: float = 0.5
    latent_weight: float = 0.01
    noise: float = 0.05
    latent_channels: int = 16
    learn_encoder: bool = True
    depth: int = 4
    start: str = ""


class AutoencoderTask:
    """Pixels -> latents -> the same pixels."""

    def __init__(self, options: AutoencoderOptions, context: TaskContext) -> None:
        """Build the autoencoder at the principal components of the first pictures."""
        if options.crop % TinyAutoencoder.downscale or options.crop > options.size:
            raise ValueError(
                f"crop must be a multiple of {TinyAutoencoder.downscale} within the pictures' "
                f"{options.size} pixels; got {options.crop}"
            )
        self.options, self.context = options, context
        self.autoencoder = TinyAutoencoder(AutoencoderConfig(options.latent_channels))
        self.modules: dict[str, nn.Module] = {"vae": self.autoencoder}
        self._bank = Bank(
            options.bank,
            stills(World(options.size, context.seed, str(context.data_device))),
        )
        if options.start:
            parts, _ = load_start(context.run, options.start)
            fill_module(self.autoencoder, parts["vae"], repr(options.start))
        else:
            first = stills(World(options.size, context.seed))(min(64, options.bank.first), 0)
            self.autoencoder.initialise_from_patches(from_bytes(first["image"]) * 2 - 1)
        self.autoencoder.limit_depth(options.depth)
        if not options.learn_encoder:
            self.autoencoder.taesd_encoder.requires_grad_(False)
        self.autoencoder.to(context.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def config(self) -> dict[str, object]:
        """Return the autoencoder's configuration."""
        return {"vae": asdict(self.autoencoder.config)}

    def batch(self, index: int) -> Batch:
        """Return crops, ``image`` uint8 ``[B, 3, crop, crop]``, and the seed of the noise."""
        generator = self.context.generator(index)
        images = self._bank.draw(index, self.context.batch_size, generator)["image"]
        crops = _crops(images, self.options.crop, generator)
        seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
        return {"image": crops, "seed": seed.cpu()}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return L1 of pixels and gradients, and the latents' distance from unit variance."""
        options = self.options
        pixels = from_bytes(batch["image"]).contiguous(memory_format=torch.channels_last) * 2 - 1
        latents = self.autoencoder.encode(pixels)
        draw = torch.Generator(latents.device).manual_seed(int(batch["seed"].item()))
        strength = torch.rand(len(latents), 1, 1, 1, generator=draw, device=latents.device)
        noise = torch.randn(latents.shape, generator=draw, device=latents.device)
        decoded = self.autoencoder.decode(latents + options.noise * strength * noise).float()
        error = (decoded - pixels).abs().mean()
        edges = gradient_error(decoded, pixels)
        statistics = latents.float()
        spread = statistics.var() - 1
        shift = statistics.mean((0, 2, 3))
        regular = spread.square() + shift.square().mean()
        loss = error + options.gradient_weight * edges + options.latent_weight * regular
        with torch.no_grad():
            psnr = -10 * torch.log10((decoded - pixels).square().mean() / 4)
        parts = {"l1": error, "edges": edges, "psnr": psnr, "variance": spread + 1}
        return loss, {name: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def sheet(self) -> Image.Image:
        """Return held-out pictures beside what became of them."""
        world = World(self.options.size, HELD_OUT, str(self.context.device))
        image = from_bytes(stills(world)(10, 0)["image"])
        decoded = self.autoencoder.decode(self.autoencoder.encode(image * 2 - 1)) * 0.5 + 0.5
        return picture_grid(torch.stack((image[:5], decoded[:5], image[5:], decoded[5:]), dim=1))


def gradient_error(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean L1 between the differences of neighbours in x and y, ``[B, C, H, W]``."""
    difference = a - b
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    along = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    return across + along


def _crops(images: Tensor, side: int, generator: Generator) -> Tensor:
    """Return crops at several scales, mirrored and in several colours, uint8."""
    count, _, height, _ = images.shape
    device = generator.device
    draw = torch.rand(count, 4, generator=generator, device=device).tolist()
    looks = torch.rand(count, 5, generator=generator, device=device)
    crops = []
    for image, (scale, top, left, mirror) in zip(images, draw, strict=True):
        # A half at the world's own resolution; the others are larger cuts, shrunk: finer detail.
        cut = side if scale < 0.5 else int(side + (2 * scale - 1) * (height - side))
        y, x = int(top * (height - cut + 0.999)), int(left * (height - cut + 0.999))
        part = image[None, :, y : y + cut, x : x + cut].float() / 255
        if cut != side:
            part = F.interpolate(part, (side, side), mode="bilinear", antialias=True)
        crops.append(part.flip(-1) if mirror < 0.5 else part)
    color = torch.cat(crops)
    gain = 0.85 + 0.3 * looks[:, :3].view(-1, 3, 1, 1)
    saturation = 1.6 * looks[:, 3].view(-1, 1, 1, 1)
    gray = color.mean(1, keepdim=True)
    color = (gray + (color - gray) * saturation) * gain
    contrast = 0.7 + 0.7 * looks[:, 4].view(-1, 1, 1, 1)
    return as_bytes(0.5 + (color - 0.5) * contrast)
