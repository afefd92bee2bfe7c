"""Wrong use through the nodes: each time one sentence that says what to do."""

import os
import subprocess

import pytest

from tests.host.conftest import error_of
from tests.host.graphs import combine, node, prepared, sampled


def whole() -> dict:
    """Return a graph from the still to a file."""
    return prepared() | {
        "6": sampled(steps=1, cfg=1.0),
        "7": node("TRIP_Decode", latent=["5", 2], vae=["1", 2], edges="mirror"),
        "8": combine(images=["7", 0]),
        "9": node("SaveLatent", samples=["6", 0], filename_prefix="wrong"),
    }


def said(comfy, graph: dict) -> str:
    """Queue a graph that must fail; return what the host then shows."""
    status, answer = comfy.post("/prompt", {"prompt": graph, "client_id": "tests"})
    found = [error for node in answer["node_errors"].values() for error in node["errors"]]
    if status == 200:  # though outputs whose inputs are wrong are left out
        history = comfy.finish(answer["prompt_id"])
        if not found:
            return error_of(history)
    return " | ".join(f"{error['message']}: {error['details']}" for error in found)


#: What is done -> changed inputs, what is said.
WRONG = {
    "a corrupted checkpoint": ({"1": {"model_name": "broken.safetensors"}}, "broken.safetensors"),
    "a prefix that leaves the output folder": (
        {"8": {"filename_prefix": "../../out"}}, "leads out of the output folder",
    ),
    "two sources": ({"8": {"latent": ["5", 2]}}, "connect one clip"),
    "a size that is too small": ({"5": {"width": 8, "height": 8}}, "at least 16"),
    "a length of 0": ({"5": {"length": 0}}, "length"),
    "no still": ({"5": {"image": None}}, "Required input is missing: image"),
    "conditioning without a still": (
        {"6": {"positive": ["2", 0]}}, "put Image Noise Prior between",
    ),
    "a pixel format that is not the format's": (
        {"8": {"pixel_format": "gbrp16le"}}, "cannot store gbrp16le",
    ),
    "a camera without a motion network": (
        {"1": {"model_name": "tiny_paper.safetensors"}, "5": {"fit": "overscan"}},
        "this TRIP has none; choose crop, pad or stretch",
    ),
    "a shape that is too long (names the nearest two)": (
        {"5": {"width": 301, "height": 17}}, "crop it to 136x17 or scale it to 301x38",
    ),
    "another graph's LATENT": ({"6": {"latent": ["e", 0]}}, "the LATENT of the same Image Noise"),
    "a video's LATENT": ({"6": {"latent": ["v", 0]}}, "the LATENT of the same Image Noise"),
    "an area": ({"6": {"positive": ["a", 0]}}, "areas of a conditioning are for pictures"),
    "a picture's LATENT into TRIP Decode": (
        {"7": {"latent": ["e", 0]}}, "this VAE decodes latents of 16 channels; the LATENT's have 4",
    ),
    "a video's LATENT into Video Combine": (
        {"8": {"images": None, "latent": ["v", 0], "vae": ["1", 2]}}, "this VAE decodes pictures",
    ),
    "a LATENT that was flipped": ({"7": {"latent": ["l", 0]}}, "the frames after TRIP Decode"),
    "a LATENT that was turned": ({"7": {"latent": ["r", 0]}}, "the frames after TRIP Decode"),
    "a LATENT that was scaled": ({"7": {"latent": ["u", 0]}}, "the frames after TRIP Decode"),
}  # fmt: skip


#: Nodes that the cases connect.
OTHERS = {
    "e": node("EmptyLatentImage", width=64, height=64, batch_size=2),
    "v": node("EmptyHunyuanLatentVideo", width=80, height=64, length=9, batch_size=1),
    "a": node(
        "ConditioningSetArea", conditioning=["5", 0], width=64, height=64, x=0, y=0, strength=1.0
    ),
    "l": node("LatentFlip", samples=["6", 0], flip_method="y-axis: horizontally"),
    "r": node("LatentRotate", samples=["6", 0], rotation="90 degrees"),
    "u": node("LatentUpscaleBy", samples=["6", 0], upscale_method="bilinear", scale_by=2.0),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_gives_one_sentence(comfy, case):
    changes, words = WRONG[case]
    graph = whole() | OTHERS
    for key, inputs in changes.items():
        graph[key]["inputs"].update(inputs)
        graph[key]["inputs"] = {k: v for k, v in graph[key]["inputs"].items() if v is not None}
    message = said(comfy, graph)
    assert words in message and "\n" not in message


def test_a_text_of_another_width_is_named(comfy):
    graph = whole() | {
        "b": node("TRIP_LoadModel", model_name="built-in (small)", precision="auto"),
    }
    graph["2"]["inputs"]["clip"] = ["b", 1]
    message = said(comfy, graph)
    assert "text tokens of width" in message and "the same Load TRIP Model" in message


@pytest.mark.parametrize("key", ["5", "6"])
def test_a_foreign_model_is_sent_elsewhere(comfy, key):
    graph = whole() | {"f": node("Tests_ForeignModel")}
    graph[key]["inputs"]["model"] = ["f", 0]
    message = said(comfy, graph)
    assert "use Image Noise Prior (any model)" in message and "\n" not in message


def test_a_full_disk_is_named_and_leaves_nothing(comfy, base):
    folder = base / "output" / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a full disk needs the right to mount one")
    try:
        graph = whole()
        graph["8"]["inputs"]["filename_prefix"] = "full/clip"
        message = said(comfy, graph)
        assert "could not be written" in message and "space" in message and "\n" not in message
        assert not list(folder.iterdir())
    finally:
        subprocess.run(["umount", str(folder)], check=True)
