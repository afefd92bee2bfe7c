"""A ModelScopeT2V folder in models/trip: the host's own VAE and CLIP, and the core's latents."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.host.conftest import error_of
from tests.host.graphs import combine, node, prepared, sampled
from trip_core.pipeline import animate
from trip_core.stills import read_still
from trip_core.trip_file import load_model


@pytest.fixture(scope="module")
def folder(base, host_folder):
    """The released layout at small sizes, with the released tokenizer's files from the host."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet3DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    target = base / "models" / "trip" / "modelscope"
    words = host_folder / "comfy" / "sd1_tokenizer"
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=1,
            hidden_act="gelu",
        )
    )
    # The host takes what comes before a file's last layer; released files have one fewer.
    last = getattr(text, "text_model", text).encoder.layers[-1]
    for layer in (last.self_attn.out_proj, last.mlp.fc2):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    parts = {
        "unet": UNet3DConditionModel(
            sample_size=8,
            block_out_channels=(32, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=64,
            attention_head_dim=8,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(32,) * 4,
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        ),
        "text_encoder": text,
        "tokenizer": CLIPTokenizer(
            str(words / "vocab.json"), str(words / "merges.txt"), pad_token="!", model_max_length=77
        ),
        "scheduler": DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
        ),
    }
    for name, part in parts.items():
        part.save_pretrained(target / name)
    file = target / "text_encoder" / "model.safetensors"  # newer versions leave the prefix out
    weights = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    (target / "model_index.json").write_text('{"_class_name": "TextToVideoSDPipeline"}')
    yield target
    shutil.rmtree(target)


def test_the_graph_gives_the_latents_of_the_core(comfy, base, folder):
    graph = prepared(folder.name) | {
        "6": sampled(cfg=1.5),
        "7": node("SaveLatent", samples=["6", 0], filename_prefix="modelscope"),
        "8": combine(latent=["6", 0], vae=["1", 2]),
    }
    outputs = comfy.outputs(graph)
    latents = load_file(comfy.path(outputs["7"]["latents"][0]))["latent_tensor"]
    clip = animate(
        load_model(folder),
        read_still(base / "input" / "still.png"),
        "the camera pans left",
        num_frames=5,
        steps=4,
        guidance_scale=1.5,
        seed=7,
    )
    assert clip.latents is not None
    ours = latents * 0.18215  # the host's wires carry unscaled latents
    torch.testing.assert_close(ours, clip.latents[0].movedim(0, 1), atol=5e-3, rtol=0)
    assert comfy.path(outputs["8"]["images"][0]).stat().st_size > 500


@pytest.mark.parametrize(
    ("part", "name", "words"),
    [
        ("vae", "decoder.conv_norm_out.weight", "'decoder.norm_out.weight' [32] is missing"),
        ("text_encoder", "text_model.final_layer_norm.bias", "final_layer_norm.bias' [64] is mis"),
    ],
)
def test_a_damaged_folder_is_one_sentence(comfy, folder, part, name, words):
    (file,) = (folder / part).glob("*.safetensors")
    whole, tensors = file.read_bytes(), load_file(file)
    del tensors[name]
    save_file(tensors, file, {"format": "pt"})
    try:
        message = error_of(
            comfy.run(prepared(folder.name) | {"6": combine(latent=["5", 2], vae=["1", 2])})
        )
    finally:
        file.write_bytes(whole)
    assert words in message and folder.name in message and "\n" not in message, message
