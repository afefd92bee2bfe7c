"""What a workflow relies on: ids, inputs, their order and defaults never change, only grow."""

import ast
import json
from pathlib import Path

import pytest

from tests.nodes.conftest import PACK, load_pack
from trip_core.codecs import CODECS

SNAPSHOT = Path(__file__).parent / "schemas.json"
NODES = load_pack().NODE_CLASS_MAPPINGS
#: Options that the host or its folders decide.
FOREIGN = {"model_name", "sampler_name", "scheduler"}


def schema(node) -> dict:
    """Return the frozen part of a node."""
    inputs = node.INPUT_TYPES()
    frozen = {"returns": list(node.RETURN_TYPES), "inputs": [], "options": {}}
    for group in ("required", "optional"):
        for name, (kind, *options) in inputs.get(group, {}).items():
            options = options[0] if options else {}
            if isinstance(kind, list):
                if name not in FOREIGN:  # formats are those of the core that this machine writes
                    frozen["options"][name] = list(CODECS) if name == "format" else kind
                kind = "COMBO"
            frozen["inputs"].append([group, name, kind, options.get("default")])
    return frozen


def test_every_node_has_a_name_to_read(pack):
    assert pack.NODE_DISPLAY_NAME_MAPPINGS.keys() == pack.NODE_CLASS_MAPPINGS.keys()
    assert (PACK / pack.WEB_DIRECTORY).is_dir()


@pytest.mark.parametrize("name", NODES)
def test_schemas_are_as_released(name):
    """A later input comes last, is optional, and goes into the snapshot; nothing else changes."""
    assert schema(NODES[name]) == json.loads(SNAPSHOT.read_text())[name]
    groups = [group for group, *_ in schema(NODES[name])["inputs"]]
    assert groups == sorted(groups, reverse=True)  # the required ones first


def test_no_node_was_dropped():
    assert json.loads(SNAPSHOT.read_text()).keys() <= NODES.keys()


@pytest.mark.parametrize("name", NODES)
def test_everything_is_explained(name):
    node = NODES[name]
    assert len(node.DESCRIPTION) > 40 and node.SEARCH_ALIASES and node.CATEGORY == "TRIP"
    assert len(node.OUTPUT_TOOLTIPS) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    inputs = node.INPUT_TYPES()
    for group in ("required", "optional"):
        for key, (_, *options) in inputs.get(group, {}).items():
            assert options and options[0]["tooltip"], key
    assert callable(getattr(node, node.FUNCTION))


@pytest.mark.parametrize("name", NODES)
def test_entry_methods_are_short(name):
    node = NODES[name]
    module = __import__("sys").modules[node.__module__]
    tree = ast.parse(Path(module.__file__).read_text())
    entry = next(
        item
        for item in ast.walk(tree)
        if isinstance(item, ast.FunctionDef) and item.name == node.FUNCTION
    )
    body = entry.body[1:]  # without the docstring
    assert body[-1].end_lineno - body[0].lineno < 15


@pytest.mark.parametrize("name", NODES)
def test_every_node_has_help(name):
    page = (PACK / "web" / "docs" / f"{name}.md").read_text()
    for group in ("required", "optional"):
        for key in NODES[name].INPUT_TYPES().get(group, {}):
            assert f"`{key}`" in page, key


@pytest.mark.parametrize("language", ["en", "zh"])
def test_translations_know_every_input_and_output(language):
    texts = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text())
    for name, node in NODES.items():
        inputs = node.INPUT_TYPES()
        keys = {*inputs["required"], *inputs.get("optional", {})}
        assert texts[name]["display_name"] and texts[name]["description"]
        assert texts[name]["inputs"].keys() == keys
        assert texts[name]["outputs"].keys() == {str(k) for k in range(len(node.RETURN_TYPES))}
