"""The workflows: what the page opens and what an API client sends are the same graph."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.nodes.conftest import PACK, load_pack

NODES = load_pack().NODE_CLASS_MAPPINGS
NAMES = sorted(path.stem for path in (PACK / "workflows").glob("*.json"))
API = Path(__file__).parents[1] / "workflows"
EXPECTED = {
    "animate_a_still",
    "sdxl_to_trip",
    "controlnet_to_trip",
    "instructpix2pix_to_trip",
    "masked_motion",
    "prior_on_any_video_model",
    "compare_prior_strengths",
    "dreamvideo",
    "dynamicrafter",
    "dynamicrafter_with_prior",
    "start_and_end_frame",
    "seamless_loop",
}


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def as_api(graph):
    """Return a graph of the page as (class, inputs) by node id; links as (node id, output)."""
    links = {link[0]: (link[1], link[2]) for link in graph["links"]}
    found = {}
    for node in graph["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        values = list(node["widgets_values"])
        inputs = {}
        for slot in node["inputs"]:
            if "widget" not in slot:
                if slot["link"] is not None:
                    inputs[slot["name"]] = links[slot["link"]]
                continue
            value = values.pop(0)
            if slot["name"] == "upload":
                continue
            inputs[slot["name"]] = value
            if slot["name"] in ("seed", "noise_seed"):
                values.pop(0)  # control after generate
        assert values == []
        found[node["id"]] = (node["type"], inputs)
    return found


def test_all_are_there():
    assert set(NAMES) >= EXPECTED
    assert not [path for path in (PACK / "workflows").iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", NAMES)
def test_both_formats_say_the_same(name):
    page, api = as_api(read(PACK / "workflows", name)), read(API, name)
    order = dict(zip(api, page, strict=True))  # ids are numbered in the order of the API graph
    for key, node in api.items():
        kind, inputs = page[order[key]]
        assert kind == node["class_type"]
        wanted = {
            k: (order[v[0]], v[1]) if isinstance(v, list) else v for k, v in node["inputs"].items()
        }
        assert {k: inputs[k] for k in wanted} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_our_nodes_are_used_as_they_are(name):
    used = [node for node in read(API, name).values() if node["class_type"].startswith("TRIP_")]
    assert used
    for node in used:
        inputs = NODES[node["class_type"]].INPUT_TYPES()
        required = set(inputs["required"])
        assert required <= node["inputs"].keys() <= required | set(inputs.get("optional", {}))
        for key, value in node["inputs"].items():
            kind = {**inputs["required"], **inputs.get("optional", {})}[key][0]
            if isinstance(kind, list) and key != "model_name" and not isinstance(value, list):
                assert value in kind


@pytest.mark.parametrize("name", NAMES)
def test_foreign_weights_are_named_with_folder_and_link(name):
    graph = read(PACK / "workflows", name)
    notes = " ".join(n["widgets_values"][0] for n in graph["nodes"] if n["type"] == "MarkdownNote")
    foreign = [n for n in graph["nodes"] if "Loader" in n["type"] or "models" in n["properties"]]
    for node in foreign:
        (model,) = node["properties"]["models"]
        assert model["name"] in node["widgets_values"]
        assert f"models/{model['directory']}" in notes and model["name"] in notes
        assert model["url"].startswith("https://huggingface.co/")
        assert "/".join(model["url"].split("/")[:5]) in notes
    if not foreign:
        assert "No download" in notes


@pytest.mark.parametrize("name", NAMES)
def test_every_workflow_has_a_picture(name):
    path = PACK / "workflows" / f"{name}.jpg"
    with Image.open(path) as picture:
        assert picture.size == (400, 400)
    assert path.stat().st_size < 60_000
