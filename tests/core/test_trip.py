"""TRIP and its ablations, whole: real classes at a tiny size."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from trip_core import guidance
from trip_core.fusion import FusionConfig
from trip_core.guidance import text_guidance
from trip_core.nn.unet3d import VideoUNetConfig
from trip_core.prior import PriorWeights, blend_towards_still, prior_weight
from trip_core.sampling import initial_latents, sample, timesteps
from trip_core.schedule import ScheduleConfig
from trip_core.systems.trip import PRESETS, TRIP, Conditioning, TRIPConfig

B, C, F, H, W, L, D = 2, 4, 3, 8, 8, 5, 16

TINY = TRIPConfig(
    unet=VideoUNetConfig(
        in_channels=C,
        out_channels=C,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=D,
        attention_head_dim=8,
        norm_num_groups=4,
    ),
    fusion_config=FusionConfig(C, width=16, num_heads=2),
)
MOTION = replace(
    TINY,
    unet=replace(TINY.unet, in_channels=2 * C + 1),
    motion=True,
    prior=PriorWeights(1.0, 1.0, 0.0),
    prediction_type="v_prediction",
)
VARIANTS = {
    "trip": TINY,
    "trip_minus": replace(TINY, fusion="none"),
    "trip_w": replace(TINY, fusion="linear"),
    "trip_c": replace(TINY, unet=replace(TINY.unet, in_channels=2 * C), conditioning="channels"),
    "trip_te": replace(TINY, conditioning="time_end"),
    "motion": MOTION,
    "motion_w": replace(MOTION, fusion="linear"),
    "motion_te": replace(MOTION, conditioning="time_end"),
    "motion_c": replace(
        MOTION, unet=replace(MOTION.unet, in_channels=3 * C + 1), conditioning="channels"
    ),
}


def build(config, seed=0, untrained=False):
    """A TRIP with every parameter away from zero, but an untrained fusion if asked for."""
    model = TRIP(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if untrained and name.startswith("fusion."):
                continue
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2 + 0.5 * (p.ndim == 1))
    return model.eval()


@pytest.fixture
def clip(generator):
    """Arguments of forward, by name, for a config with or without motion."""
    z_t = torch.randn(B, C, F, H, W, generator=generator)
    still = torch.randn(B, C, H, W, generator=generator)
    text = torch.randn(B, L, D, generator=generator)
    warped = torch.randn(B, C, F, H, W, generator=generator)
    visibility = torch.rand(B, 1, F, H, W, generator=generator)

    def arguments(config):
        base = {"z_t": z_t, "timesteps": torch.tensor([30, 700]), "text": text, "still": still}
        return base | ({"warped": warped, "visibility": visibility} if config.motion else {})

    return arguments


def bound(arguments):
    """The conditioning of forward's arguments."""
    return Conditioning(**{k: v for k, v in arguments.items() if k not in ("z_t", "timesteps")})


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_predicts_every_frame_and_learns(clip, name, generator):
    model = build(VARIANTS[name])
    out = model(**clip(VARIANTS[name]))
    assert out.x0.shape == out.residual_x0.shape == (B, C, F, H, W)
    assert out.x0.dtype == torch.float32
    assert (out.gate is None) == (name == "trip_minus")
    (out.x0 * torch.randn(out.x0.shape, generator=generator)).sum().backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), key


def test_untrained_trip_is_linear_fusion(clip):
    trip = build(TINY, untrained=True)
    linear = build(VARIANTS["trip_w"])
    torch.testing.assert_close(trip(**clip(TINY)).x0, linear(**clip(TINY)).x0, rtol=1e-5, atol=1e-5)


def test_without_a_shortcut_or_at_weight_zero_it_is_trip_minus(clip):
    minus = build(VARIANTS["trip_minus"])(**clip(TINY)).x0
    linear = build(VARIANTS["trip_w"])
    assert torch.equal(linear(**clip(TINY), prior=PriorWeights(0, 0)).x0, minus)
    trip = build(TINY, untrained=True)
    ours = trip(**clip(TINY), prior=PriorWeights().scaled(0.0)).x0
    torch.testing.assert_close(ours, minus, rtol=1e-5, atol=1e-5)


