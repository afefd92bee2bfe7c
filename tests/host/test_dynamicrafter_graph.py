"""DynamiCrafter inside a real ComfyUI: a miniature of the released layout, to a file.

Its text tower and autoencoder have other sizes than the published ones; the host's own classes take
them all the same. The host's CLIP_VISION at a tiny size comes from a pack of the tests.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.host.conftest import error_of
from tests.host.graphs import combine, node, sampled
from tests.host.test_graph import saved_latent
from tests.tiny import save_dynamicrafter
from trip_core.dynamicrafter_file import load_dynamicrafter
from trip_core.dynamicrafter_names import TEXT, VAE
from trip_core.sampling import initial_latents, sample, timesteps
from trip_core.systems.dynamicrafter import Conditioning, guide_frames, still_prior
from trip_core.video_io import read_video


@pytest.fixture(scope="module", autouse=True)
def files(base):
    """Three files of the released layout, there while these tests run."""
    folder = base / "models" / "trip" / "crafter"
    folder.mkdir()
    paths = [
        save_dynamicrafter(folder / "v.safetensors", text=True),
        save_dynamicrafter(folder / "eps.safetensors", epsilon=True, text=True, half=True),
        save_dynamicrafter(folder / "pruned.safetensors"),
        folder / "model.ckpt",
    ]
    torch.save({"state_dict": {}}, paths[-1])
    yield folder
    for path in paths:
        path.unlink()
    folder.rmdir()


def crafted(model="crafter/v.safetensors", length=5, optional=None, **inputs):
    """Return the graph up to Image Noise Prior, which is node "5"."""
    prior = {
        "width": 64, "height": 32, "fit": "crop", "length": length, "motion_strength": 1.0,
        "prior_strength": 0.0, "decay_over_frames": 0.0, "decay_over_time": 0.0, **inputs,
    }  # fmt: skip
    return {
        "1": node("TRIP_LoadModel", model_name=model, precision="auto"),
        "2": node("CLIPTextEncode", text="a ship at sea", clip=["1", 1]),
        "3": node("CLIPTextEncode", text="", clip=["1", 1]),
        "4": node("LoadImage", image="still.png"),
        "v": node("TinyVision"),
        "c": node(
            "TRIP_ImageContext", clip_vision=["v", 0], image=["4", 0], positive=["2", 0],
            negative=["3", 0],
        ),
        "5": node(
            "TRIP_ImageNoisePrior", model=["1", 0], positive=["c", 0], negative=["c", 1],
            vae=["1", 2], image=["4", 0], **prior, **(optional or {}),
        ),
    }  # fmt: skip


def steps(sampler="KSampler", **more):
    """Return a sampler at the published spacing."""
    return sampled(sampler, **{"steps": 3, "scheduler": "simple", **more})


def saved(latent, name):
    return node("SaveLatent", samples=latent, filename_prefix=name)


def test_a_released_file_becomes_a_clip(comfy):
    graph = crafted() | {
        "6": steps(),
        "7": node("VAEDecode", samples=["6", 0], vae=["1", 2]),
        "8": combine(images=["7", 0]),
    }
    shown = comfy.outputs(graph)["8"]
    assert read_video(comfy.path(shown["images"][0])).shape == (5, 3, 32, 64)


def test_both_samplers_give_the_same_latents(comfy):
    graph = crafted() | {"6": steps(), "7": steps("TRIP_Sampler")}
    graph |= {"8": saved(["6", 0], "theirs"), "9": saved(["7", 0], "ours")}
    outputs = comfy.outputs(graph)
    theirs, ours = (saved_latent(comfy, outputs[key]["latents"][0]) for key in "89")
    assert ours.shape == (5, 4, 16, 32) and torch.isfinite(ours).all()
    assert torch.equal(ours, theirs)


WORKFLOWS = Path(__file__).parents[1] / "workflows"
WINDOWS = {
    "context_length": 4, "context_overlap": 2, "context_schedule": "standard_static",
    "context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "dim": 0,
}  # fmt: skip

CASES = {
    "velocity": ("v", {}, {}),
    "velocity, prior, rescale": (
        "v", {"prior_strength": 0.8, "decay_over_frames": 0.5, "decay_over_time": 0.5}, {},
    ),
    "noise, half, TRIP^W": ("eps", {"prior_strength": 1.0, "decay_over_frames": 1.0}, {}),
    "velocity, loop, pace": ("v", {}, {"loop": True, "fs": 8}),
    "velocity, loop, prior": (
        "v", {"prior_strength": 0.8, "decay_over_frames": 1.0}, {"loop": True, "fs": 8},
    ),
}  # fmt: skip


def saved_conditions():
    """Return the nodes that keep what the text and the picture became."""
    return {
        "p": node("SaveConditioning", conditioning=["c", 0], name="positive"),
        "n": node("SaveConditioning", conditioning=["c", 1], name="negative"),
    }


def core_clip(file, base, still, end=None, pace=None, prior=None, multiple=False, **guidance):
    """Return the core's clip of the graph's conditionings, ``[F, C, h, w]``.

    ``multiple`` shows the picture beside the negative text too: multi-condition guidance.
    """
    network = load_dynamicrafter(file).float()  # the CPU's type
    kept = [load_file(base / "output" / f"{name}.safetensors") for name in ("positive", "negative")]
    shown, grey = (network.image_context(tokens["image"], 5) for tokens in kept)
    assert not torch.equal(shown, grey)
    text, empty = (tokens["text"] for tokens in kept)
    stills = guide_frames(still, 5, end)
    pairs = [(text, shown), (empty, grey), *([(empty, shown)] if multiple else [])]
    conditions = [Conditioning(*pair, stills, pace) for pair in pairs]
    schedule = network.schedule
    first = timesteps(schedule, steps=3, spacing="trailing")[0]
    noisy = initial_latents(still, 5, schedule, first, torch.Generator().manual_seed(7))
    denoise = network.denoiser(*conditions, **{"scale": 2.0, "prior": prior, **guidance})
    return sample(denoise, noisy, schedule, steps=3, spacing="trailing")[0].movedim(0, 1)


@pytest.mark.parametrize("case", CASES)
def test_the_graph_gives_the_latents_of_the_core(comfy, base, files, case):
    """Weights of the prior are over the frames as the node says; TRIP^W with epsilon."""
    kind, inputs, optional = CASES[case]
    rescale = 0.7 if "rescale" in case else 0.0
    graph = crafted(f"crafter/{kind}.safetensors", optional=optional, **inputs)
    graph |= {
        "6": steps("TRIP_Sampler", guidance_rescale=rescale),
        "8": saved(["6", 0], "clip"),
        "s": saved(["5", 2], "still"),
        **saved_conditions(),
    }
    outputs = comfy.outputs(graph)
    latents, still = (saved_latent(comfy, outputs[key]["latents"][0]) for key in "8s")
    still = still[:1] * 0.18215

    end = still if optional else None
    prior = still_prior(still, end, 5, *inputs.values()) if inputs else None
    pace = torch.tensor([optional["fs"]]) if optional else None
    clip = core_clip(files / f"{kind}.safetensors", base, still, end, pace, prior, rescale=rescale)
    torch.testing.assert_close(latents * 0.18215, clip, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("optional", [{}, {"loop": True}], ids=["one still", "loop"])
def test_what_is_painted_is_the_still(comfy, optional):
    graph = crafted(optional={"mask": ["m", 0], **optional})
    graph |= guided("DualCFGGuider", **GUIDERS["DualCFGGuider, regular"][0])
    graph |= {
        "m": node("SolidMask", value=1.0, width=129, height=95),
        "7": steps("KSampler"),
        "8": saved(["6", 0], "kept"),
        "9": saved(["7", 0], "kept"),
        "s": saved(["5", 2], "still"),
    }
    outputs = comfy.outputs(graph)
    *clips, still = (saved_latent(comfy, outputs[key]["latents"][0]) for key in "89s")
    for latents in clips:
        torch.testing.assert_close(latents, still, atol=1e-3, rtol=0)


HELD: Any = {"prior_strength": 1.0, "decay_over_frames": 1.0}
#: Guiders of the host -> how their conditionings are wired and scaled, and the cfg of a KSampler
#: that says the same.
GUIDERS = {
    "CFGGuider": ({"positive": ["5", 0], "negative": ["5", 1], "cfg": 2.0}, 2.0),
    "BasicGuider": ({"conditioning": ["5", 0]}, 1.0),
    "DualCFGGuider, regular": (
        {"cond1": ["5", 0], "cond2": ["5", 1], "negative": ["5", 1], "cfg_conds": 2.0,
         "cfg_cond2_negative": 3.0, "style": "regular"}, 2.0,
    ),
    "DualCFGGuider, nested": (
        {"cond1": ["5", 0], "cond2": ["5", 1], "negative": ["5", 1], "cfg_conds": 1.25,
         "cfg_cond2_negative": 1.6, "style": "nested"}, 2.0,
    ),
}  # fmt: skip


def guided(guider, model=("1", 0), **inputs):
    """Return a guider's sampling, the same steps as ``steps``; its latents are node "6"."""
    return {
        "g": node(guider.split(",")[0], model=list(model), **inputs),
        "r": node("RandomNoise", noise_seed=7),
        "k": node("KSamplerSelect", sampler_name="ddim"),
        "t": node("BasicScheduler", model=["1", 0], scheduler="simple", steps=3, denoise=1.0),
        "6": node(
            "SamplerCustomAdvanced", noise=["r", 0], guider=["g", 0], sampler=["k", 0],
            sigmas=["t", 0], latent_image=["5", 2],
        ),
    }  # fmt: skip


