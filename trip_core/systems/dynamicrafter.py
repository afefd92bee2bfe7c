"""DynamiCrafter: image-to-video by dual-stream image injection.

Xing et al., ECCV 2024, arXiv:2310.12190. The still reaches the network twice: as **text-aligned
context**, tokens that a query transformer makes of the still's CLIP tokens and that every spatial
block reads beside the text; and as **visual detail guidance**, the still's latent on the channels
of every frame's noise. The network is VideoCrafter's 3D-UNet: ModelScopeT2V's with a second
embedding for the pace of the clip. The released models are configs in ``PRESETS``.

Two things are this project's own: the image noise prior on top (``still_prior``), and context for
any number of frames (the released code gives a clip that is not 16 frames long one context for all
of its frames, by a length that it compares with).
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..guidance import Branch, Denoiser, text_guidance, text_image_guidance
from ..nn import layers
from ..nn.attention import KeysValues, SpatialTransformer, attend, split_heads
from ..nn.embeddings import TimestepEmbedding
from ..nn.resampler import Resampler, ResamplerConfig
from ..nn.resnet import as_frames, as_images
from ..nn.unet3d import VideoUNet, VideoUNetConfig
from ..prediction import PredictionType, x0_from
from ..prior import UNTRAINED, StillPrior
from ..schedule import NoiseSchedule, ScheduleConfig, dynamic_rescale

#: Keys and values of the text and of the image tokens for every layer that reads them.
ContextKeysValues = tuple[tuple[KeysValues, KeysValues], ...]


@dataclass(frozen=True)
class DynamiCrafterConfig:
    """Everything that tells one DynamiCrafter from another.

    Attributes:
        unet: The UNet; its input is noisy latents and still, twice its output's channels.
        resampler: The query transformer.
        prediction_type: What the UNet's output is.
        schedule: The noise schedule.
        rescale_base: Where the signal scale of the latents ends; 1 is none.
        learned_image_scale: Each block has a learned weight for the image tokens.
        pace: The pace when none is given: frames between two frames of the clip (1..6, higher is
            more motion) in the 256 model, frames per second (5..30, lower is more) in the others.
        size: Height and width that the model was trained at, in pixels.
        two_stills: It may have been made to move from one still to another. Of the released models
            512_interp was; its keys and sizes are the 512's, so that the user's word tells them
            apart.
    """

    unet: VideoUNetConfig = field(default_factory=lambda: VideoUNetConfig(in_channels=8))
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    prediction_type: PredictionType = "v_prediction"
    schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig(zero_terminal_snr=True))
    rescale_base: float = 1.0
    learned_image_scale: bool = False
    pace: int = 24
    size: tuple[int, int] = (320, 512)
    two_stills: bool = True

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if self.unet.in_channels != 2 * self.unet.out_channels:
            raise ValueError(
                "DynamiCrafter's UNet reads noisy latents and still side by side: in_channels must "
                f"be twice out_channels, {2 * self.unet.out_channels}; got {self.unet.in_channels}"
            )
        if self.resampler.out_dim != self.unet.cross_attention_dim:
            raise ValueError(
                "image tokens must be as wide as the text's, "
                f"{self.unet.cross_attention_dim}; got {self.resampler.out_dim}"
            )

    def build_schedule(self) -> NoiseSchedule:
        """Return the noise schedule, with its signal scale."""
        schedule = self.schedule.build()
        if self.rescale_base == 1:
            return schedule
        scale = dynamic_rescale(self.rescale_base, schedule.num_train_timesteps)
        return NoiseSchedule(schedule.alphas_cumprod, scale)


#: Numbers alive at once in a forward, for each latent place, frame, branch and channel of the first
#: level: 26, and a fifth more for what kernels take while they run. Attention's matrices are not
#: among them: they are never whole in memory.
ACTIVATIONS = 32

_512 = DynamiCrafterConfig(rescale_base=0.7)
#: The released models.
PRESETS: dict[str, DynamiCrafterConfig] = {
    "256": DynamiCrafterConfig(
        prediction_type="epsilon",
        schedule=ScheduleConfig(),
        learned_image_scale=True,
        pace=3,
        size=(256, 256),
        two_stills=False,
    ),
    "512": _512,
    "1024": replace(_512, rescale_base=0.3, pace=10, size=(576, 1024), two_stills=False),
    "512_interp": replace(_512, pace=5),
}


class DualCrossAttention(nn.Module):
    """Attention to the text and, with the same queries, to the image tokens; added.

    Args:
        channels: Width of the tokens.
        context_dim: Width of both contexts.
        head_dim: Width of a head; divides ``channels``.
        learned_scale: The image's share is weighted by ``1 + tanh(alpha)``.
        ops: Namespace that layers are taken from.
    """

    def __init__(
        self, channels: int, context_dim: int, head_dim: int, learned_scale: bool, ops: Any
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.to_q = ops.Linear(channels, channels, bias=False)
        self.to_k = ops.Linear(context_dim, channels, bias=False)
        self.to_v = ops.Linear(context_dim, channels, bias=False)
        self.to_k_ip = ops.Linear(context_dim, channels, bias=False)
        self.to_v_ip = ops.Linear(context_dim, channels, bias=False)
        self.to_out = nn.ModuleList([ops.Linear(channels, channels)])
        self.alpha = nn.Parameter(torch.zeros(())) if learned_scale else None

    def keys_values(self, text: Tensor, image: Tensor) -> tuple[KeysValues, KeysValues]:
        """Return what ``forward`` needs of texts ``[N, L, D]`` and image tokens ``[M, Q, D]``."""
        projected = self.to_k(text), self.to_v(text), self.to_k_ip(image), self.to_v_ip(image)
        k, v, k_ip, v_ip = (split_heads(x, self.head_dim) for x in projected)
        return (k, v), (k_ip, v_ip)

    def forward(self, tokens: Tensor, context: tuple[KeysValues, KeysValues]) -> Tensor:
        """Read both contexts into ``[B F, S, C]``; a context has a row a clip, or one a frame."""
        query = self.to_q(tokens)
        of_text, of_image = (self._read(query, *keys_values) for keys_values in context)
        if self.alpha is not None:
            of_image = of_image * (1 + self.alpha.to(of_image).tanh())
        return self.to_out[0](of_text + of_image)

    def _read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # With one row a clip, the frames of a clip are one long row of queries.
        rows = split_heads(query.reshape(key.shape[0], -1, query.shape[-1]), self.head_dim)
        return attend(rows, key, value).transpose(1, 2).reshape(query.shape)


@dataclass(frozen=True)
class Conditioning:
    """What a clip is made from, bound before the sampling begins.

    Attributes:
        text: Text tokens, ``[B, L, D]``.
        image: Image tokens, ``[B, F, Q, D]``, or ``[B, Q, D]`` for all frames alike.
        stills: What stands beside each frame's noise, ``[B, C, F, h, w]``; :func:`guide_frames`.
        pace: ``[B]``; None is the config's.
    """

    text: Tensor
    image: Tensor
    stills: Tensor
    pace: Tensor | None = None


class DynamiCrafter(nn.Module):
    """The network: query transformer and 3D-UNet.

    Args:
        config: Which DynamiCrafter.
        ops: Namespace that layers are taken from.

    Attributes:
        compute_dtype: None: compute in the weights' dtype. A host that stores weights in another
            dtype than it computes in sets this.
    """

    compute_dtype: torch.dtype | None = None

    def __init__(self, config: DynamiCrafterConfig, ops: Any = layers) -> None:
        super().__init__()
        self.config = config
        self.schedule = config.build_schedule()
        self.unet = VideoUNet(config.unet, ops)
        for block in self._readers():
            head_dim, context_dim = config.unet.attention_head_dim, config.unet.cross_attention_dim
            channels = block.proj_in.in_features
            block.transformer_blocks[0].attn2 = DualCrossAttention(
                channels, context_dim, head_dim, config.learned_image_scale, ops
            )
        width = config.unet.block_out_channels[0]
        self.fps_embedding = TimestepEmbedding(width, 4 * width, ops)
        nn.init.zeros_(self.fps_embedding.linear_2.weight)
        nn.init.zeros_(self.fps_embedding.linear_2.bias)
        self.resampler = Resampler(config.resampler, ops)

    def forward(
        self,
        z_t: Tensor,
        timesteps: Tensor,
        context: ContextKeysValues,
        stills: Tensor,
        pace: Tensor | None = None,
    ) -> Tensor:
        """Return the UNet's output, of the config's ``prediction_type``, float32.

        Args:
            z_t: Noisy latents, ``[B, C, F, h, w]``, scaled latent units.
            timesteps: Training timesteps, ``[B]``.
            context: What :meth:`context_keys_values` made of text and image tokens.
            stills: What stands beside each frame's noise, same shape as ``z_t``.
            pace: ``[B]``; None is the config's.

        Raises:
            ValueError: If shapes do not belong together.
        """
        self._check(z_t, stills)
        unet, num_frames, dtype = self.unet, z_t.shape[2], self._dtype()
        if pace is None:
            pace = torch.full_like(timesteps, self.config.pace)
        time = unet.time_embedding(timesteps, dtype) + self.fps_embedding(pace, dtype)
        time, contexts = F.silu(time), iter(context)

        # Visual detail guidance: the still beside the noise of every frame.
        x = torch.cat((z_t.float(), stills.float()), dim=1).to(dtype)
        x = x.movedim(1, -1).contiguous()  # [B, F, h, w, 2 C]
        x = unet.transformer_in(as_frames(unet.conv_in(as_images(x)), num_frames))
        # Text-aligned context: every spatial block on the way reads text and image tokens.
        skips = [x]
        for down in unet.down_blocks:
            skips += down(skips[-1], time, contexts)
        x = unet.mid_block(skips[-1], time, contexts)
        for up in unet.up_blocks:
            x = up(x, skips, time, contexts)
        x = unet.conv_out(F.silu(unet.conv_norm_out(as_images(x))))
        return as_frames(x, num_frames).movedim(-1, 1).float()

    def context_keys_values(self, text: Tensor, image: Tensor) -> ContextKeysValues:
        """Project text and image tokens once, for all the steps of a clip.

        Args:
            text: ``[B, L, D]``.
            image: ``[B, F, Q, D]`` for a clip of F frames, or ``[B, Q, D]`` for all frames alike.

        Raises:
            ValueError: If the tokens have another width.
        """
        width = self.config.unet.cross_attention_dim
        if text.shape[-1] != width or image.shape[-1] != width:
            raise ValueError(
                f"text and image tokens must be {width} wide, as this model's are; "
                f"got {text.shape[-1]} and {image.shape[-1]}"
            )
        text, image = text.to(self._dtype()), image.to(self._dtype()).flatten(0, -3)
        return tuple(
            block.transformer_blocks[0].attn2.keys_values(text, image)  # type: ignore[operator]
            for block in self._readers()
        )

    def image_context(self, tokens: Tensor, num_frames: int) -> Tensor:
        """Return image tokens ``[B, num_frames, Q, D]`` of a still's CLIP tokens ``[B, L, E]``.

        The query transformer has queries for each of 16 frames. A shorter or longer clip takes
        those of the frames that lie at the same share of the clip.
        """
        return frame_tokens(self.resampler(tokens.to(self._dtype())), num_frames)

    def predictor(self, conditioning: Conditioning) -> Branch:
        """Return the network's own output as a function of ``z_t`` and timesteps ``[B]``."""
        context = self.context_keys_values(conditioning.text, conditioning.image)
        inputs = context, conditioning.stills, conditioning.pace
        return Branch(self._predict, inputs, self.memory_required)

    def memory_required(self, places: int) -> int:
        """Return the bytes that a forward needs beside the weights.

        Args:
            places: Of the latents, of all frames and items: ``B F h w``.
        """
        width = self.config.unet.block_out_channels[0]
        return places * width * ACTIVATIONS * self._dtype().itemsize

    def denoiser(
        self,
        positive: Conditioning,
        negative: Conditioning | None = None,
        image_only: Conditioning | None = None,
        *,
        scale: float = 7.5,
        image_scale: float = 7.5,
        rescale: float = 0.0,
        prior: StillPrior | None = None,
    ) -> Denoiser:
        """Return ``denoise(z_t, t) -> x0``, conditioning, guidance and prior bound.

        Args:
            positive: Text and still.
            negative: No text, or what should not be seen; the image tokens of a grey picture; the
                same stills. None: no guidance.
            image_only: The negative's text with the positive's image tokens: text and image then
                have scales of their own (multi-condition guidance). None: one scale for both.
            scale: How far to follow the text (and, without ``image_only``, the image tokens).
            image_scale: How far to follow the image tokens; with ``image_only``.
            rescale: Guidance rescale, 0..1; 0.7 was published for the models that predict v.
            prior: The image noise prior on top.
        """
        predict: Denoiser = self.predictor(positive)
        # The contrast that the rescale restores is that of the network's own output, so guidance
        # comes before x0.
        if negative is not None and image_only is None:
            predict = text_guidance(predict, self.predictor(negative), scale, rescale)
        elif negative is not None and image_only is not None:
            others = self.predictor(image_only), self.predictor(negative)
            predict = text_image_guidance(predict, *others, scale, image_scale, rescale)

        def denoise(z_t: Tensor, timesteps: Tensor) -> Tensor:
            alpha_bar = self.schedule.alpha_bar(timesteps)
            output = predict(z_t, timesteps)
            x0 = x0_from(output, z_t, alpha_bar, self.config.prediction_type)
            x0 = x0 / self.schedule.signal(timesteps).view(-1, 1, 1, 1, 1)
            return x0 if prior is None else prior.towards_still(x0, alpha_bar)

        return denoise

    def _predict(self, z_t: Tensor, timesteps: Tensor, inputs: Any) -> Tensor:
        return self(z_t, timesteps, *inputs)

    def _readers(self) -> list[SpatialTransformer]:
        """Return the blocks that read a context, in the order in which the UNet runs them."""
        return [m for m in self.unet.modules() if isinstance(m, SpatialTransformer)]

    def _dtype(self) -> torch.dtype:
        return self.compute_dtype or next(self.parameters()).dtype

    def _check(self, z_t: Tensor, stills: Tensor) -> None:
        channels = self.config.unet.out_channels
        if z_t.ndim != 5 or z_t.shape[1] != channels or stills.shape != z_t.shape:
            raise ValueError(
                f"noisy latents and stills must both be [B, {channels}, F, h, w]; "
                f"got {tuple(z_t.shape)} and {tuple(stills.shape)}"
            )


