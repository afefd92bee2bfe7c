"""The networks that ``bench`` times: ours, and the straightforward form of the same network.

That form is diffusers' ``UNet3DConditionModel``; for DynamiCrafter the same class with diffusers'
own attention to image tokens (``IPAdapterAttnProcessor2_0``) and a second timestep embedding, or
the code that was published with it. All have the same random weights.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .dynamicrafter_names import UNET, released_names
from .nn.unet3d import VideoUNet, VideoUNetConfig
from .systems.dynamicrafter import DynamiCrafter, DynamiCrafterConfig
from .systems.trip import PRESETS

#: Sizes by name: the UNet, frames, height and width of the latents, tokens of the text.
SIZES: dict[str, tuple[VideoUNetConfig, tuple[int, int, int], int]] = {
    "small": (PRESETS["small"].unet, (17, 16, 16), 32),
    "middle": (
        VideoUNetConfig(
            block_out_channels=(160, 320, 640, 640), layers_per_block=1, attention_head_dim=32
        ),
        (16, 16, 16),
        77,
    ),
    "full": (VideoUNetConfig(), (16, 32, 32), 77),
}
#: What the published code of DynamiCrafter compares lengths with.
_TEXT_TOKENS, _IMAGE_TOKENS, _FRAMES = 77, 16, 16


@dataclass(frozen=True)
class Contestant:
    """A network, what it is called with, and the call.

    Attributes:
        network: With random weights.
        given: What changes from step to step of a clip.
        context: What does not.
        call: Takes the network (or what was compiled of it), those tensors and the context; returns
            a tensor.
        prepare: What the network makes of the context, once per clip; None: nothing.
    """

    network: nn.Module
    given: tuple[Tensor, ...]
    context: tuple[Tensor, ...]
    call: Callable[..., Tensor]
    prepare: Callable[..., Any] | None = None

    def ready(
        self, device: torch.device, dtype: torch.dtype, compiled: str | None = None
    ) -> Callable[[], Tensor]:
        """Return the call on a device in a number type.

        Args:
            device: Where.
            dtype: Of the network and of all tensors but timesteps.
            compiled: Mode of ``torch.compile``, None without.
        """
        network = nn.Module.to(self.network, device, dtype)  # diffusers' own warns about nothing
        given, context = (
            [x.to(device, dtype if x.is_floating_point() else x.dtype) for x in tensors]
            for tensors in (self.given, self.context)
        )
        if self.prepare is not None:
            context = [self.prepare(network, *context)]
        if compiled is None:
            return lambda: self.call(network, *given, *context)
        fast = torch.compile(network, mode=compiled)
        return lambda: self.call(fast, *given, *context).clone()


def trip_networks(size: str) -> dict[str, Contestant]:
    """Return "diffusers" and "ours": TRIP's UNet (ModelScopeT2V's), float32, on the CPU."""
    from diffusers import UNet3DConditionModel

    config, shape, tokens = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    ours = _trained(VideoUNet(config), generator)
    theirs = UNet3DConditionModel(**asdict(config)).eval()
    theirs.load_state_dict(ours.state_dict())
    given = torch.randn(1, config.in_channels, *shape, generator=generator), torch.tensor([500])
    context = (torch.randn(1, tokens, config.cross_attention_dim, generator=generator),)
    return {
        "diffusers": Contestant(theirs, given, context, lambda f, *tensors: f(*tensors).sample),
        "ours": Contestant(ours, given, context, lambda f, *x: f(*x), VideoUNet.text_keys_values),
    }


def dynamicrafter_networks(size: str, official: Path | None = None) -> dict[str, Contestant]:
    """Return "diffusers", "ours" and, with its folder, "official": DynamiCrafter's UNet.

    Args:
        size: Key of ``SIZES``; noisy latents and still are as wide as the UNet's output.
        official: A clone of github.com/Doubiiu/DynamiCrafter, whose code is then run.

    Raises:
        ValueError: If the official code cannot be imported or cannot be this size.
    """
    unet, (_, height, width), _ = SIZES[size]
    unet = replace(unet, in_channels=2 * unet.out_channels)
    base = DynamiCrafterConfig()
    # The query transformer runs once per clip and is not timed.
    resampler = replace(base.resampler, width=64, depth=0, out_dim=unet.cross_attention_dim)
    config = replace(base, unet=unet, resampler=resampler)
    generator = torch.Generator().manual_seed(0)
    ours = _trained(DynamiCrafter(config), generator)

    def noise(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    latents = (unet.out_channels, _FRAMES, height, width)
    # Noisy latents, stills, timestep and pace; text and image tokens.
    given = noise(*latents), noise(*latents), torch.tensor([500]), torch.tensor([config.pace])
    context = (
        noise(_TEXT_TOKENS, unet.cross_attention_dim),
        noise(_FRAMES, _IMAGE_TOKENS, unet.cross_attention_dim),
    )
    networks = {
        "diffusers": Contestant(
            DiffusersDynamiCrafter(ours), given, context, lambda f, *tensors: f(*tensors)
        ),
        "ours": Contestant(
            ours,
            given,
            context,
            lambda f, z_t, stills, t, pace, made: f(z_t, t, made, stills, pace),
            DynamiCrafter.context_keys_values,
        ),
    }
    if official is not None:
        networks["official"] = Contestant(
            official_dynamicrafter(ours, official),
            given,
            context,
            lambda f, z_t, stills, t, pace, text, image: f(
                torch.cat((z_t, stills), 1), t, torch.cat((text, image.flatten(1, 2)), 1), fs=pace
            ),
        )
    return networks


class DiffusersDynamiCrafter(nn.Module):
    """DynamiCrafter's UNet made of diffusers' blocks.

    Args:
        ours: Whose sizes and weights it takes.
    """

    def __init__(self, ours: DynamiCrafter) -> None:
        super().__init__()
        from diffusers import UNet3DConditionModel
        from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
        from diffusers.models.embeddings import TimestepEmbedding
        from diffusers.models.transformers.transformer_2d import Transformer2DModel

        class DualAttention(nn.Module):
            """Attention to the text and to the image tokens that lie ready."""

            def __init__(self, channels: int) -> None:
                super().__init__()
                self.both = IPAdapterAttnProcessor2_0(
                    channels, config.cross_attention_dim, (_IMAGE_TOKENS,)
                )

            def forward(
                self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any, **_: Any
            ) -> Any:
                tokens = encoder_hidden_states, [outer.image]
                return self.both(attn, hidden_states, tokens)  # type: ignore[arg-type]

        def add_pace(_module: nn.Module, _given: Any, time: Tensor) -> Tensor:
            return time + outer.pace

        outer, config = self, ours.config.unet
        width = config.block_out_channels[0]
        self.image = torch.empty(0)  # image tokens of every frame, [B F, Q, D]
        self.pace = torch.empty(0)  # embedding of the pace, [B, 4 width]
        self.unet = UNet3DConditionModel(**asdict(config))
        for block in self.unet.modules():
            if isinstance(block, Transformer2DModel):
                attention: Any = block.transformer_blocks[0].attn2  # type: ignore[index]
                attention.set_processor(DualAttention(attention.inner_dim))
        self.fps_embedding = TimestepEmbedding(width, 4 * width)
        self.unet.time_embedding.register_forward_hook(add_pace)
        names = {
            f"attn2.to_{x}_ip.weight": f"attn2.processor.both.to_{x}_ip.0.weight"
            for x in ("k", "v")
        }
        state = {key: t for key, t in ours.state_dict().items() if not key.startswith("resampler.")}
        for theirs, name in names.items():
            state = {key.replace(theirs, name): t for key, t in state.items()}
        self.load_state_dict(state)
        self.eval()

    def forward(
        self,
        z_t: Tensor,
        stills: Tensor,
        timesteps: Tensor,
        pace: Tensor,
        text: Tensor,
        image: Tensor,
    ) -> Tensor:
        """Return the output ``[B, C, F, h, w]``; arguments as ``DynamiCrafter``'s."""
        self.image = image.flatten(0, 1)
        self.pace = self.fps_embedding(self.unet.time_proj(pace).to(z_t.dtype))
        return self.unet(torch.cat((z_t, stills), dim=1), timesteps, text).sample


