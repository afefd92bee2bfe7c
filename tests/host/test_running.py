"""What is seen while graphs run, and the workflows that the pack brings."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.host.graphs import node, prepared, sampled
from tests.host.websocket import messages
from trip_core.trip_file import EMBEDDED

WORKFLOWS = Path(__file__).parents[1] / "workflows"


def test_the_preview_shows_the_whole_clip_in_its_colours(comfy):
    graph = prepared(length=9) | {
        "6": sampled(seed=23, cfg=1.0),
        "7": node("SaveLatent", samples=["6", 0], filename_prefix="preview"),
    }
    heard = messages(comfy.port, "tests")
    comfy.queue(graph)
    pictures, steps = [], 0
    for message in heard:
        if isinstance(message, bytes):
            pictures.append(Image.open(io.BytesIO(message[8:])).convert("RGB"))
        elif message["type"] == "progress" and message["data"]["node"] == "6":
            steps += 1
        elif message["type"] in ("execution_success", "execution_error", "execution_interrupted"):
            assert message["type"] == "execution_success"
            break
    assert steps == 4 and 1 <= len(pictures) <= 4  # fast steps need not all be shown
    width, height = pictures[-1].size
    assert (width, height) == (256, 205)  # three frames of 80 x 64 in a row, three rows
    # The first tile is the still, whose colours the preview knows.
    still = Image.open(comfy.base / "input" / "still.png").convert("RGB")
    seen = pictures[-1].crop((0, 0, width // 3, height // 3)).resize((1, 1), Image.Resampling.BOX)
    truth = still.resize((1, 1), Image.Resampling.BOX)
    off = [a - b for a, b in zip(seen.getpixel((0, 0)), truth.getpixel((0, 0)), strict=True)]
    assert max(map(abs, off)) < 30


@pytest.mark.parametrize("name", ["animate_a_still", "masked_motion", "compare_prior_strengths"])
def test_workflows_without_foreign_weights_run(comfy, base, name):
    graph = json.loads((WORKFLOWS / f"{name}.json").read_text())
    Image.open(base / "input" / "still.png").save(base / "input" / "example.png")
    for step in graph.values():
        if step["class_type"] == "TRIP_LoadModel" and not EMBEDDED.is_file():
            step["inputs"]["model_name"] = "tiny.safetensors"
        if step["class_type"] == "TRIP_Sampler":
            step["inputs"]["steps"] = 2
        if step["class_type"] == "TRIP_ImageNoisePrior":
            step["inputs"]["length"] = 4
    outputs = comfy.outputs(graph)
    clips = [key for key, step in graph.items() if step["class_type"] == "TRIP_VideoCombine"]
    for key in clips:
        assert comfy.path(outputs[key]["images"][0]).stat().st_size > 500


def test_templates_and_help_are_served(comfy):
    assert "animate_a_still" in comfy.get("/workflow_templates")["trip"]
    assert comfy.get("/i18n")["zh"]["nodeDefs"]["TRIP_Decode"]["display_name"] == "TRIP 解码"
    from urllib.request import urlopen

    address = f"http://127.0.0.1:{comfy.port}/extensions/trip/docs/TRIP_Decode.md"
    assert b"# TRIP Decode" in urlopen(address).read()
