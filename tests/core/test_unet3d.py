"""The video UNet gives the numbers of ``diffusers.UNet3DConditionModel``, key for key.

The fixture holds inputs and outputs of that class. Its weights are not stored: they were drawn from
one generator, tensor after tensor in the order of their names, as ``weights`` does.
"""

import copy
import gzip
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from trip_core.bench_networks import SIZES
from trip_core.nn.unet3d import VideoUNet, VideoUNetConfig, enable_gradient_checkpointing

FIXTURES = Path(__file__).parents[1] / "fixtures"
TINY = VideoUNetConfig(
    down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
    up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    block_out_channels=(32, 64),
    layers_per_block=1,
    cross_attention_dim=64,
    attention_head_dim=16,
)
CONFIGS = {
    "tiny": TINY,
    "two layers, odd channels in": replace(TINY, layers_per_block=2, in_channels=9, out_channels=5),
    "three levels": VideoUNetConfig(
        down_block_types=("DownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        cross_attention_dim=48,
        attention_head_dim=32,
        norm_num_groups=16,
        norm_eps=1e-6,
    ),
}


def weights(model, seed):
    """Draw all parameters anew, so that no layer that starts at zero hides an error."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, tensor in sorted(model.state_dict().items()):
        noise = torch.randn(tensor.shape, generator=generator)
        if noise.ndim == 1:
            made[name] = 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
        else:
            made[name] = noise / noise[0].numel() ** 0.5
    return made


def build(config=TINY, seed=0, **options):
    unet = VideoUNet(config, **options).eval()
    unet.load_state_dict(weights(unet, seed))
    return unet


def inputs(config=TINY, batch=2, frames=5, size=(8, 12), tokens=7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(batch, config.in_channels, frames, *size, generator=generator)
    text = torch.randn(batch, tokens, config.cross_attention_dim, generator=generator)
    return sample, torch.tensor([999, 3, 500, 77])[:batch], text


def error(ours, theirs):
    return (ours - theirs).abs().max().item()


def test_equals_the_published_numbers():
    with safe_open(FIXTURES / "modelscope_unet3d.safetensors", framework="pt") as file:
        get = file.get_tensor
        seed = int(file.metadata()["seed"])
        args, out = [get(key) for key in ("sample", "timesteps", "context")], get("out")
    with torch.no_grad():
        assert error(build(seed=seed)(*args), out) < 1e-5


def test_has_every_tensor_of_the_released_model():
    manifest = json.loads(gzip.decompress((FIXTURES / "modelscope_unet3d.json.gz").read_bytes()))
    with torch.device("meta"):
        unet = VideoUNet(VideoUNetConfig())
    assert {k: list(v.shape) for k, v in unet.state_dict().items()} == manifest
    assert len(manifest) == 1480


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_installed_diffusers_class(name):
    from diffusers import UNet3DConditionModel

    config = CONFIGS[name]
    ours, theirs = build(config), UNet3DConditionModel(**asdict(config)).eval()
    theirs.load_state_dict(ours.state_dict())
    for batch, frames, size in ((1, 1, (8, 8)), (2, 5, (8, 12)), (1, 16, (16, 8)), (1, 3, (10, 6))):
        sample, timesteps, text = inputs(config, batch, frames, size)
        with torch.no_grad():
            expected = theirs(sample, timesteps, text).sample
            assert error(ours(sample, timesteps, text), expected) < 1e-5, (batch, frames, size)


def test_equals_the_installed_diffusers_class_at_the_middle_size():
    """Half the channels of the full size; 1e-5 of the numbers, which are of the order of 1."""
    from diffusers import UNet3DConditionModel

    config, shape, tokens = SIZES["middle"]
    ours, theirs = build(config), UNet3DConditionModel(**asdict(config)).eval()
    theirs.load_state_dict(ours.state_dict())
    given = inputs(config, 1, shape[0], shape[1:], tokens)
    with torch.no_grad():
        expected = theirs(*given).sample
        torch.testing.assert_close(ours(*given), expected, rtol=1e-5, atol=1e-5)


def test_equals_diffusers_with_residuals_from_outside():
    from diffusers import UNet3DConditionModel

    ours, theirs = build(), UNet3DConditionModel(**asdict(TINY)).eval()
    theirs.load_state_dict(ours.state_dict())
    sample, timesteps, text = inputs()
    generator = torch.Generator().manual_seed(2)
    shapes = [(32, 8, 12), (32, 8, 12), (32, 4, 6), (64, 4, 6)]
    down = [torch.randn(2, c, 5, h, w, generator=generator) for c, h, w in shapes]
    mid = torch.randn(2, 64, 5, 4, 6, generator=generator)

    def frames(x):
        return x.transpose(1, 2).flatten(0, 1)

    with torch.no_grad():
        expected = theirs(
            sample,
            timesteps,
            text,
            down_block_additional_residuals=tuple(map(frames, down)),
            mid_block_additional_residual=frames(mid),
        ).sample
        assert error(ours(sample, timesteps, text, down, mid), expected) < 1e-5


def test_torch_nn_gives_the_same_numbers():
    sample, timesteps, text = inputs(frames=16)
    with torch.no_grad():
        ours = build()(sample, timesteps, text)
        assert error(build(ops=torch.nn)(sample, timesteps, text), ours) < 1e-5


def test_text_may_be_projected_beforehand_and_per_frame():
    unet = build()
    sample, timesteps, text = inputs()
    with torch.no_grad():
        plain = unet(sample, timesteps, text)
        assert torch.equal(unet(sample, timesteps, unet.text_keys_values(text)), plain)
        per_frame = text[:, None].repeat(1, 5, 1, 1)
        assert error(unet(sample, timesteps, per_frame), plain) < 1e-5
        per_frame[:, 2] += 1
        assert error(unet(sample, timesteps, per_frame), plain) > 1e-3


def test_clips_of_a_batch_do_not_touch_each_other():
    unet = build()
    sample, timesteps, text = inputs()
    with torch.no_grad():
        both = unet(sample, timesteps, text)
        for i in range(2):
            row = slice(i, i + 1)
            assert error(unet(sample[row], timesteps[row], text[row]), both[row]) < 1e-5


def test_starts_as_an_image_model():
    """The last temporal convolution starts at zero, so a temporal block changes nothing."""
    temporal = VideoUNet(TINY).down_blocks[0].temp_convs[0]
    x = torch.randn(1, 4, 6, 6, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(temporal(x), x)


def test_gradient_checkpointing_changes_no_gradient():
    unet = build().train()
    sample, timesteps, text = inputs(frames=4, size=(4, 4))
    gradients = []
    for enabled in (False, True):
        unet.zero_grad()
        enable_gradient_checkpointing(unet, enabled)
        unet(sample, timesteps, text).square().mean().backward()
        gradients.append({k: p.grad.clone() for k, p in unet.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_gradients_equal_those_of_plain_layers():
    """The CPU's own paths (products as convolutions, norms by float32) are differentiable."""
    sample, timesteps, text = inputs(frames=16, size=(4, 4))
    gradients = []
    for options in ({}, {"ops": torch.nn}):
        unet = build(**options)
        unet(sample, timesteps, text).square().mean().backward()
        gradients.append([p.grad for _, p in sorted(unet.named_parameters())])
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("cast", [False, True])
def test_bfloat16_stays_close(cast):
    sample, timesteps, text = inputs()
    unet = build()
    with torch.no_grad():
        exact = unet(sample, timesteps, text)
        if cast:
            with torch.autocast("cpu", torch.bfloat16):
                rough = unet(sample, timesteps, text)
        else:
            unet = copy.deepcopy(unet).bfloat16()
            rough = unet(sample.bfloat16(), timesteps, text.bfloat16())
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).norm() / exact.norm() < 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_out_channels": (32,)}, "as many down blocks"),
        ({"down_block_types": ("DownBlock3D", "Nonsense")}, "Unknown block type 'Nonsense'"),
        ({"attention_head_dim": 48}, "48 does not divide 32"),
        ({"norm_num_groups": 24}, "24 does not divide 32"),
    ],
)
def test_refuses_a_config_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_refuses_text_of_another_width():
    sample, timesteps, text = inputs()
    with pytest.raises(ValueError, match="63 wide; this network reads tokens of width 64"):
        build()(sample, timesteps, text[..., :63])


def test_config_survives_json():
    assert VideoUNetConfig(**json.loads(json.dumps(asdict(TINY)))) == TINY


def test_compiles_without_a_break():
    shallow = replace(
        TINY,
        down_block_types=("CrossAttnDownBlock3D",),
        up_block_types=("UpBlock3D",),
        block_out_channels=(32,),
    )
    unet = build(shallow)
    args = inputs(shallow, frames=3, size=(4, 4))
    with torch.no_grad():
        compiled = torch.compile(unet, backend="eager", fullgraph=True)
        assert error(compiled(*args), unet(*args)) < 1e-5