def test_linear_fusion_blends_what_the_network_says_with_the_still(clip):
    model = build(VARIANTS["trip_w"])
    arguments = clip(TINY)
    out = model(**arguments)
    weight = prior_weight(F, model.schedule.alpha_bar(arguments["timesteps"]))
    expected = blend_towards_still(out.residual_x0, arguments["still"], weight)
    assert torch.equal(out.x0, expected)
    assert torch.equal(out.x0[:, :, 0], arguments["still"])


def test_a_flow_of_zero_is_trip_exactly(clip):
    """Warped still = still, full trust: fusion gives what TRIP gives for the same residual."""
    arguments = clip(MOTION)
    model = build(MOTION)
    arguments["warped"] = arguments["still"].unsqueeze(2).expand(-1, -1, F, -1, -1)
    arguments["visibility"] = torch.ones(B, 1, F, H, W)

    paper = build(replace(TINY, prediction_type="v_prediction", prior=MOTION.prior))
    paper.fusion.load_state_dict(model.fusion.state_dict())
    # The same residual network, blind to the channels that say nothing new.
    state = model.unet.state_dict()
    state["conv_in.weight"] = state["conv_in.weight"][:, :C]
    paper.unet.load_state_dict(state)
    silent = model.unet.conv_in.weight.detach().clone()
    silent[:, C:] = 0
    model.unet.load_state_dict({**model.unet.state_dict(), "conv_in.weight": silent})
    ours, theirs = model(**arguments), paper(**clip(paper.config))
    torch.testing.assert_close(ours.x0, theirs.x0, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.gate, theirs.gate)


def test_motion_takes_the_prior_with_respect_to_the_warped_still(clip):
    arguments = clip(MOTION)
    model = build(MOTION, untrained=True)
    arguments["visibility"] = torch.ones(B, 1, F, H, W)
    out = model(**arguments)
    torch.testing.assert_close(out.x0, arguments["warped"], rtol=0, atol=1e-5)
    arguments["visibility"] = torch.zeros(B, 1, F, H, W)
    out = model(**arguments)
    torch.testing.assert_close(out.x0, out.residual_x0, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["trip", "motion", "trip_c", "trip_te"])
def test_a_denoiser_is_forward_with_its_conditioning_bound(clip, name):
    arguments = clip(VARIANTS[name])
    model = build(VARIANTS[name])
    denoise = model.denoiser(bound(arguments))
    torch.testing.assert_close(
        denoise(arguments["z_t"], arguments["timesteps"]), model(**arguments).x0
    )


def test_an_item_does_not_depend_on_its_batch(clip):
    arguments = clip(MOTION)
    model = build(MOTION)
    alone = model(**{k: v[1:] for k, v in arguments.items()}).x0
    torch.testing.assert_close(alone, model(**arguments).x0[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["trip", "motion"])
def test_guidance_in_one_batch_or_two(clip, name, monkeypatch):
    arguments = clip(VARIANTS[name])
    model = build(VARIANTS[name])
    cond = bound(arguments)
    uncond = replace(cond, text=torch.zeros_like(cond.text))
    inputs = arguments["z_t"], arguments["timesteps"]

    def guided(free):
        monkeypatch.setattr(guidance, "batch_bytes", lambda _: free)
        return text_guidance(model.denoiser(cond), model.denoiser(uncond), 7.5)(*inputs)

    torch.testing.assert_close(guided(0), guided(2**40), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "euler", "unipc"])
def test_a_whole_clip_by_every_sampler(clip, sampler):
    arguments = clip(MOTION)
    model = build(replace(MOTION, schedule=ScheduleConfig("cosine")), untrained=True)
    first = timesteps(model.schedule, sampler=sampler, steps=3)[0]

    def run():
        seed = torch.Generator().manual_seed(3)
        z_T = initial_latents(arguments["warped"], F, model.schedule, first, seed)
        denoise = model.denoiser(bound(arguments))
        return sample(denoise, z_T, model.schedule, sampler=sampler, steps=3)

    x0 = run()
    assert x0.shape == (B, C, F, H, W) and torch.isfinite(x0).all()
    assert torch.equal(run(), x0)
    # Where the warp can wholly be trusted, the clip is the warp, whatever the network says.
    arguments["visibility"] = torch.ones(B, 1, F, H, W)
    torch.testing.assert_close(run(), arguments["warped"], rtol=0, atol=2e-4)


