"""ModelScopeT2V and ZeroScope folders (diffusers' layout) as a TRIP without trained fusion.

``model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/``. The UNet's weights go into
our own network; autoencoder and text encoder are the libraries' own classes behind the two small
protocols of ``pipeline.Model``. The temporal noise fusion is new, untrained and therefore linear
fusion: such a model is TRIP's ablation TRIP^W.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import fill_module
from .nn.unet3d import VideoUNetConfig
from .pipeline import Model, SamplingDefaults
from .schedule import ScheduleConfig
from .systems.trip import PRESETS, TRIP, TRIPConfig
from .tensor_files import parse_json, read_header, read_tensors, summary

#: Pipelines whose UNet is this family's.
PIPELINES = ("TextToVideoSDPipeline", "VideoToVideoSDPipeline")
#: Part of the folder -> name of its weights.
_WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
#: What the UNet's other settings must be, where a folder says them: what our layers compute.
_FIXED = {"act_fn": "silu", "downsample_padding": 1, "mid_block_scale_factor": 1}
_SCHEDULES = {"scaled_linear": "scaled_linear", "linear": "linear", "squaredcos_cap_v2": "cosine"}


class FolderAutoencoder(nn.Module):
    """diffusers' AutoencoderKL behind ``Model.vae``: pixels -1..1, latents scaled."""

    def __init__(self, vae: Any) -> None:
        """Wrap a loaded ``AutoencoderKL``."""
        super().__init__()
        self.vae = vae
        self.downscale = 2 ** (len(vae.config.block_out_channels) - 1)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the mode of the posterior of ``[B, 3, H, W]``, ``[B, C, h, w]``, scaled."""
        return self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels ``[B, 3, H, W]``, about -1..1, of scaled latents ``[B, C, h, w]``."""
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample


class FolderText(nn.Module):
    """transformers' CLIP text model behind ``Model.text``."""

    def __init__(self, tokenizer: Any, encoder: nn.Module) -> None:
        """Wrap a loaded tokenizer and ``CLIPTextModel``."""
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder

    def encode(self, prompts: list[str]) -> Tensor:
        """Return ``[B, 77, D]``; what does not fit into 77 tokens is cut off."""
        tokens = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        device = next(self.encoder.parameters()).device
        return self.encoder(tokens.input_ids.to(device)).last_hidden_state


def load_folder(folder: Path, device: torch.device | str, dtype: torch.dtype) -> Model:
    """Load a folder; nothing is downloaded and nothing but safetensors is opened.

    Args:
        folder: Holds ``model_index.json``.
        device: Where all parts are put.
        dtype: Type of the UNet and the text encoder; the autoencoder stays in float32.

    Raises:
        ValueError: If the folder is of another kind, incomplete, or holds pickles only.
    """
    trip, defaults = load_system(folder, device, dtype)
    vae, text = load_encoders(folder, device, dtype)
    config = {"trip": trip.config.to_dict(), "model_index": _index(folder)}
    return Model(trip, vae, text, config=config, defaults=defaults)


def load_system(
    folder: Path, device: torch.device | str, dtype: torch.dtype
) -> tuple[TRIP, SamplingDefaults]:
    """Load the UNet of a folder as TRIP with untrained fusion; return it and how it samples.

    Raises:
        ValueError: As ``load_folder``.
    """
    _index(folder)
    files = {part: _weights(folder / part, name) for part, name in _WEIGHTS.items()}
    trip = TRIP(_trip_config(folder))
    fill_module(trip.unet, read_tensors(files["unet"]), f"the UNet {files['unet']}")
    trip.to(device, dtype).eval().requires_grad_(False)
    halvings = len(_json(folder / "vae" / "config.json")["block_out_channels"]) - 1
    return trip, SamplingDefaults(size=_sample_size(folder) * 2**halvings)