def check_two_stills(
    config: DynamiCrafterConfig, num_frames: int, hidden: int = 0, masked: bool = False
) -> None:
    """Refuse a clip between two stills that the model cannot make.

    Args:
        config: Which DynamiCrafter.
        num_frames: Frames that are shown.
        hidden: Frames that are sampled beyond those.
        masked: Places are to stay as they are in the first still, and the second is another.

    Raises:
        ValueError: Naming what to do instead.
    """
    if not config.two_stills:
        raise ValueError(
            "this DynamiCrafter was made for one still, and an end still or a loop needs the model "
            "for two (512_interp): leave them out or load that one"
        )
    most = config.resampler.num_frames - hidden
    if num_frames > most:
        raise ValueError(
            f"a clip between two stills has at most {most} frames, as the model was trained; got "
            f"{num_frames}: set {most} or fewer, or leave the end still or the loop out"
        )
    if masked:
        raise ValueError(
            "a mask keeps places as they are in the still, which another still at the end "
            "contradicts: leave one of the two out"
        )


def guide_frames(still: Tensor, num_frames: int, end: Tensor | None = None) -> Tensor:
    """Return what stands beside each frame's noise.

    Args:
        still: Clean latent of the still, ``[B, C, h, w]``, scaled latent units.
        num_frames: F.
        end: Clean latent of the last frame. The frames between are then left empty, as the model
            for two stills was trained; the still itself as its end makes a loop.

    Returns:
        ``[B, C, F, h, w]``.

    Raises:
        ValueError: If the two latents differ in shape, or two stills have fewer than 2 frames.
    """
    if end is None:
        return still.unsqueeze(2).expand(-1, -1, num_frames, -1, -1)
    if end.shape != still.shape or num_frames < 2:
        raise ValueError(
            "a start and an end still need one shape and at least 2 frames; "
            f"got {tuple(still.shape)}, {tuple(end.shape)} and {num_frames} frames"
        )
    between = torch.zeros_like(still).unsqueeze(2).expand(-1, -1, num_frames - 2, -1, -1)
    return torch.cat((still.unsqueeze(2), between, end.unsqueeze(2)), dim=2)