def test_half_precision_weights_float32_prior(clip):
    model = build(VARIANTS["trip_w"])
    arguments = clip(TINY)
    exact = model(**arguments).x0
    arguments["text"] = arguments["text"].bfloat16()
    close = model.bfloat16()(**arguments)
    assert close.x0.dtype == torch.float32
    assert torch.equal(close.x0[:, :, 0], arguments["still"])
    assert (close.x0 - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_computing_in_another_dtype_than_the_weights(clip):
    """A host may store weights in one dtype and cast them, in its layers' forward, to another."""

    def casting(layer):
        class Casting(layer):
            def forward(self, x):
                return layer.forward(copy.deepcopy(self).to(x.dtype), x)

        return Casting

    names = ("Conv1d", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm", "Linear")
    ops = SimpleNamespace(**{name: casting(getattr(torch.nn, name)) for name in names})
    stored = build(TINY).bfloat16()
    host = TRIP(TINY, ops=ops).bfloat16().eval()
    host.load_state_dict(stored.state_dict())
    host.compute_dtype = torch.float32
    arguments = clip(TINY)
    torch.testing.assert_close(
        host(**arguments).x0, stored.float()(**arguments).x0, rtol=1e-4, atol=1e-4
    )


def test_a_few_steps_of_training_lower_the_loss(clip):
    torch_generator = torch.Generator().manual_seed(1)
    model = TRIP(MOTION)
    arguments = clip(MOTION)
    target = torch.randn(B, C, F, H, W, generator=torch_generator)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(6):
        loss = (model(**arguments).x0 - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_and_survive_json(name):
    config = PRESETS[name]
    assert TRIPConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with torch.device("meta"):
        model = TRIP(config)
    assert {key.split(".")[0] for key in model.state_dict()} == (
        {"unet", "fusion"} if config.fusion == "tnf" else {"unet"}
    )
    size = sum(p.numel() for p in model.parameters())
    assert size < 4.5e6 if name.startswith("small") else 1.41e9 < size < 1.42e9


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(TINY, conditioning="middle"), "time_head, time_end, channels; got"),
        (lambda: replace(TINY, fusion="sum"), "none, linear, tnf; got 'sum'"),
        (lambda: replace(TINY, motion=True), "in_channels must be 9; got 4"),
        (lambda: replace(TINY, fusion_config=FusionConfig(16)), "latents', 4; got 16"),
        (
            lambda: replace(TINY, schedule=ScheduleConfig(zero_terminal_snr=True)),
            "v_prediction",
        ),
        (lambda: TRIPConfig.from_dict({"speed": 1}), "unknown key 'speed' in the TRIP config"),
        (lambda: TRIPConfig.from_dict({"unet": {"depth": 1}}), "unknown key 'depth' .* unet"),
    ],
)
def test_a_wrong_config_is_one_sentence(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)


def test_wrong_inputs_are_one_sentence(clip):
    trip, motion = build(VARIANTS["trip_w"]), build(MOTION)
    with pytest.raises(ValueError, match=r"\[B, 4, F, h, w\]; got \(2, 3, 3, 8, 8\)"):
        trip(**{**clip(TINY), "z_t": torch.zeros(B, 3, F, H, W)})
    with pytest.raises(ValueError, match=r"still must be \[B, C, h, w\]"):
        trip(**{**clip(TINY), "still": torch.zeros(B, C, F, H, W)})
    with pytest.raises(ValueError, match=r"\(2, 4, 8, 4\)"):
        trip(**{**clip(TINY), "still": torch.zeros(B, C, H, 4)})
    with pytest.raises(ValueError, match="leave warped and visibility out"):
        trip(**clip(MOTION))
    with pytest.raises(ValueError, match=r"got None and None"):
        motion(**clip(TINY))
