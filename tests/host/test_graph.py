"""The pack inside a real ComfyUI."""

import time

import av
import pytest
import torch
from safetensors.torch import load_file

from tests.host.graphs import combine, node, prepared, sampled
from tests.host.websocket import messages
from trip_core import cli
from trip_core.pipeline import animate
from trip_core.stills import read_still
from trip_core.trip_file import load_model
from trip_core.video_io import read_video

NODES = (
    "TRIP_LoadModel", "TRIP_ImageNoisePrior", "TRIP_ImageContext", "TRIP_Sampler", "TRIP_Decode",
    "TRIP_ApplyNoisePrior", "TRIP_VideoCombine", "TRIP_AnimationReport",
)  # fmt: skip


def saved_latent(comfy, entry):
    """Return the samples of a SaveLatent output."""
    return load_file(comfy.path(entry))["latent_tensor"]


def test_the_host_knows_our_nodes(comfy):
    known = comfy.get("/object_info")
    for name in NODES:
        assert name in known, comfy.log.read_text()[-3000:]
    models = known["TRIP_LoadModel"]["input"]["required"]["model_name"][0]
    assert models == [
        "built-in (small)",
        "broken.safetensors",
        "tiny.safetensors",
        "tiny_paper.safetensors",
    ]


def test_a_still_becomes_a_clip_that_holds_its_workflow(comfy, base):
    graph = prepared() | {
        "6": sampled(),
        "7": node("TRIP_Decode", latent=["6", 0], vae=["1", 2], edges="generate"),
        "8": combine(images=["7", 0]),
    }
    shown = comfy.outputs(graph)["8"]
    assert shown["animated"] == [True]
    path = comfy.path(shown["images"][0])
    assert comfy.view(shown["images"][0]) == path.read_bytes()
    video = read_video(path)
    still = read_still(base / "input" / "still.png")
    assert video.shape == (5, 3, 96, 130)  # odd sides gain one row and column
    assert (video[0, :, :95, :129] - still).abs().mean() < 0.02
    with av.open(str(path)) as container:
        assert '"TRIP_ImageNoisePrior"' in container.metadata["prompt"]


@pytest.mark.parametrize("denoise", [1.0, 0.5])
@pytest.mark.parametrize(
    "pair", [("ddim", "ddim_uniform"), ("dpmpp_2m", "karras"), ("euler_ancestral", "normal")]
)
def test_ksampler_and_trip_sampler_give_the_same_latents(comfy, pair, denoise):
    wishes = {"sampler_name": pair[0], "scheduler": pair[1], "denoise": denoise}
    graph = prepared() | {
        "6": sampled(**wishes),
        "7": sampled("KSampler", **wishes),
        "8": node("SaveLatent", samples=["6", 0], filename_prefix="ours"),
        "9": node("SaveLatent", samples=["7", 0], filename_prefix="theirs"),
    }
    outputs = comfy.outputs(graph)
    ours, theirs = (saved_latent(comfy, outputs[key]["latents"][0]) for key in ("8", "9"))
    assert ours.shape == (5, 16, 8, 10)
    assert torch.equal(ours, theirs)


#: Samplers with schedulers; not heun, which loses the clip in few steps, as its tooltip says.
PAIRS = [
    *((name, "ddim_uniform") for name in ("dpm_2_ancestral", "euler")),
    *((name, "normal") for name in ("heunpp2", "dpm_2", "dpmpp_2m", "uni_pc", "lcm")),
    *(("euler", name) for name in ("sgm_uniform", "karras", "kl_optimal")),
]


def test_samplers_and_schedulers_stay_with_the_still(comfy):
    """From the highest sigma, which is thousands of times the latents, down to latents."""
    graph = prepared(length=2)
    for index, (name, scheduler) in enumerate([("ddim", "ddim_uniform"), *PAIRS]):
        how = {"sampler_name": name, "scheduler": scheduler, "steps": 6, "cfg": 1.0}
        graph[f"k{index}"] = sampled("KSampler", **how)
        graph[f"s{index}"] = node("SaveLatent", samples=[f"k{index}", 0], filename_prefix="bounded")
    outputs = comfy.outputs(graph)
    usual, *others = (
        saved_latent(comfy, outputs[f"s{index}"]["latents"][0]) for index in range(len(PAIRS) + 1)
    )
    far = {
        pair: float((latents - usual).square().mean() / usual.square().mean()) ** 0.5
        for pair, latents in zip(PAIRS, others, strict=True)
    }
    assert all(distance < 0.5 for distance in far.values()), far


