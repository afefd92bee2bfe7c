"""LoRA, offload and other precisions: the host's own ways with weights, on our MODEL."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.host.conftest import run_without_server
from tests.host.graphs import node, prepared, sampled

#: A layer of the network under the name that the host's LoRA loaders give it.
LAYER = "diffusion_model.trip.unet.mid_block.attentions.0.proj_in"


@pytest.fixture(scope="session")
def found(host_folder, base):
    """What ``inside.py`` found."""
    checkpoint = base / "models" / "trip" / "tiny_paper.safetensors"
    return json.loads(run_without_server(host_folder, "inside.py", checkpoint).splitlines()[-1])


@pytest.fixture
def states(found):
    """The network's answers and counts by state of the weights."""
    return {
        name: (torch.tensor(state["values"]), state["products"])
        for name, state in found.items()
        if name != "no text"
    }


def near(ours, theirs, most):
    return (ours - theirs).norm() <= most * theirs.norm()


def test_the_core_multiplies_where_nothing_is_cast(states):
    plain, products = states["plain"]
    theirs, none = states["the host's operations"]
    assert products > 20 and none == 0
    assert near(plain, theirs, 1e-5)


def test_a_gated_layer_is_the_cores_where_nothing_is_cast(found):
    assert found["plain"]["gelus"] > 4
    for state in ("the host's operations", "offloaded", "LoRA, offloaded", "fp8"):
        assert found[state]["gelus"] == 0


def test_offloaded_weights_are_the_hosts(states):
    plain, _ = states["plain"]
    offloaded, products = states["offloaded"]
    assert products == 0 and near(offloaded, plain, 1e-5)


def test_lora_counts_wherever_the_weights_lie(states):
    plain, all_products = states["plain"]
    patched, products = states["LoRA"]
    assert products == all_products and not near(patched, plain, 1e-3)
    offloaded, products = states["LoRA, offloaded"]
    assert products == 0 and near(offloaded, patched, 1e-5)
    assert torch.equal(states["plain again"][0], plain)


def test_a_lora_passes_where_a_file_brought_no_clip(found):
    assert found["no text"] is True


def test_fp8_weights_are_cast_by_the_host(states):
    ours, products = states["fp8"]
    theirs, _ = states["fp8, the host's operations"]
    assert products == 0 and torch.equal(ours, theirs)
    assert near(ours, states["plain"][0], 0.3)


def test_the_text_is_projected_once_a_sampling(states):
    values, projected = states["sampled"]
    assert projected == 1 and torch.equal(values, states["sampled, nothing kept"][0])


def test_a_lora_that_changes_from_step_to_step_counts_in_every_step(states):
    values, projected = states["sampled, fading LoRA"]
    assert projected > 4 and torch.equal(values, states["sampled, fading LoRA, nothing kept"][0])
    assert not near(values, states["sampled"][0], 1e-3)


def latents(comfy, name, **changes):
    """Sample; return the latents."""
    graph = prepared("tiny_paper.safetensors") | {
        "6": sampled(cfg=1.0),
        "7": node("SaveLatent", samples=["6", 0], filename_prefix=name),
    }
    for key, inputs in changes.items():
        graph.setdefault(key[1:], {"inputs": {}})["inputs"].update(inputs)
    shown = comfy.outputs(graph)["7"]["latents"][0]
    return load_file(comfy.path(shown))["latent_tensor"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_precisions_give_nearly_the_same_clip(comfy, precision):
    exact = latents(comfy, "fp32", _1={"precision": "fp32"})
    rounded = latents(comfy, precision, _1={"precision": precision})
    assert torch.isfinite(rounded).all()
    assert 0 < (rounded - exact).norm() < 0.1 * exact.norm()


def test_a_lora_is_the_checkpoint_with_its_product_added(comfy, base):
    models = base / "models"
    weights = load_file(models / "trip" / "tiny_paper.safetensors")
    (key,) = (k for k in weights if k.endswith("mid_block.attentions.0.proj_in.weight"))
    generator = torch.Generator().manual_seed(0)
    rows, columns = weights[key].shape
    up = torch.randn(rows, 2, generator=generator)
    down = torch.randn(2, columns, generator=generator)
    (models / "loras").mkdir(exist_ok=True)
    pair = {f"{LAYER}.lora_up.weight": up, f"{LAYER}.lora_down.weight": down}
    save_file(pair, models / "loras" / "tiny.safetensors")
    merged = {**weights, key: weights[key] + 0.5 * up @ down}
    from safetensors import safe_open

    with safe_open(models / "trip" / "tiny_paper.safetensors", "pt") as file:
        save_file(merged, models / "trip" / "merged.safetensors", file.metadata())
    graph = prepared("tiny_paper.safetensors") | {
        "l": node("LoraLoaderModelOnly", model=["1", 0], lora_name="tiny.safetensors"),
        "6": sampled(cfg=1.0, model=["l", 0]),
        "7": node("SaveLatent", samples=["6", 0], filename_prefix="lora"),
    }
    graph["l"]["inputs"]["strength_model"] = 0.5
    patched = load_file(comfy.path(comfy.outputs(graph)["7"]["latents"][0]))["latent_tensor"]
    same = latents(comfy, "merged", _1={"model_name": "merged.safetensors"})
    torch.testing.assert_close(patched, same, atol=1e-3, rtol=0)
    plain = latents(comfy, "plain")
    assert (patched - plain).abs().max() > 1e-2
    (models / "trip" / "merged.safetensors").unlink()
