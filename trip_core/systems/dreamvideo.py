r"""DreamVideo: image-to-video by an image retention branch and double-condition guidance.

Wang et al. 2023, arXiv:2312.03018. A copy of a text-to-video UNet's way down, with a stem of its
own that sees the reference **pixels**, sends what it finds into every stage of the UNet's way up.
No weights and no code were released; the paper leaves much open. What was chosen here:

==================  ===============================================================================
base                TRIP's, the UNet of ModelScopeT2V, whose weights (or ZeroScope's) start it; the
                    authors' own base is probably VidRD, whose weights carry no licence
stem                convolutions 3 -> 16 -> 32 -> 96 -> 256 -> width, a stride of 2 for each halving
                    of the autoencoder (as ControlNet's), added to the features of the noisy
                    latents: the figure draws a plus, and the sum of two convolutions is one
                    convolution of what the caption calls concatenated
injection           one projection for each skip of the UNet, to the skip; no middle block
start               the last layer of the stem and all projections are zero: untrained, it is the
                    base model exactly
a dropped picture   sends nothing: text alone is then the base model
guidance            ``n + s_I (i - n) + s_T (f - i)`` (Brooks et al. 2023); the paper's figure shows
                    contrast growing with s_I, so its default is small
==================  ===============================================================================
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..guidance import Branch, Denoiser, text_image_guidance
from ..nn import layers
from ..nn.attention import KeysValues, SpatialTransformer
from ..nn.resnet import as_frames, as_images
from ..nn.unet3d import TextKeysValues, VideoUNet, VideoUNetConfig
from ..prediction import PredictionType, x0_from
from ..schedule import ScheduleConfig
from ..tables import from_table

#: Numbers alive at once in a forward with a picture, for each latent place, frame, branch and
#: channel of the first level: 31 at full size, and a fifth more for what kernels take meanwhile.
ACTIVATIONS = 38
#: Modules of the base that work along time: trained; the base's other layers are frozen.
_TEMPORAL = ("temp_convs", "temp_attentions", "transformer_in")


@dataclass(frozen=True)
class DreamVideoConfig:
    """Everything that tells one DreamVideo from another.

    Attributes:
        unet: The base UNet.
        stem_widths: Channels of the stem; each but the first begins at half the size.
        prediction_type: What the UNet's output is.
        schedule: The noise schedule.
    """

    unet: VideoUNetConfig = field(default_factory=VideoUNetConfig)
    stem_widths: tuple[int, ...] = (16, 32, 96, 256)
    prediction_type: PredictionType = "epsilon"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        object.__setattr__(self, "stem_widths", tuple(self.stem_widths))  # lists come from JSON
        if not self.stem_widths or self.unet.in_channels != self.unet.out_channels:
            raise ValueError(
                "DreamVideo's base sees the noisy latents alone and its stem has a width or more; "
                f"got {self.unet.in_channels} channels in, {self.unet.out_channels} out and widths "
                f"{self.stem_widths}"
            )

    @property
    def downscale(self) -> int:
        """Pixels of the reference to a latent, along a side."""
        return 2 ** (len(self.stem_widths) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DreamVideoConfig":
        """Return the config that :meth:`to_dict` wrote.

        Raises:
            ValueError: If a key is unknown or a value of the wrong type.
        """
        return from_table(cls, values, "the DreamVideo config")


#: The base is full size, or TRIP's at the size of the model that ships.
PRESETS: dict[str, DreamVideoConfig] = {
    "dreamvideo": DreamVideoConfig(),
    "small": DreamVideoConfig(
        unet=VideoUNetConfig(
            in_channels=16,
            out_channels=16,
            down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
            up_block_types=("CrossAttnUpBlock3D", "UpBlock3D"),
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=128,
            attention_head_dim=16,
            norm_num_groups=16,
        ),
        stem_widths=(16, 32, 32, 32),
        prediction_type="v_prediction",
        schedule=ScheduleConfig(kind="cosine"),
    ),
}


@dataclass(frozen=True)
class Conditioning:
    """What a clip is made from, bound before the sampling begins.

    Attributes:
        text: Text tokens, ``[B, L, D]``.
        reference: The picture, ``[B, 3, H, W]`` in -1..1; None: no picture.
    """

    text: Tensor
    reference: Tensor | None


class RetentionBranch(nn.Module):
    """The side branch: what of the picture the UNet is to keep, for each of its skips.

    Args:
        base: The UNet whose way down is copied, weights included.
        stem_widths: Channels of the stem.
        ops: Namespace that layers are taken from.
    """

    def __init__(self, base: VideoUNet, stem_widths: tuple[int, ...], ops: Any = layers) -> None:
        super().__init__()
        self.conv_in = copy.deepcopy(base.conv_in)
        self.time_embedding = copy.deepcopy(base.time_embedding)
        self.transformer_in = copy.deepcopy(base.transformer_in)
        self.down_blocks = copy.deepcopy(base.down_blocks)
        self.stem = _stem(stem_widths, base.config.block_out_channels[0], ops)
        self.projections = nn.ModuleList(
            _zeroed(ops.Linear(channels, channels)) for channels in _skip_widths(base.config)
        )

    def keys_values(self, text: Tensor) -> tuple[KeysValues, ...]:
        """Project a text ``[B, L, D]`` once, for all the steps of a clip."""
        readers = (m for m in self.modules() if isinstance(m, SpatialTransformer))
        return tuple(reader.keys_values(text) for reader in readers)

    def forward(
        self,
        z_t: Tensor,
        timesteps: Tensor,
        text: tuple[KeysValues, ...],
        reference: Tensor,
    ) -> list[Tensor]:
        """Return what is added to each skip, finest first, each ``[B, C', F, h, w]``.

        Args:
            z_t: Noisy latents, ``[B, C, F, h, w]``, in the weights' type.
            timesteps: ``[B]``.
            text: What :meth:`keys_values` made of the text.
            reference: The picture, ``[B, 3, H, W]`` in -1..1, as large as the decoded latents.
        """
        num_frames, texts = z_t.shape[2], iter(text)
        time = F.silu(self.time_embedding(timesteps, z_t.dtype))
        # One picture for all frames, added to the features of the noisy latents.
        picture = self.stem(reference).movedim(1, -1).unsqueeze(1)  # [B, 1, h, w, C']
        x = z_t.movedim(1, -1).contiguous()  # [B, F, h, w, C]
        x = as_frames(self.conv_in(as_images(x)), num_frames) + picture
        states = [self.transformer_in(x)]
        for down in self.down_blocks:
            states += down(states[-1], time, texts)
        return [
            project(state).movedim(-1, 1)
            for project, state in zip(self.projections, states, strict=True)
        ]


class DreamVideo(nn.Module):
    """The network: a text-to-video UNet and the image retention branch.

    Args:
        config: Which DreamVideo.
        ops: Namespace that layers are taken from.

    Attributes:
        compute_dtype: None: compute in the weights' dtype. A host that stores weights in another
            dtype than it computes in sets this.
    """

    compute_dtype: torch.dtype | None = None

    def __init__(self, config: DreamVideoConfig, ops: Any = layers) -> None:
        super().__init__()
        self.config = config
        self.schedule = config.schedule.build()
        self.unet = VideoUNet(config.unet, ops)
        self.retention = RetentionBranch(self.unet, config.stem_widths, ops)

    def forward(
        self,
        z_t: Tensor,
        timesteps: Tensor,
        text: Tensor | tuple[TextKeysValues, tuple[KeysValues, ...]],
        reference: Tensor | None,
        given: Tensor | None = None,
    ) -> Tensor:
        """Return the UNet's output, of the config's ``prediction_type``, float32.

        Args:
            z_t: Noisy latents, ``[B, C, F, h, w]``, scaled latent units.
            timesteps: Training timesteps, ``[B]``.
            text: Text tokens, ``[B, L, D]``, or what :meth:`text_keys_values` made of them.
            reference: The picture, ``[B, 3, H, W]`` in -1..1; None: no picture.
            given: Which items see their picture, ``[B]``; None: all. For training, where a picture
                is dropped now and then.

        Raises:
            ValueError: If shapes do not belong together.
        """
        if isinstance(text, Tensor):
            text = self.text_keys_values(text)
        of_unet, of_branch = text
        noisy = z_t.to(self._dtype())
        if torch.is_grad_enabled() and not noisy.requires_grad:
            # A channels-last group norm whose input needs no gradient, as behind a frozen first
            # layer, crashes on the way back (PyTorch 2.13, CPU).
            noisy = noisy.detach().requires_grad_()
        if reference is None:
            return self.unet(noisy, timesteps, of_unet).float()
        self._check(z_t, reference)
        residuals = self.retention(noisy, timesteps, of_branch, reference.to(noisy))
        if given is not None:
            share = given.to(noisy).view(-1, 1, 1, 1, 1)
            residuals = [residual * share for residual in residuals]
        return self.unet(noisy, timesteps, of_unet, down_residuals=residuals).float()

    def text_keys_values(self, text: Tensor) -> tuple[TextKeysValues, tuple[KeysValues, ...]]:
        """Project a text ``[B, L, D]`` once, for all the steps of a clip."""
        text = text.to(self._dtype())
        return self.unet.text_keys_values(text), self.retention.keys_values(text)

    def denoiser(self, conditioning: Conditioning) -> Branch:
        """Return ``denoise(z_t, t) -> x0``, the conditioning bound, its text projected once."""
        of_unet, of_branch = self.text_keys_values(conditioning.text)
        inputs = of_unet.layers, of_branch, conditioning.reference
        return Branch(self._denoise, inputs, self.memory_required)

    def memory_required(self, places: int) -> int:
        """Return the bytes that a forward needs beside the weights.

        Args:
            places: Of the latents, of all frames and items: ``B F h w``.
        """
        width = self.config.unet.block_out_channels[0]
        return places * width * ACTIVATIONS * self._dtype().itemsize

    def guided(
        self,
        text: Tensor,
        no_text: Tensor,
        reference: Tensor,
        text_scale: float = 9.0,
        image_scale: float = 1.0,
        rescale: float = 0.0,
    ) -> Denoiser:
        """Return the denoiser of double-condition guidance.

        Args:
            text: Tokens of the prompt, ``[B, L, D]``.
            no_text: Tokens of the empty or negative prompt, same shape.
            reference: The picture, ``[B, 3, H, W]`` in -1..1.
            text_scale: How far to follow the text.
            image_scale: How far to follow the picture.
            rescale: Guidance rescale, 0..1.
        """
        return text_image_guidance(
            self.denoiser(Conditioning(text, reference)),
            self.denoiser(Conditioning(no_text, reference)),
            self.denoiser(Conditioning(no_text, None)),
            text_scale,
            image_scale,
            rescale,
        )

    def copy_base(self) -> None:
        """Give the branch the base's weights again: after the base's were loaded."""
        for name in ("conv_in", "time_embedding", "transformer_in", "down_blocks"):
            getattr(self.retention, name).load_state_dict(getattr(self.unet, name).state_dict())

    def freeze_spatial_base(self) -> None:
        """Leave gradients to the branch and to the base's layers along time, as the paper does."""
        for name, parameter in self.unet.named_parameters():
            parameter.requires_grad_(any(part in name.split(".") for part in _TEMPORAL))

    def _denoise(self, z_t: Tensor, timesteps: Tensor, inputs: Any) -> Tensor:
        of_unet, of_branch, reference = inputs
        output = self(z_t, timesteps, (TextKeysValues(of_unet), of_branch), reference)
        alpha_bar = self.schedule.alpha_bar(timesteps)
        return x0_from(output, z_t, alpha_bar, self.config.prediction_type)

    def _dtype(self) -> torch.dtype:
        return self.compute_dtype or next(self.parameters()).dtype

    def _check(self, z_t: Tensor, reference: Tensor) -> None:
        scale = self.config.downscale
        expected = (z_t.shape[0], 3, z_t.shape[3] * scale, z_t.shape[4] * scale)
        if tuple(reference.shape) != expected:
            raise ValueError(
                f"for latents {tuple(z_t.shape)} the reference must be {expected}, {scale} pixels "
                f"a latent; got {tuple(reference.shape)}"
            )


def continue_clip(
    make: Callable[[Tensor, int], Tensor], still: Tensor, count: int
) -> Iterator[Tensor]:
    """Yield the frames of ``count`` clips in a row: the last frame of one starts the next.

    The paper's two-stage inference, for any number of stages.

    Args:
        make: Makes a clip, frames ``[F, 3, H, W]`` with at least 2 frames, of a still
            ``[3, H, W]`` and the clip's number, in whatever range; the first frame shows the still.
        still: ``[3, H, W]``.
        count: Clips.

    Yields:
        Frames ``[3, H, W]``; a later clip's first frame is left out, it was shown already.

    Raises:
        ValueError: If a clip has no second frame to go on from.
    """
    for index in range(count):
        frames = make(still, index)
        if len(frames) < 2:
            raise ValueError(f"a clip that goes on needs 2 frames or more; got {len(frames)}")
        yield from frames[min(index, 1) :]
        still = frames[-1]


def _stem(widths: tuple[int, ...], out_channels: int, ops: Any) -> nn.Sequential:
    """Return convolutions from pixels to the UNet's features; the last one is zero."""
    parts: list[nn.Module] = [ops.Conv2d(3, widths[0], 3, padding=1), nn.SiLU()]
    for narrow, wide in itertools.pairwise(widths):
        parts += [ops.Conv2d(narrow, narrow, 3, padding=1), nn.SiLU()]
        parts += [ops.Conv2d(narrow, wide, 3, padding=1, stride=2), nn.SiLU()]
    parts.append(_zeroed(ops.Conv2d(widths[-1], out_channels, 3, padding=1)))
    return nn.Sequential(*parts)


def _skip_widths(config: VideoUNetConfig) -> list[int]:
    """Return the channels of the UNet's skips, finest first."""
    widths = [config.block_out_channels[0]]
    for level, channels in enumerate(config.block_out_channels):
        last = level == len(config.block_out_channels) - 1
        widths += [channels] * (config.layers_per_block + (not last))
    return widths


def _zeroed(layer: Any) -> Any:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