def encoder_tensors(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights of a folder's autoencoder and text encoder, under their released names."""
    vae, text = (
        read_tensors(_weights(folder / part, _WEIGHTS[part])) for part in ("vae", "text_encoder")
    )
    return vae, text


def load_encoders(
    folder: Path, device: torch.device | str, dtype: torch.dtype
) -> tuple[FolderAutoencoder, FolderText]:
    """Load the autoencoder and the text encoder of a folder.

    Args:
        folder: Holds ``vae/``, ``text_encoder/`` and ``tokenizer/``.
        device: Where they are put.
        dtype: Type of the text encoder; the autoencoder stays in float32.

    Raises:
        ValueError: If one of them is missing, or is a pickle.
    """
    files = {part: _weights(folder / part, _WEIGHTS[part]) for part in ("vae", "text_encoder")}
    vae = FolderAutoencoder(_vae(folder, files["vae"])).to(device, torch.float32)
    text = FolderText(*_text(folder, files["text_encoder"])).to(device, dtype)
    for part in (vae, text):
        part.eval().requires_grad_(False)
    return vae, text


def folder_info(folder: Path) -> dict[str, Any]:
    """Describe a folder without loading it; see ``models.info``."""
    index = _index(folder)
    files = {part: _weights(folder / part, name) for part, name in _WEIGHTS.items()}
    headers = {part: read_header(file) for part, file in files.items()}
    config = _trip_config(folder)
    return {
        "path": str(folder),
        "kind": f"diffusers folder ({index['_class_name']}), TRIP with untrained fusion",
        "variant": "TRIP^W (untrained fusion)",
        "prediction_type": config.prediction_type,
        "bytes": sum(header.size for header in headers.values()),
        "parts": {part: summary(header.tensors) for part, header in headers.items()},
        "missing": [],
        "config": {"trip": config.to_dict()},
    }


def _index(folder: Path) -> dict[str, Any]:
    if not (folder / "model_index.json").is_file():
        raise ValueError(
            f"{folder} is a folder without model_index.json; give a .safetensors checkpoint or a "
            "folder in diffusers' layout"
        )
    index = _json(folder / "model_index.json")
    name = index.get("_class_name")
    if name not in PIPELINES:
        raise ValueError(
            f"{folder} holds a {name}, whose UNet TRIP cannot use; "
            f"give a ModelScopeT2V or ZeroScope folder ({' or '.join(PIPELINES)})"
        )
    return index


def _trip_config(folder: Path) -> TRIPConfig:
    """Return the full-size TRIP with the folder's own UNet sizes, schedule and target."""
    values = _json(folder / "unet" / "config.json")
    for name, fixed in _FIXED.items():
        if values.get(name, fixed) != fixed:
            raise ValueError(
                f"{folder}/unet/config.json has {name} = {values[name]!r}; "
                f"only {fixed!r} can be loaded"
            )
    known = {f.name for f in fields(VideoUNetConfig)}
    unet = VideoUNetConfig(**{k: v for k, v in values.items() if k in known})
    noise = _json(folder / "scheduler" / "scheduler_config.json")
    kind = noise.get("beta_schedule", "linear")
    if kind not in _SCHEDULES:
        raise ValueError(
            f"{folder}/scheduler has beta_schedule {kind!r}; known are {', '.join(_SCHEDULES)}"
        )
    schedule = ScheduleConfig(
        kind=_SCHEDULES[kind],  # type: ignore[arg-type]
        num_train_timesteps=noise.get("num_train_timesteps", 1000),
        beta_start=noise.get("beta_start", 0.0001),
        beta_end=noise.get("beta_end", 0.02),
        zero_terminal_snr=noise.get("rescale_betas_zero_snr", False),
    )
    preset = PRESETS["trip"]
    return replace(
        preset,
        unet=unet,
        fusion_config=replace(preset.fusion_config, channels=unet.out_channels),
        schedule=schedule,
        prediction_type=noise.get("prediction_type", "epsilon"),
    )


def _sample_size(folder: Path) -> int:
    """Return the short side, in latents, that the UNet was trained for."""
    size = _json(folder / "unet" / "config.json").get("sample_size") or 32
    return min(size) if isinstance(size, list) else int(size)


def _vae(folder: Path, file: Path) -> nn.Module:
    from diffusers import AutoencoderKL

    # diffusers itself, for it knows the older names of the attention's layers.
    return AutoencoderKL.from_pretrained(
        folder / "vae", use_safetensors=True, variant=_variant(file), local_files_only=True
    )


def _text(folder: Path, file: Path) -> tuple[Any, nn.Module]:
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder = CLIPTextModel.from_pretrained(
        folder / "text_encoder",
        use_safetensors=True,
        variant=_variant(file),
        local_files_only=True,
    )
    return tokenizer, encoder


def _weights(folder: Path, name: str) -> Path:
    """Return the weights of a part: full precision before half."""
    for ending in ("", ".fp16"):
        file = folder / f"{name}{ending}.safetensors"
        if file.is_file():
            return file
    pickles = [p.name for end in ("bin", "ckpt", "pt") for p in sorted(folder.glob(f"*.{end}"))]
    if pickles:
        raise ValueError(
            f"{folder} holds only a pickle, which can run code when opened, so it is refused; "
            f"convert it once, which runs nothing: python -m trip_core convert "
            f"{folder / pickles[0]} {folder / name}.safetensors"
        )
    raise ValueError(f"{folder}/{name}.safetensors is missing; get the whole folder")


def _variant(file: Path) -> str | None:
    return "fp16" if ".fp16." in file.name else None


def _json(file: Path) -> dict[str, Any]:
    try:
        values: Mapping[str, Any] = parse_json(file.read_text(encoding="utf-8"))
        return dict(values)
    except FileNotFoundError:
        raise ValueError(f"{file} is missing; get the whole folder") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is not JSON ({error}); get it again") from None
