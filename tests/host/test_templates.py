"""Every template opens in a real ComfyUI: its nodes are known, and have what they need."""

import json

import pytest

from tests.host.conftest import PACK

#: Nodes of the page itself, which the server does not know.
PAGE = {"Note", "MarkdownNote", "PrimitiveNode", "Reroute"}
TEMPLATES = sorted((PACK / "workflows").glob("*.json"))


@pytest.fixture(scope="module")
def known(comfy):
    return comfy.get("/object_info")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_its_nodes_are_known(path, known):
    used = {node["type"] for node in json.loads(path.read_text())["nodes"]}
    assert used - PAGE <= known.keys()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_nothing_that_a_node_needs_is_missing(path, known):
    graph = json.loads((PACK / "tests" / "workflows" / path.name).read_text())
    for node in graph.values():
        needed = known[node["class_type"]]["input"].get("required", {})
        assert needed.keys() <= node["inputs"].keys()
