"""Laws of temporal noise fusion."""

import pytest
import torch

from trip_core.fusion import FusionConfig, TemporalNoiseFusion, compress_gate
from trip_core.prediction import x0_from
from trip_core.prior import (
    blend_towards_still,
    image_noise_prior,
    prior_weight,
    scaled_image_noise_prior,
)
from trip_core.schedule import noise_schedule

BATCH, CHANNELS, FRAMES, SIZE = 2, 4, 3, 8
CONFIGS = {
    "paper": FusionConfig(CHANNELS, width=16, num_heads=2),
    "patches": FusionConfig(CHANNELS, width=16, num_heads=2, num_blocks=2, patch_size=2),
    "no gate": FusionConfig(CHANNELS, width=16, num_heads=2, gate=False),
}


def train_a_little(module, generator):
    """Give every parameter, the zero ones too, a value as training would."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    return module


@pytest.fixture
def paths(generator):
    """The arguments of fusion for random clips at a high and a low timestep."""
    shape = (BATCH, CHANNELS, FRAMES, SIZE, SIZE)
    timesteps = torch.tensor([20, 800])
    alpha_bar = noise_schedule().alpha_bar(timesteps)
    z_t, residual = (torch.randn(shape, generator=generator) for _ in range(2))
    still = torch.randn(BATCH, CHANNELS, SIZE, SIZE, generator=generator)
    return {
        "scaled_prior": scaled_image_noise_prior(z_t, still, alpha_bar),
        "residual": residual,
        "still": still,
        "residual_x0": x0_from(residual, z_t, alpha_bar, "epsilon"),
        "trust": prior_weight(FRAMES, alpha_bar),
        "timesteps": timesteps,
        "alpha_bar": alpha_bar,
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_untrained_it_is_linear_fusion(paths, name):
    fused = TemporalNoiseFusion(CONFIGS[name])(**paths)
    expected = blend_towards_still(paths["residual_x0"], paths["still"], paths["trust"])
    torch.testing.assert_close(fused.x0, expected, rtol=1e-5, atol=1e-5)
    # The ends of the trust are reached: the first frame is the still, the last one the network's.
    torch.testing.assert_close(fused.x0[:, :, 0], paths["still"], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        fused.x0[:, :, -1], paths["residual_x0"][:, :, -1], rtol=1e-5, atol=1e-5
    )


def test_a_trust_of_its_own_for_every_pixel(paths, generator):
    trust = torch.rand(BATCH, 1, FRAMES, SIZE, SIZE, generator=generator).round(decimals=1)
    fused = TemporalNoiseFusion(CONFIGS["patches"])(**{**paths, "trust": trust})
    torch.testing.assert_close(fused.gate, trust, rtol=0, atol=1e-6)
    torch.testing.assert_close(fused.gate_logits.sigmoid(), compress_gate(trust))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_learns(paths, name, generator):
    fusion = train_a_little(TemporalNoiseFusion(CONFIGS[name]), generator)
    fusion(**paths).x0.square().mean().backward()
    for key, p in fusion.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), key
        assert p.grad.abs().max() > 0, key


def test_full_trust_can_still_be_unlearned(paths):
    fusion = TemporalNoiseFusion(CONFIGS["paper"])
    trust = torch.ones(BATCH, 1, FRAMES, 1, 1)
    fused = fusion(**{**paths, "trust": trust})
    (grad,) = torch.autograd.grad(fused.x0.square().sum(), fusion.proj_out.bias)
    assert grad[-1].abs() > 1e-3


def test_each_frame_by_itself(paths, generator):
    """The tokens are those of one frame: no frame or item changes another's result."""
    fusion = train_a_little(TemporalNoiseFusion(CONFIGS["patches"]), generator)
    whole = fusion(**paths).x0
    flipped = {k: v.flip(2) if v.ndim == 5 else v for k, v in paths.items()}
    torch.testing.assert_close(fusion(**flipped).x0, whole.flip(2), rtol=1e-4, atol=1e-5)
    alone = fusion(**{k: v[1:] for k, v in paths.items()}).x0
    torch.testing.assert_close(alone, whole[1:], rtol=1e-4, atol=1e-5)


def test_it_depends_on_the_time_and_on_the_prior(paths, generator):
    fusion = train_a_little(TemporalNoiseFusion(CONFIGS["paper"]), generator)
    whole = fusion(**paths).x0
    later = fusion(**{**paths, "timesteps": paths["timesteps"] + 100}).x0
    other = fusion(**{**paths, "scaled_prior": paths["scaled_prior"].flip(-1)}).x0
    assert (later - whole).abs().max() > 1e-3 and (other - whole).abs().max() > 1e-3


def test_bounded_at_the_smallest_timestep(paths, generator):
    fusion = train_a_little(TemporalNoiseFusion(CONFIGS["paper"]), generator)
    alpha_bar = torch.full((BATCH,), 1 - 1e-6)
    noisy = paths["residual"], paths["still"], alpha_bar
    assert image_noise_prior(*noisy).abs().max() > 1e3
    prior = scaled_image_noise_prior(*noisy)
    fused = fusion(**{**paths, "scaled_prior": prior, "alpha_bar": alpha_bar})
    blend = blend_towards_still(paths["residual_x0"], paths["still"], fused.gate)
    assert (fused.x0 - blend).abs().max() < 0.1


def test_half_precision_attention_float32_merge(paths, generator):
    fusion = train_a_little(TemporalNoiseFusion(CONFIGS["patches"]), generator)
    exact = fusion(**paths)
    half = {k: paths[k].bfloat16() for k in ("scaled_prior", "residual")}
    close = fusion.bfloat16()(**{**paths, **half})
    assert close.x0.dtype == torch.float32
    assert (close.x0 - exact.x0).abs().mean() < 0.05 * exact.x0.abs().mean()


def test_wrong_use_is_one_sentence(paths):
    with pytest.raises(
        ValueError, match="multiple of 4 and of num_heads; got channels=4, width=18"
    ):
        FusionConfig(4, width=18, num_heads=2)
    fusion = TemporalNoiseFusion(FusionConfig(CHANNELS, width=16, num_heads=2, patch_size=3))
    with pytest.raises(ValueError, match=r"3 x 3 .* got 8 x 8"):
        fusion(**paths)
