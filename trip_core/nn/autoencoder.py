"""A tiny autoencoder: pixels to latents an eighth as wide, and back.

The layout (layers, key names, ranges) is that of TAESD (Tiny AutoEncoder for Stable Diffusion,
Ollin Boer Bohan) with 16 latent channels, so that a host which loads TAESD loads ours as its VAE.

A random start needs minutes to become as good as principal components, so training starts there:
``initialise_from_patches`` makes the encoder exactly the principal components of 8x8 patches (its
blocks pass non-negative numbers through unchanged while their last convolution is zero). The
decoder cannot be set so: nearest upsampling and 3x3 convolutions have no exact inverse of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Conv2d

WIDTH = 64
#: Latents per unit of what the networks produce: latents of unit variance stay within the nearly
#: linear part of the decoder's soft clamp (3 tanh(x / 3)).
LATENT_SCALE = 0.5
#: Pixels that a CPU takes at a time: what it has just made is then still in its caches, and the
#: memory is not given back and zeroed anew for every layer.
_AT_ONCE = 2**15


@dataclass(frozen=True)
class AutoencoderConfig:
    """Size of the autoencoder.

    Attributes:
        latent_channels: Channels of the latents.
    """

    latent_channels: int = 16


class _Clamp(nn.Module):
    """Bounds latents softly to -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class _Block(nn.Module):
    """Three convolutions and a skip; passes non-negative numbers through when newly made.

    Attributes:
        passing: Skip the convolutions, which is exact while the last of them is zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.passing = False
        self.conv = nn.Sequential(
            _conv(WIDTH, WIDTH),
            nn.ReLU(inplace=True),
            _conv(WIDTH, WIDTH),
            nn.ReLU(inplace=True),
            _conv(WIDTH, WIDTH),
        )
        nn.init.zeros_(self.conv[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) if self.passing else self.conv(x).add_(x).relu_()


def _conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


def _down() -> Iterator[nn.Module]:
    yield _conv(WIDTH, WIDTH, stride=2, bias=False)
    yield from (_Block() for _ in range(3))


def _up() -> Iterator[nn.Module]:
    yield from (_Block() for _ in range(3))
    yield nn.Upsample(scale_factor=2)
    yield _conv(WIDTH, WIDTH, bias=False)


class TinyAutoencoder(nn.Module):
    """Pixels in -1..1 to scaled latents and back, frame by frame.

    Attributes:
        downscale: Pixels per latent in each direction.
    """

    downscale = 8
    vae_scale: Tensor
    vae_shift: Tensor

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        """Build an untrained autoencoder."""
        super().__init__()
        self.config = config or AutoencoderConfig()
        channels = self.config.latent_channels
        self.taesd_encoder = nn.Sequential(
            _conv(3, WIDTH), _Block(), *_down(), *_down(), *_down(), _conv(WIDTH, channels)
        )
        self.taesd_decoder = nn.Sequential(
            _Clamp(),
            _conv(channels, WIDTH),
            nn.ReLU(),
            *_up(),
            *_up(),
            *_up(),
            _Block(),
            _conv(WIDTH, 3),
        )
        self.register_buffer("vae_scale", torch.tensor(LATENT_SCALE))
        self.register_buffer("vae_shift", torch.tensor(0.0))

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode pixels.

        Args:
            pixels: ``[B, 3, H, W]`` in -1..1, H and W multiples of 8.

        Returns:
            Scaled latents ``[B, C, H/8, W/8]``, of about unit variance.

        Raises:
            ValueError: If height or width is not a multiple of 8.
        """
        height, width = pixels.shape[-2:]
        if height % self.downscale or width % self.downscale:
            raise ValueError(
                f"height and width must be multiples of {self.downscale}; got {height}x{width}"
            )
        latents = _in_parts(self.taesd_encoder, pixels * 0.5 + 0.5, height * width)
        return latents / self.vae_scale + self.vae_shift

    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents ``[B, C, h, w]`` to pixels ``[B, 3, 8h, 8w]``, about -1..1."""
        area = self.downscale**2 * latents.shape[-2] * latents.shape[-1]
        latents = (latents - self.vae_shift) * self.vae_scale
        return _in_parts(self.taesd_decoder, latents, area) * 2 - 1

    def limit_depth(self, depth: int) -> None:
        """Let only the blocks of the coarsest levels work, and learn.

        The convolutions between the levels learn several times faster while the blocks of the fine
        levels, most of the work, stand aside. A new autoencoder gives the same at any depth.

        Args:
            depth: 0 for no block, 1 for those at 1/8 of the resolution, to 4 for all of them.
        """
        if not 0 <= depth <= 4:
            raise ValueError(f"depth must be 0 (no block) to 4 (all of them); got {depth}")
        for network in (self.taesd_encoder, self.taesd_decoder):
            level = 0 if network is self.taesd_encoder else 3  # halvings of the resolution
            for layer in network:
                if isinstance(layer, nn.Conv2d) and layer.stride[0] == 2:
                    level += 1
                elif isinstance(layer, nn.Upsample):
                    level -= 1
                elif isinstance(layer, _Block):
                    layer.passing = level < 4 - depth
                    layer.conv.requires_grad_(not layer.passing)

    @torch.no_grad()
    def initialise_from_patches(self, pixels: Tensor) -> None:
        """Make the encoder the principal components of 8x8 patches.

        Components are divided by the square root of their deviation (a compromise between equal
        error in pixels and equal variance in latents), then all by one number so that the latents'
        mean variance is 1.

        Args:
            pixels: Pictures to take the patches from, ``[B, 3, H, W]`` in -1..1.
        """
        channels = self.config.latent_channels
        patches = F.pixel_unshuffle(pixels.float() * 0.5 + 0.5, 8)  # [B, 192, h, w]
        patches = patches.movedim(1, -1).flatten(0, 2)
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        values, vectors = values[-channels:].flip(0), vectors[:, -channels:].flip(1)
        rows = vectors.T / values.clamp_min(1e-8).pow(0.25).unsqueeze(1)  # [C, 192]
        rows = rows * (LATENT_SCALE / values.clamp_min(1e-8).sqrt().mean().sqrt())
        strided = [m for m in self.taesd_encoder if isinstance(m, nn.Conv2d) and m.stride[0] == 2]
        first, last = self.taesd_encoder[0], self.taesd_encoder[-1]
        assert isinstance(first, nn.Conv2d) and isinstance(last, nn.Conv2d)
        assert last.bias is not None and first.bias is not None
        # Colours go straight in; two layers collect 4x4 pixels into 48 channels (all of it stays
        # non-negative, which the blocks let through).
        first.weight[:3], first.bias[:3] = 0, 0
        first.weight[range(3), range(3), 1, 1] = 1
        for layer, inputs in zip(strided, (3, 12), strict=False):
            layer.weight[: 4 * inputs] = 0
            for c in range(inputs):
                for k in range(4):
                    layer.weight[4 * c + k, c, 1 + k // 2, 1 + k % 2] = 1
        # The third takes the components, positive and negative parts apart.
        order = _unshuffled_order()
        weight = rows[:, order].view(channels, 48, 2, 2)  # [C, c*16 + ..., dy, dx]
        strided[2].weight[: 2 * channels] = 0
        strided[2].weight[:channels, :48, 1:, 1:] = weight
        strided[2].weight[channels : 2 * channels, :48, 1:, 1:] = -weight
        last.weight.zero_()
        last.weight[range(channels), range(channels), 1, 1] = 1
        last.weight[range(channels), range(channels, 2 * channels), 1, 1] = -1
        last.bias.copy_(-rows @ mean)


def _in_parts(network: nn.Module, x: Tensor, area: int) -> Tensor:
    """Run a network over ``[B, C, H, W]``; ``area`` is the pixels of an item."""
    if x.device.type != "cpu":
        return network(x)
    parts = x.contiguous(memory_format=torch.channels_last).split(max(_AT_ONCE // area, 1))
    return torch.cat([network(part) for part in parts])


def _unshuffled_order() -> Tensor:
    """Return where nested 2x2 unshuffling finds the channels of one 8x8 unshuffling, ``[192]``.

    Entry (channel after two layers) * 4 + (row, column of the third) is the index of the same pixel
    in ``pixel_unshuffle(x, 8)``, whose channels count colour, row, column.
    """
    index = torch.arange(192).view(3, 8, 8)
    nested = index.view(3, 2, 2, 2, 2, 2, 2)  # colour, y by level (coarse to fine), x likewise
    # Level 3 (coarse) is the third layer's kernel; the first layer's (fine) is the outer channel.
    nested = nested.permute(0, 3, 6, 2, 5, 1, 4)  # colour, fine y x, middle y x, coarse y x
    return nested.reshape(192)