def test_image_noise_prior_can_be_cancelled_and_counts_its_frames(comfy):
    graph = prepared(length=1000) | {
        "8": node("SaveLatent", samples=["5", 2], filename_prefix="never"),
    }
    counted = 0
    heard = messages(comfy.port, "tests")
    comfy.queue(graph)
    for message in heard:
        kind = None if isinstance(message, bytes) else message["type"]
        if kind == "progress" and message["data"]["node"] == "5":
            if not counted:
                comfy.post("/interrupt", {})
            counted, of = message["data"]["value"], message["data"]["max"]
        elif kind in ("execution_success", "execution_error", "execution_interrupted"):
            break
    assert kind == "execution_interrupted" and of == 1000 and 1 <= counted < 1000


@pytest.mark.parametrize("model", ["tiny", "tiny_paper"])
def test_the_graph_gives_the_latents_of_the_core(comfy, base, model):
    graph = prepared(f"{model}.safetensors") | {
        "6": sampled(cfg=1.5),
        "7": node("SaveLatent", samples=["6", 0], filename_prefix=model),
    }
    graph["3"]["inputs"]["text"] = "waves"
    latents = saved_latent(comfy, comfy.outputs(graph)["7"]["latents"][0])
    core = load_model(base / "models" / "trip" / f"{model}.safetensors")
    clip = animate(
        core,
        read_still(base / "input" / "still.png"),
        "the camera pans left",
        negative="waves",
        num_frames=5,
        steps=4,
        guidance_scale=1.5,
        seed=7,
        edges="generate" if model == "tiny" else "mirror",
    )
    assert clip.latents is not None
    torch.testing.assert_close(latents, clip.latents[0].movedim(0, 1), atol=2e-3, rtol=0)


@pytest.mark.parametrize("model", ["tiny", "tiny_paper"])
def test_the_graph_gives_the_clip_of_the_command_line(comfy, base, tmp_path, model):
    def drawn(seed):
        graph = prepared(f"{model}.safetensors") | {
            "6": sampled(seed=seed),
            "7": node("TRIP_Decode", latent=["6", 0], vae=["1", 2], edges="generate"),
            "8": combine(images=["7", 0]),
        }
        return read_video(comfy.path(comfy.outputs(graph)["8"]["images"][0]))

    file, checkpoint = tmp_path / "clip.mp4", base / "models" / "trip" / f"{model}.safetensors"
    words = ["animate", str(base / "input" / "still.png"), "--prompt", "the camera pans left"]
    words += ["--model", str(checkpoint), "--out", str(file)]
    words += ["--frames", "5", "--steps", "4", "--guidance", "2", "--seed", "7"]
    assert cli.main([*words, "--edges", "generate"] if model == "tiny" else words) == 0
    clip = read_video(file)
    same, other = ((drawn(seed) - clip).abs().mean() for seed in (7, 8))
    assert same < 1 / 255 and same < other / 4


def test_the_hosts_tiled_decoder_knows_the_built_in_model(comfy):
    tiles = {"tile_size": 128, "overlap": 32, "temporal_size": 64, "temporal_overlap": 8}
    graph = prepared("built-in (small)", length=2) | {
        "7": node("VAEDecode", samples=["5", 2], vae=["1", 2]),
        "8": node("VAEDecodeTiled", samples=["5", 2], vae=["1", 2], **tiles),
        "9": node("SaveImage", images=["7", 0], filename_prefix="whole"),
        "10": node("SaveImage", images=["8", 0], filename_prefix="tiled"),
    }
    outputs = comfy.outputs(graph)
    whole, tiled = (
        torch.stack([read_still(comfy.path(entry)) for entry in outputs[key]["images"]])
        for key in ("9", "10")
    )
    assert whole.shape == tiled.shape and whole.shape[-1] > 128
    assert (whole - tiled).abs().mean() < 2 / 255


