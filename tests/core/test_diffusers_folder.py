"""Laws of diffusers' folders: the released layout loads, and computes what diffusers computes."""

import json
import shutil

import pytest
import torch

from trip_core.models import info
from trip_core.pipeline import animate
from trip_core.trip_file import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A ModelScopeT2V folder at the smallest sizes, written by diffusers and transformers."""
    from diffusers import AutoencoderKL, DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    target = tmp_path_factory.mktemp("modelscope")
    words = target / "words"
    words.mkdir()
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (words / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    pipeline = TextToVideoSDPipeline(
        unet=UNet3DConditionModel(
            sample_size=16,
            block_out_channels=(32, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=16,
            attention_head_dim=8,
        ),
        vae=AutoencoderKL(
            block_out_channels=(16, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=8,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokens),
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                bos_token_id=len(tokens) - 2,
                eos_token_id=len(tokens) - 1,
            )
        ),
        tokenizer=CLIPTokenizer(
            str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=77
        ),
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
        ),
    )
    pipeline.save_pretrained(target)
    return target


def test_it_loads_as_trip_with_untrained_fusion(folder):
    from diffusers import UNet3DConditionModel

    model = load_model(folder)
    config = model.trip.config
    assert model.defaults.size == 32
    assert model.motion is None and config.fusion == "tnf" and not config.motion
    assert config.unet.block_out_channels == (32, 32)
    assert (config.prediction_type, config.schedule.kind) == ("epsilon", "scaled_linear")

    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 3, 8, 8, generator=generator)
    text = model.text.encode(["abc"])
    assert text.shape == (1, 77, 16)
    theirs = UNet3DConditionModel.from_pretrained(folder / "unet").eval()
    with torch.no_grad():
        expected = theirs(latents, 7, text).sample
        found = model.trip.unet(latents, torch.tensor([7]), text)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_its_autoencoder_speaks_scaled_latents(folder):
    model = load_model(folder)
    pixels = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = model.vae.encode(pixels)
    assert model.vae.downscale == 2 and latents.shape == (2, 4, 8, 12)
    raw = model.vae.vae.encode(pixels).latent_dist.mode()
    torch.testing.assert_close(latents, 0.18215 * raw)
    assert model.vae.decode(latents).shape == pixels.shape


def test_it_animates(folder):
    still = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    frames = list(animate(load_model(folder), still, "abc", num_frames=2, steps=1).frames)
    assert len(frames) == 2 and all(torch.isfinite(frame).all() for frame in frames)


def test_info_counts_its_parts(folder):
    facts = info(folder)
    assert set(facts["parts"]) == {"unet", "vae", "text_encoder"}
    assert "TextToVideoSDPipeline" in facts["kind"]


def test_what_is_wrong_with_a_folder_is_said_in_one_sentence(folder, tmp_path):
    def refused(words):
        with pytest.raises(ValueError, match=words) as caught:
            load_model(broken)
        assert "\n" not in str(caught.value)

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    unet = broken / "unet" / "diffusion_pytorch_model.safetensors"
    unet.write_bytes(unet.read_bytes()[:-100])
    refused("truncated")
    unet.rename(unet.with_suffix(".bin"))
    refused("holds only a pickle, .*trip_core convert")
    unet.with_suffix(".bin").unlink()
    refused("diffusion_pytorch_model.safetensors is missing")
    (broken / "unet" / "config.json").unlink()
    shutil.copy(folder / "unet" / unet.name, unet)
    refused("config.json is missing")
    config = json.loads((folder / "unet" / "config.json").read_text())
    (broken / "unet" / "config.json").write_text(json.dumps({**config, "act_fn": "gelu"}))
    refused("act_fn")
    config["cross_attention_dim"] = 24
    (broken / "unet" / "config.json").write_text(json.dumps(config))
    refused(r"does not fit its config: '.*attn2.to_k.weight' is \[32, 16\]")
    (broken / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    refused("holds a StableDiffusionPipeline")