def still_prior(
    still: Tensor,
    end: Tensor | None,
    num_frames: int,
    strength: float,
    frames_decay: float = 0.0,
    time_decay: float = 0.0,
    kept: Tensor | None = None,
) -> StillPrior | None:
    """Return the image noise prior of a clip; None where it would change nothing.

    Args:
        still: Clean latent of the still, ``[B, C, h, w]``.
        end: Clean latent of the last frame; each half of the clip is then held to its own still.
        num_frames: F.
        strength: Lambda of the first frame (with two stills of both ends), 0..1; the released
            models were trained with none.
        frames_decay: How much of it is gone at the last frame (with two stills in the middle).
        time_decay: See ``PriorWeights.later_decay``.
        kept: Where the still stays whatever the strength, ``[1, 1, h, w]`` in 0..1.

    Raises:
        ValueError: If a number is out of range, or nothing would move.
    """
    weights = UNTRAINED.scaled(strength, time_decay, frames_decay)
    if strength == 1 and frames_decay == time_decay == 0:
        raise ValueError(
            "with the prior's strength 1 and no decay every frame of a DynamiCrafter clip is its "
            "still and nothing moves; set prior_strength to 0, as it was trained, or a decay above "
            "0"
        )
    if strength == 0 and kept is None:
        return None
    return StillPrior.between(still, end, num_frames, weights, kept)


def frame_tokens(made: Tensor, num_frames: int) -> Tensor:
    """Return tokens ``[B, num_frames, Q, D]`` of those the query transformer made for its own."""
    return made[:, frame_shares(made.shape[1], num_frames)]


def frame_shares(trained: int, num_frames: int) -> list[int]:
    """Return for each frame of a clip the frame of ``trained`` at the same share of the clip."""
    last = max(num_frames - 1, 1)
    return [round(i * (trained - 1) / last) for i in range(num_frames)]
