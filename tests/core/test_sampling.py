"""Samplers against a known answer, against diffusers, and against themselves."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trip_core.prediction import x0_from
from trip_core.prior import blend_towards_still
from trip_core.sampling import Step, draw_noise, initial_latents, sample, timesteps
from trip_core.schedule import NoiseSchedule, dynamic_rescale, noise_schedule

SAMPLERS = ("ddim", "dpmpp_2m", "euler", "unipc")
SCHEDULES = {
    "scaled_linear": noise_schedule(),
    "cosine": noise_schedule("cosine"),
    "zero_terminal_snr": noise_schedule(zero_terminal_snr=True),
}
FIXTURES = Path(__file__).parents[1] / "fixtures"
SHAPE = (2, 3, 4, 5, 6)


def gaussian_denoiser(schedule, mean=0.3, std=0.5):
    """The exact denoiser of latents ~ N(mean, std^2); its flow is known in closed form."""

    def denoise(z_t, t):
        a = schedule.alpha_bar(t).view(-1, 1, 1, 1, 1)
        variance = a * std**2 + 1 - a
        return mean + a.sqrt() * std**2 / variance * (z_t - a.sqrt() * mean)

    return denoise


def flow_of(z_t, alpha_bar, mean=0.3, std=0.5):
    """Where the exact probability flow carries ``z_t``: its quantile, in the clean distribution."""
    a = alpha_bar
    return mean + std * (z_t - a.sqrt() * mean) / (a * std**2 + 1 - a).sqrt()


def test_ddim_walks_diffusers_trajectory():
    ref = load_file(FIXTURES / "ddim50.safetensors")
    schedule = noise_schedule()
    assert torch.equal(timesteps(schedule, steps=50), ref["timesteps"])
    scripted, seen = iter(ref["epsilon"]), []

    def denoise(z_t, t):
        return x0_from(next(scripted), z_t, schedule.alpha_bar(t), "epsilon")

    x0 = sample(denoise, ref["z_T"], schedule, steps=50, on_step=seen.append)
    for step, expected in zip(seen, ref["trajectory"][:-1], strict=True):
        # Relative too: the latents reach 20, and the reference's table is a float32 product.
        torch.testing.assert_close(step.z_t, expected, rtol=1e-6, atol=1e-5)
    # The reference ends at alpha_bar_0 (set_alpha_to_one false), ours at x0: one formula apart.
    a = schedule.alpha_bar(torch.tensor(0))
    last = a.sqrt() * x0 + (1 - a).sqrt() * ref["epsilon"][-1]
    torch.testing.assert_close(last, ref["trajectory"][-1], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_sampler_follows_the_exact_flow(sampler, name, generator):
    schedule = SCHEDULES[name]
    first = schedule.alpha_bar(timesteps(schedule, sampler=sampler, steps=40)[0])
    z_T = torch.randn(SHAPE, generator=generator) * (first * 0.25 + 1 - first).sqrt()
    z_T = z_T + first.sqrt() * 0.3
    x0 = sample(gaussian_denoiser(schedule), z_T, schedule, sampler=sampler, steps=40)
    assert x0.shape == SHAPE and x0.dtype == torch.float32
    error = (x0 - flow_of(z_T, first)).abs().mean()
    assert error < 0.03, f"{sampler} ends {error:.4f} from the exact flow"


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 12, 15])
def test_weight_one_gives_the_still_whatever_the_model_says(sampler, steps, generator):
    schedule = SCHEDULES["cosine"]
    still = torch.randn(2, 3, 5, 6, generator=generator)

    def denoise(z_t, _):
        return blend_towards_still(torch.sin(9e3 * z_t), still, torch.ones(()))

    z_T = torch.randn(SHAPE, generator=generator)
    x0 = sample(denoise, z_T, schedule, sampler=sampler, steps=steps)
    torch.testing.assert_close(x0, still.unsqueeze(2).expand_as(x0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_same_seed_same_numbers_alone_or_in_a_batch(sampler):
    schedule = noise_schedule()
    denoise = gaussian_denoiser(schedule)
    eta = 0.7 if sampler == "ddim" else 0.0
    first = timesteps(schedule, sampler=sampler, steps=6)[0]
    stills = torch.linspace(-1, 1, 2 * 3 * 5 * 6).view(2, 3, 5, 6)

    def run(items):
        seeds = [torch.Generator().manual_seed(item) for item in items]
        z_T = initial_latents(stills[list(items)], 4, schedule, first, seeds)
        return sample(denoise, z_T, schedule, sampler=sampler, steps=6, eta=eta, generator=seeds)

    together = run((0, 1))
    assert torch.equal(together, run((0, 1)))
    assert torch.equal(together[1:], run((1,)))
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_starting_later_walks_the_end_of_the_schedule(sampler):
    schedule = noise_schedule()
    all_of_it = timesteps(schedule, sampler=sampler, steps=20)
    rest = timesteps(schedule, sampler=sampler, steps=10, start=0.5)
    assert torch.equal(rest, all_of_it[10:])
    assert rest[0] < 550 and (rest.diff() < 0).all() and rest[-1] > 0
    still = torch.full((1, 3, 5, 6), 0.3)
    z_T = initial_latents(still, 4, schedule, rest[0], torch.Generator().manual_seed(0))
    steps: list[Step] = []
    x0 = sample(
        gaussian_denoiser(schedule, std=1e-3),
        z_T,
        schedule,
        sampler=sampler,
        steps=10,
        start=0.5,
        on_step=steps.append,
    )
    assert [step.timestep for step in steps] == rest.tolist()
    torch.testing.assert_close(steps[0].z_t, z_T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x0, torch.full_like(x0, 0.3), rtol=0, atol=0.02)


def test_steps_are_reported_and_may_cancel(generator):
    schedule, steps = noise_schedule(), []

    class Cancelled(Exception):
        pass

    def on_step(step):
        steps.append(step)
        if step.index == 2:
            raise Cancelled

    z_T = torch.randn(SHAPE, generator=generator)
    with pytest.raises(Cancelled):
        sample(gaussian_denoiser(schedule), z_T, schedule, steps=8, on_step=on_step)
    assert [step.index for step in steps] == [0, 1, 2] and steps[0].count == 8
    assert steps[0].x0.shape == SHAPE


def test_latents_start_from_the_still_with_the_noise_of_the_first_timestep(generator):
    schedule = noise_schedule()
    still = torch.full((1, 4, 32, 32), 2.0)
    z_T = initial_latents(still, 8, schedule, 981, generator)
    a = schedule.alpha_bar(torch.tensor(981))
    assert z_T.shape == (1, 4, 8, 32, 32)
    assert abs(z_T.mean() - 2 * a.sqrt()) < 0.03
    assert abs(z_T.std() - (1 - a).sqrt()) < 0.02
    seeded = torch.Generator().manual_seed(7)
    pure = initial_latents(still, 8, schedule, 981, seeded, from_still=False)
    by_frame = draw_noise(pure.movedim(1, 2).shape, torch.Generator().manual_seed(7))
    assert torch.equal(pure, by_frame.movedim(1, 2))
    warped = still.unsqueeze(2).expand(-1, -1, 8, -1, -1)
    again = initial_latents(warped, 8, schedule, 981, torch.Generator().manual_seed(7))
    torch.testing.assert_close(again - (1 - a).sqrt() * pure, a.sqrt() * warped)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "heun"}, "ddim, dpmpp_2m, euler, unipc; got 'heun'"),
        ({"steps": 0}, r"1\.\.500.*got 0"),
        ({"steps": 501}, r"1\.\.500.*got 501"),
        ({"steps": 60, "start": 0.1}, r"1\.\.50 .*got 60"),
        ({"start": 0.0}, "above 0"),
        ({"start": 1.5}, "at most 1"),
        ({"eta": 0.5}, "no generator"),
        ({"eta": 0.5, "sampler": "euler"}, "eta must be 0"),
    ],
)
def test_wrong_use_is_one_sentence(options, words):
    schedule = noise_schedule()
    with pytest.raises(ValueError, match=words) as error:
        sample(gaussian_denoiser(schedule), torch.zeros(SHAPE), schedule, **options)
    assert "\n" not in str(error.value)


def test_wrong_noise_is_one_sentence(generator):
    with pytest.raises(ValueError, match="2 items; got 1"):
        draw_noise(SHAPE, [generator])
    with pytest.raises(ValueError, match=r"4 frames; got \(1, 3, 5, 6, 7\)"):
        initial_latents(torch.zeros(1, 3, 5, 6, 7), 4, noise_schedule(), 981, generator)


@pytest.mark.parametrize("steps", [3, 7, 30, 50])
def test_trailing_timesteps_start_at_the_last_one(steps):
    schedule = noise_schedule(zero_terminal_snr=True)
    for sampler in SAMPLERS:
        times = timesteps(schedule, sampler=sampler, steps=steps, spacing="trailing")
        assert times[0] == 999
        assert len(times) == steps
        assert (times.diff() < 0).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [30, 151])
def test_the_exact_flow_is_followed_under_a_signal_scale_and_any_stride(sampler, steps, generator):
    """Latents are scaled in the network's world alone: clean ones come out as without."""
    plain = noise_schedule()
    scaled = NoiseSchedule(plain.alphas_cumprod, dynamic_rescale(0.5))
    mean, std = 0.3, 0.5

    def denoise(z_t, t):
        share = (scaled.alpha_bar(t).sqrt() * scaled.signal(t)).view(-1, 1, 1, 1, 1)
        power = (share * std).square() + 1 - scaled.alpha_bar(t).view(-1, 1, 1, 1, 1)
        return mean + share * std**2 / power * (z_t - share * mean)

    options = {"sampler": sampler, "steps": steps, "spacing": "trailing"}
    first = timesteps(scaled, **options)[0]
    share = (scaled.alpha_bar(first).sqrt() * scaled.signal(first)).item()
    spread = ((share * std) ** 2 + 1 - scaled.alpha_bar(first).item()) ** 0.5
    unit = torch.randn(1, 2, 3, 4, 4, generator=generator)
    x0 = sample(denoise, share * mean + spread * unit, scaled, **options)
    assert (x0 - mean - std * unit).abs().mean() < 2 / steps


def test_landing_first_keeps_the_last_signal_and_the_first_noise_level(generator):
    plain = noise_schedule()
    schedule = NoiseSchedule(plain.alphas_cumprod, dynamic_rescale(0.7))
    z_T = torch.randn(1, 2, 3, 4, 4, generator=generator)
    options = {"steps": 1, "spacing": "trailing", "landing": "first"}
    still = torch.full_like(z_T, 0.4)
    landed = sample(lambda *_: still, z_T, schedule, **options)
    last, first = (schedule.alpha_bar(torch.tensor(t)) for t in (999, 0))
    epsilon = (z_T - last.sqrt() * 0.7 * still) / (1 - last).sqrt()
    expected = first.sqrt() * 0.7 * still + (1 - first).sqrt() * epsilon
    torch.testing.assert_close(landed, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spacing": "middle"}, "spacing must be"),
        ({"landing": "hard"}, "landing must be"),
        ({"landing": "first", "sampler": "euler"}, "landing must be"),
    ],
)
def test_wrong_spacing_and_landing_are_one_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        sample(lambda z, _: z, torch.zeros(1, 2, 3, 4, 4), noise_schedule(), steps=2, **options)