def test_a_second_run_is_cached(comfy):
    graph = prepared() | {
        "6": sampled(),
        "7": combine(latent=["6", 0], vae=["1", 2], save_output=False),
    }
    comfy.outputs(graph)
    messages = comfy.run(graph)["status"]["messages"]
    cached = next(content["nodes"] for kind, content in messages if kind == "execution_cached")
    assert {"1", "2", "3", "5", "6"} <= set(cached)


def test_cancel_leaves_nothing_and_the_next_run_works(comfy, base):
    graph = prepared(length=6) | {
        "6": sampled(steps=400, seed=11, cfg=1.0),
        "7": combine(latent=["6", 0], vae=["1", 2], filename_prefix="cancelled/clip"),
    }
    ident = comfy.queue(graph)
    while not comfy.get("/queue")["queue_running"]:
        time.sleep(0.1)
    time.sleep(3)
    comfy.post("/interrupt", {})
    history = comfy.finish(ident, 60)
    assert any(kind == "execution_interrupted" for kind, _ in history["status"]["messages"])
    assert not list((base / "output" / "cancelled").glob("*"))
    graph["6"] = sampled(steps=2, seed=11, cfg=1.0)
    assert comfy.outputs(graph)["7"]["images"]


def test_context_windows_keep_the_still_in_every_window(comfy):
    if "ContextWindowsManual" not in comfy.get("/object_info"):
        pytest.skip("this ComfyUI is older than context windows (0.3.51)")
    windows = node(
        "ContextWindowsManual", model=["1", 0], context_length=4, context_overlap=2,
        context_schedule="standard_static", context_stride=1, closed_loop=False,
        fuse_method="pyramid", dim=0,
    )  # fmt: skip
    graph = prepared(length=7) | {
        "w": windows,
        "6": sampled(cfg=1.0, model=["w", 0]),
        "8": node("SaveLatent", samples=["6", 0], filename_prefix="windows"),
    }
    latents = saved_latent(comfy, comfy.outputs(graph)["8"]["latents"][0])
    assert latents.shape[0] == 7 and torch.isfinite(latents).all()


def test_the_mask_keeps_what_is_painted(comfy, base):
    graph = prepared() | {
        "m": node("SolidMask", value=1.0, width=129, height=95),
        "7": node("TRIP_Decode", latent=["5", 2], vae=["1", 2], edges="mirror"),
        "8": combine(images=["7", 0], format="mkv (FFV1 lossless)", filename_prefix="masked/clip"),
    }
    graph["5"]["inputs"]["mask"] = ["m", 0]
    shown = comfy.outputs(graph)["8"]
    file = next((base / "output" / "masked").glob("clip_*_.mkv"))
    video = read_video(file)
    assert (video - video[:1]).abs().max() == 0
    assert shown["images"][0]["type"] == "temp"  # the browser is shown an mp4


def test_the_report_speaks(comfy):
    graph = prepared() | {
        "7": node("TRIP_Decode", latent=["5", 2], vae=["1", 2], edges="mirror"),
        "8": node("TRIP_AnimationReport", images=["7", 0], still=["4", 0]),
    }
    shown = comfy.outputs(graph)["8"]
    assert "first frame against the still: 100.0 dB" in shown["text"][0]
    assert shown["images"]


def test_any_model_can_be_held_to_a_still(comfy):
    graph = prepared("tiny_paper.safetensors") | {
        "s": node("VAEEncode", pixels=["f", 0], vae=["1", 2]),
        "f": node(
            "ImageScale",
            image=["4", 0],
            upscale_method="bilinear",
            width=80,
            height=64,
            crop="disabled",
        ),
        "p": node(
            "TRIP_ApplyNoisePrior",
            model=["1", 0],
            strength=1.0,
            decay_over_frames=0.0,
            decay_over_time=0.0,
            still=["s", 0],
        ),
        "6": sampled("KSampler", cfg=1.0, model=["p", 0]),
        "8": node("SaveLatent", samples=["6", 0], filename_prefix="held"),
        "9": node("SaveLatent", samples=["s", 0], filename_prefix="still"),
    }
    outputs = comfy.outputs(graph)
    held, still = (saved_latent(comfy, outputs[key]["latents"][0]) for key in ("8", "9"))
    torch.testing.assert_close(held, still.expand_as(held), atol=1e-4, rtol=0)
