"""Laws and parity of the noise schedule."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trip_core.schedule import NoiseSchedule, ScheduleConfig, noise_schedule

FIXTURES = Path(__file__).parents[1] / "fixtures"
KINDS = ("scaled_linear", "linear", "cosine")


@pytest.mark.parametrize("kind", KINDS)
def test_signal_falls_from_one_to_nearly_nothing(kind):
    table = noise_schedule(kind).alphas_cumprod
    assert table.dtype == torch.float64 and table.shape == (1000,)
    assert (table.diff() < 0).all()
    assert table[0] > 0.999 and 0 < table[-1] < 0.05


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_parity_with_lvdm(zero_terminal_snr):
    name = "scaled_linear_zero_terminal_snr" if zero_terminal_snr else "scaled_linear"
    ref = load_file(FIXTURES / "schedules.safetensors")[name]
    ours = noise_schedule(zero_terminal_snr=zero_terminal_snr).alphas_cumprod
    torch.testing.assert_close(ours, ref, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [("scaled_linear", "scaled_linear"), ("linear", "linear"), ("cosine", "squaredcos_cap_v2")],
)
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_parity_with_diffusers(kind, theirs, zero_terminal_snr):
    from diffusers import DDIMScheduler

    ref = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule=theirs,
        rescale_betas_zero_snr=zero_terminal_snr,
    ).alphas_cumprod
    ours = noise_schedule(kind, zero_terminal_snr=zero_terminal_snr)
    # Theirs is a running product in float32.
    torch.testing.assert_close(ours.alpha_bar(torch.arange(1000)), ref, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_terminal_snr_keeps_the_start_and_empties_the_end(kind):
    plain = noise_schedule(kind).alphas_cumprod
    zero = noise_schedule(kind, zero_terminal_snr=True).alphas_cumprod
    assert zero[-1] == 0
    torch.testing.assert_close(zero[0], plain[0], rtol=1e-12, atol=0)


def test_alpha_bar_reads_integers_and_interpolates_floats():
    schedule = noise_schedule()
    t = torch.tensor([[0, 500], [998, 999]])
    assert schedule.alpha_bar(t).dtype == torch.float32
    assert torch.equal(schedule.alpha_bar(t), schedule.alphas_cumprod[t].float())
    assert torch.equal(schedule.alpha_bar(t.float()), schedule.alpha_bar(t))
    low, mid, high = schedule.alpha_bar(torch.tensor([10.0, 10.5, 11.0]))
    assert low > mid > high


def test_noised_latents_keep_unit_variance(generator):
    schedule = noise_schedule("cosine")
    x0 = torch.randn(3, 4, 50, 50, generator=generator)
    noise = torch.randn(3, 4, 50, 50, generator=generator)
    z = schedule.add_noise(x0, noise, torch.tensor([0, 500, 999]))
    assert (z.var((1, 2, 3)) - 1).abs().max() < 0.05
    torch.testing.assert_close(z[2], noise[2], atol=1e-3, rtol=0)


def test_a_config_builds_what_it_says():
    config = ScheduleConfig("linear", 50, 0.001, 0.02, zero_terminal_snr=True)
    ref = noise_schedule("linear", 50, 0.001, 0.02, zero_terminal_snr=True)
    assert torch.equal(config.build().alphas_cumprod, ref.alphas_cumprod)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: noise_schedule("sigmoid"), "sigmoid"),
        (lambda: noise_schedule(num_train_timesteps=1), "at least 2; got 1"),
        (lambda: noise_schedule(beta_start=0.1, beta_end=0.01), "beta_start=0.1"),
        (lambda: NoiseSchedule(torch.tensor([0.5, 0.6], dtype=torch.float64)), "fall strictly"),
        (lambda: NoiseSchedule(torch.tensor([0.6, 0.5])), "float64"),
    ],
)
def test_wrong_use_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