def skip_unless_nested(comfy, style):
    inputs = comfy.get("/object_info/DualCFGGuider")["DualCFGGuider"]["input"]["required"]
    if style == "nested" and "style" not in inputs:
        pytest.skip("this ComfyUI's DualCFGGuider has one style")


@pytest.mark.parametrize("guider", GUIDERS)
def test_the_prior_acts_once_on_what_any_guider_gives(comfy, guider):
    """Wired so that its formula comes to plain guidance, each gives KSampler's latents."""
    inputs, cfg = GUIDERS[guider]
    skip_unless_nested(comfy, inputs.get("style"))
    graph = crafted(prior_strength=0.8, decay_over_frames=0.5, decay_over_time=0.5)
    graph |= guided(guider, **inputs)
    graph |= {"7": steps(cfg=cfg), "8": saved(["6", 0], "theirs"), "9": saved(["7", 0], "plain")}
    outputs = comfy.outputs(graph)
    theirs, plain = (saved_latent(comfy, outputs[key]["latents"][0]) for key in "89")
    torch.testing.assert_close(theirs, plain, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_text_and_picture_have_scales_of_their_own(comfy, base, files, style):
    """Node "b" shows the picture beside the empty text; regular is the core's, to the number."""
    skip_unless_nested(comfy, style)
    graph = crafted(**HELD)
    graph["d"] = node("TRIP_ImageContext", **graph["c"]["inputs"] | {"positive": ["3", 0]})
    shown = {"positive": ["d", 0], "negative": ["d", 1]}
    graph["b"] = node("TRIP_ImageNoisePrior", **graph["5"]["inputs"] | shown)
    graph |= guided(
        "DualCFGGuider", cond1=["5", 0], cond2=["b", 0], negative=["5", 1], cfg_conds=4.0,
        cfg_cond2_negative=1.5, style=style,
    )  # fmt: skip
    graph |= {"8": saved(["6", 0], "dual"), "s": saved(["5", 2], "still"), **saved_conditions()}
    outputs = comfy.outputs(graph)
    clip, still = (saved_latent(comfy, outputs[key]["latents"][0]) for key in "8s")
    torch.testing.assert_close(clip[0], still[0], atol=1e-4, rtol=0)
    still = still[:1] * 0.18215
    prior = still_prior(still, None, 5, *HELD.values())
    options = {"multiple": True, "scale": 4.0, "image_scale": 1.5}
    expected = core_clip(files / "v.safetensors", base, still, prior=prior, **options)
    same = torch.allclose(clip * 0.18215, expected, atol=2e-3, rtol=2e-3)
    assert same == (style == "regular"), (clip * 0.18215 - expected).abs().max()


def test_longer_clips_run_in_the_hosts_windows(comfy):
    if "ContextWindowsManual" not in comfy.get("/object_info"):
        pytest.skip("this ComfyUI is older than context windows (0.3.51)")
    dual = {"cond1": ["5", 0], "cond2": ["5", 1], "negative": ["5", 1], "cfg_conds": 2.0}
    dual |= {"cfg_cond2_negative": 3.0, "style": "regular"}  # comes to plain guidance
    graph = crafted(length=7, **HELD) | guided("DualCFGGuider", ("w", 0), **dual)
    graph |= {
        "w": node("ContextWindowsManual", model=["1", 0], **WINDOWS),
        "7": steps(model=["w", 0]),
        "8": saved(["6", 0], "dual"),
        "9": saved(["7", 0], "windows"),
        "s": saved(["5", 2], "still"),
    }
    outputs = comfy.outputs(graph)
    dual, latents, still = (saved_latent(comfy, outputs[key]["latents"][0]) for key in "89s")
    assert latents.shape[0] == 7 and torch.isfinite(latents).all()
    torch.testing.assert_close(latents[0], still[0], atol=1e-4, rtol=0)  # over the whole clip
    torch.testing.assert_close(dual, latents, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(
    "name", ["dynamicrafter", "dynamicrafter_with_prior", "start_and_end_frame", "seamless_loop"]
)
def test_the_workflows_run_on_the_miniature(comfy, base, name):
    """The three files are stood in for; everything else is as the artist opens it."""
    graph = json.loads((WORKFLOWS / f"{name}.json").read_text())
    Image.open(base / "input" / "still.png").save(base / "input" / "example.png")
    for step in graph.values():
        kind, inputs = step["class_type"], step["inputs"]
        if kind == "TRIP_LoadModel":
            inputs["model_name"] = "crafter/v.safetensors"
        elif kind == "CLIPTextEncode":
            inputs["clip"] = ["1", 1]
        elif kind == "TRIP_ImageNoisePrior":
            inputs |= {"width": 64, "height": 32, "length": 8}  # all that the miniature knows
        elif kind == "LatentFromBatch":
            inputs["length"] = 7
        elif kind == "TRIP_Sampler":
            inputs["steps"] = 2
    graph["3"] = node("TinyVision")
    del graph["2"]
    outputs = comfy.outputs(graph)
    video = read_video(comfy.path(outputs["12"]["images"][0]))
    assert video.shape == (7 if name == "seamless_loop" else 8, 3, 32, 64)


def test_encoders_beside_a_file_are_not_listed(comfy, files):
    encoder = files / "text_encoder" / "model.safetensors"
    encoder.parent.mkdir()
    encoder.write_bytes((files / "pruned.safetensors").read_bytes())
    inputs = comfy.get("/object_info/TRIP_LoadModel")["TRIP_LoadModel"]["input"]["required"]
    encoder.unlink()
    encoder.parent.rmdir()
    assert [name for name in inputs["model_name"][0] if name.startswith("crafter/")] == [
        f"crafter/{name}"
        for name in ("eps.safetensors", "model.ckpt", "pruned.safetensors", "v.safetensors")
    ]


WRONG = {
    "a pickle": ({"1": {"model_name": "crafter/model.ckpt"}}, "python -m trip_core convert"),
    "no text encoder": (
        {"1": {"model_name": "crafter/pruned.safetensors"}}, "holds no text encoder",
    ),
    "no picture": (
        {"5": {"positive": ["2", 0], "negative": ["3", 0]}}, "put Image Context between",
    ),
    "no still": ({"6": {"positive": ["c", 0]}}, "put Image Noise Prior"),
    "a side between": ({"5": {"width": 66}}, "multiples of 4 pixels; got 66 x 32"),
    "nothing moves": ({"5": {"prior_strength": 1.0}}, "nothing moves; set prior_strength to 0"),
    "a loop to another still": ({"5": {"loop": True, "end_still": ["4", 0]}}, "switch loop off"),
    "a long loop": ({"5": {"loop": True, "length": 9}}, "at most 8 frames"),
    "another model's wish": ({"1": {"model_name": "tiny.safetensors"}, "5": {"loop": True}},
        "loop is for DynamiCrafter models, and this is a TRIP model"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_gives_one_sentence(comfy, case):
    changes, words = WRONG[case]
    graph = crafted() | {"6": steps(), "8": saved(["6", 0], "wrong")}
    for key, inputs in changes.items():
        graph[key]["inputs"].update(inputs)
    message = error_of(comfy.run(graph))
    assert words in message and "\n" not in message, message


#: Start of the names that go, or get another shape; what is said.
DAMAGED = {
    "an autoencoder's part is missing": (
        f"{VAE}decoder.mid.", None, "autoencoder's tensors do not fit: 'decoder.mid.block_1.norm1",
    ),
    "an autoencoder's level is missing": (
        f"{VAE}encoder.down.0.block.0.conv1.weight", None, "0.block.0.conv1.weight' is missing",
    ),
    "an autoencoder's tensor has another shape": (
        f"{VAE}decoder.conv_in.weight", (3, 4, 3, 3), "'decoder.conv_in.weight' is [3, 4, 3, 3]",
    ),
    "a text layer's part is missing": (
        f"{TEXT}transformer.resblocks.1.mlp.", None,
        "'text_model.encoder.layers.1.mlp.fc1.weight' [256, 64] is missing",
    ),
    "a text tensor has another shape": (
        f"{TEXT}ln_final.weight", (7,), "'text_model.final_layer_norm.weight' is [7]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_one_sentence(comfy, files, case):
    start, shape, words = DAMAGED[case]
    tensors = load_file(files / "v.safetensors")
    for name in [name for name in tensors if name.startswith(start)]:
        del tensors[name]
    if shape is not None:
        tensors[start] = torch.zeros(shape)
    damaged = files / "damaged.safetensors"
    save_file(tensors, damaged)
    try:
        graph = crafted("crafter/damaged.safetensors") | {"8": saved(["5", 2], "damaged")}
        message = error_of(comfy.run(graph))
    finally:
        damaged.unlink()
    assert words in message and "damaged.safetensors" in message, message
    assert "\n" not in message
