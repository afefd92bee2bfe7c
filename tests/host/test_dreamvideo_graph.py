"""DreamVideo in a real ComfyUI: loaded as any model of ours, guided by the host's own guider."""

import pytest
import torch
from safetensors.torch import load_file

from tests.host.conftest import error_of
from tests.host.graphs import combine, node, prepared, sampled
from tests.tiny_dreamvideo import save_tiny_dreamvideo
from trip_core.dreamvideo_file import load_dreamvideo
from trip_core.pipeline_dreamvideo import animate_dreamvideo
from trip_core.stills import read_still
from trip_core.video_io import read_video

MODEL = "tiny_dreamvideo.safetensors"


@pytest.fixture(scope="module")
def file(base):
    path = save_tiny_dreamvideo(base / "models" / "trip" / MODEL)
    yield path
    path.unlink()


def core_latents(file, base, **options):
    still = read_still(base / "input" / "still.png")
    options = {"num_frames": 5, "steps": 4, "seed": 7, "negative": "waves", **options}
    clip = animate_dreamvideo(load_dreamvideo(file), still, "the camera pans left", **options)
    assert clip.latents is not None
    return clip.latents[0].movedim(0, 1)


def graph_of(**more):
    graph = prepared(MODEL) | more
    graph["3"]["inputs"]["text"] = "waves"
    return graph


def test_ksampler_gives_the_latents_of_the_core_and_a_file(comfy, base, file):
    graph = graph_of() | {
        "6": sampled("KSampler", cfg=2.0),
        "7": node("SaveLatent", samples=["6", 0], filename_prefix="dreamvideo"),
        "8": node("TRIP_Decode", latent=["6", 0], vae=["1", 2], edges="mirror"),
        "9": combine(images=["8", 0]),
    }
    outputs = comfy.outputs(graph)
    latents = load_file(comfy.path(outputs["7"]["latents"][0]))["latent_tensor"]
    expected = core_latents(file, base, guidance_scale=2.0)
    torch.testing.assert_close(latents, expected, atol=2e-3, rtol=0)
    video = read_video(comfy.path(outputs["9"]["images"][0]))
    assert video.shape == (5, 3, 32, 48)


def test_the_hosts_dual_guider_is_double_condition_guidance(comfy, base, file):
    graph = graph_of() | {
        "g": node(
            "DualCFGGuider", model=["1", 0], cond1=["5", 0], cond2=["5", 1], negative=["3", 0],
            cfg_conds=2.0, cfg_cond2_negative=1.5, style="regular",
        ),
        "n": node("RandomNoise", noise_seed=7),
        "s": node("KSamplerSelect", sampler_name="ddim"),
        "t": node("BasicScheduler", model=["1", 0], scheduler="ddim_uniform", steps=4, denoise=1.0),
        "6": node(
            "SamplerCustomAdvanced", noise=["n", 0], guider=["g", 0], sampler=["s", 0],
            sigmas=["t", 0], latent_image=["5", 2],
        ),
        "7": node("SaveLatent", samples=["6", 0], filename_prefix="dual"),
    }  # fmt: skip
    latents = load_file(comfy.path(comfy.outputs(graph)["7"]["latents"][0]))["latent_tensor"]
    expected = core_latents(file, base, guidance_scale=2.0, image_guidance_scale=1.5)
    torch.testing.assert_close(latents, expected, atol=2e-3, rtol=0)


@pytest.mark.usefixtures("file")
def test_what_it_has_not_is_one_sentence(comfy):
    graph = graph_of() | {
        "m": node("SolidMask", value=1.0, width=32, height=32),
        "6": sampled(),
        "7": combine(latent=["6", 0], vae=["1", 2]),
    }
    graph["5"]["inputs"]["motion_strength"] = 2.0
    assert "this DreamVideo has none; got 2.0" in error_of(comfy.run(graph))
    graph["5"]["inputs"] |= {"motion_strength": 1.0, "mask": ["m", 0]}
    assert "DreamVideo has not" in error_of(comfy.run(graph))
