"""DynamiCrafter gives the numbers of the code it was published with.

The fixture holds inputs and outputs of that code at a small size. Its weights are not stored: they
were drawn from one generator, tensor after tensor in the order of their names, as `drawn` does.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.tiny import drawn, save_dynamicrafter
from trip_core import sampling
from trip_core.dynamicrafter_file import detect, load_dynamicrafter
from trip_core.dynamicrafter_names import RESAMPLER, UNET, released_names
from trip_core.nn.resampler import Resampler, ResamplerConfig
from trip_core.schedule import dynamic_rescale, noise_schedule
from trip_core.systems.dynamicrafter import Conditioning, DynamiCrafter

FIXTURES = Path(__file__).parents[1] / "fixtures"
TEXT_TOKENS = 77


@pytest.fixture(scope="module")
def official():
    with safe_open(FIXTURES / "dynamicrafter.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, {k: json.loads(v) for k, v in file.metadata().items() if k != "format"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A miniature of the 512 model in the released layout."""
    return save_dynamicrafter(tmp_path_factory.mktemp("mini") / "renamed.safetensors")


def test_query_transformer(official):
    tensors, shapes = official
    config = ResamplerConfig(80, 64, 48, 2, num_heads=3, head_dim=16, num_frames=8)
    resampler = Resampler(config)
    resampler.load_state_dict(drawn(shapes["resampler"], 400))
    with torch.no_grad():
        made = resampler(tensors["resampler.in.x"]).flatten(1, 2)
    torch.testing.assert_close(made, tensors["resampler.ref.out"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", ["perframe", "shared", "default_fs"])
def test_unet(official, case):
    tensors, shapes = official
    state = {UNET + name: tensor for name, tensor in drawn(shapes["unet"], 100).items()}
    state |= drawn({RESAMPLER + name: s for name, s in shapes["resampler"].items()}, 400)
    state[f"{RESAMPLER}proj_out.weight"] = torch.zeros(64, 64)  # as wide as this text
    name, config = detect({key: tuple(t.shape) for key, t in state.items()}, 0.7)
    assert name == "512"
    model = DynamiCrafter(config)
    names = released_names(model)
    own = {
        key: state[names[key]].reshape(t.shape)
        for key, t in model.unet.state_dict(prefix="unet.").items()
    }
    own |= {k: state[names[k]] for k in model.state_dict() if k.startswith("fps_embedding.")}
    missing = model.load_state_dict(own, strict=False).missing_keys
    assert all(key.startswith("resampler.") for key in missing)

    context = tensors["in.context_shared" if case == "shared" else "in.context_perframe"]
    text, image = context[:, :TEXT_TOKENS], context[:, TEXT_TOKENS:]
    if case != "shared":
        image = image.unflatten(1, (-1, 16))
    noisy, stills = tensors["in.x"].chunk(2, dim=1)
    pace = None if case == "default_fs" else tensors["in.fs"]
    with torch.no_grad():
        context = model.context_keys_values(text, image)
        output = model(noisy, tensors["in.timesteps"], context, stills, pace)
    torch.testing.assert_close(output, tensors[f"ref.out_{case}"], atol=1e-5, rtol=0)


def test_five_steps(official, checkpoint, monkeypatch):
    """v, zero terminal signal, trailing steps, guidance, both rescales, eta 1."""
    tensors = {k.removeprefix("sample."): v for k, v in official[0].items() if "sample." in k}
    model = load_dynamicrafter(checkpoint)

    def condition(text, tokens):
        image = model.image_context(tokens[None], 8)
        return Conditioning(text[None], image, tensors["in.c_concat"], tensors["in.fs"])

    positive = condition(tensors["in.text_prompt"], tensors["in.clip_image_tokens"])
    negative = condition(tensors["in.text_empty"], tensors["in.clip_zero_image_tokens"])
    torch.testing.assert_close(
        positive.image.flatten(1, 2), tensors["ref.c_crossattn"], atol=1e-5, rtol=0
    )
    noises = iter(tensors["in.step_noise"])
    monkeypatch.setattr(sampling, "draw_noise", lambda *_: next(noises))
    steps = []
    last = sampling.sample(
        model.denoiser(positive, negative, scale=7.5, rescale=0.7),
        tensors["in.x_T"],
        model.schedule,
        steps=5,
        spacing="trailing",
        landing="first",
        eta=1.0,
        generator=torch.Generator(),
        on_step=steps.append,
    )
    assert [step.timestep for step in steps] == [999, 799, 599, 399, 199]
    walked = torch.stack([*(step.z_t for step in steps[1:]), last])
    torch.testing.assert_close(walked, tensors["ref.x_prev"], atol=5e-5, rtol=0)


def test_schedules(official):
    tensors = {k.removeprefix("schedule."): v for k, v in official[0].items() if "schedule." in k}
    for base in (0.7, 0.3):
        scale = dynamic_rescale(base).float()[::50]
        torch.testing.assert_close(scale, tensors[f"scale_arr.{base}"], atol=0, rtol=0)
    for name, zero in (("plain", False), ("zerosnr", True)):
        made = noise_schedule(zero_terminal_snr=zero).alphas_cumprod[::50]
        torch.testing.assert_close(made, tensors[f"{name}.alphas_cumprod"], atol=1e-12, rtol=0)
    schedule = noise_schedule(zero_terminal_snr=True)
    for ours, theirs in (("leading", "uniform"), ("trailing", "uniform_trailing")):
        for steps in (50, 25, 10, 5):
            made = sampling.timesteps(schedule, steps=steps, spacing=ours).flip(0)
            assert made.equal(tensors[f"zerosnr.{theirs}.{steps}.timesteps"])