def official_dynamicrafter(ours: DynamiCrafter, clone: Path) -> nn.Module:
    """Return the published code's UNet with our weights, float32.

    Args:
        ours: Whose sizes and weights it takes.
        clone: A clone of github.com/Doubiiu/DynamiCrafter.

    Raises:
        ValueError: If it cannot be imported or cannot be this size.
    """
    config = ours.config.unet
    sys.path.insert(0, str(clone))
    try:
        unet = importlib.import_module("lvdm.modules.networks.openaimodel3d").UNetModel
    except ImportError as error:
        raise ValueError(
            f"--official {clone}: {error}; give a clone of github.com/Doubiiu/DynamiCrafter"
        ) from None
    finally:
        sys.path.remove(str(clone))
    if config.norm_num_groups != 32:
        raise ValueError("the official code has group norms of 32 groups: time it at another size")
    widths = config.block_out_channels
    network = unet(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        model_channels=widths[0],
        num_res_blocks=config.layers_per_block,
        attention_resolutions=[
            2**level
            for level, kind in enumerate(config.down_block_types)
            if kind == "CrossAttnDownBlock3D"
        ],
        channel_mult=[wide // widths[0] for wide in widths],
        num_head_channels=config.attention_head_dim,
        context_dim=config.cross_attention_dim,
        use_linear=True,
        temporal_conv=True,
        use_relative_position=False,
        temporal_length=_FRAMES,
        addition_attention=True,
        image_cross_attention=True,
        default_fs=ours.config.pace,
        fs_condition=True,
    )
    names = {key: name.removeprefix(UNET) for key, name in released_names(ours).items()}
    want = network.state_dict()
    network.load_state_dict(
        {
            names[key]: tensor.reshape(want[names[key]].shape)
            for key, tensor in ours.state_dict().items()
            if not key.startswith("resampler.")
        }
    )
    return network.eval()


def _trained(network: nn.Module, generator: torch.Generator) -> Any:
    """Give all parameters random numbers: no layer that starts at zero may hide an error."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:  # biases, and the weights of norms
                parameter.copy_(0.1 * noise + name.endswith("weight"))
    return network.eval()
