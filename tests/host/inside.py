"""What a host does to our MODEL's weights; runs in the host's own Python, without its server.

``python inside.py PACK CHECKPOINT`` in the host's folder prints one JSON object: by state of the
weights, the network's answer (a few numbers) and how many of its products were the core's, of them
how many with a GELU; for samplings, how often the text was projected; and whether a LoRA passes
where there is no CLIP.
"""

from without_server import FILE as CHECKPOINT  # isort: skip  first: it makes the others importable
import json
import sys
from pathlib import Path

import comfy.hooks
import comfy.ops
import comfy.sd
import torch
from trip.nodes import (
    host_model,
    host_network,
    host_released,
    host_sampling,
    host_trip,
    host_windows,
)
from trip.nodes.held_still import BoundStill, HeldStill
from trip.trip_core.nn import layers
from trip.trip_core.prior import PriorWeights
from trip.trip_core.trip_file import load_model

CPU, FRAMES = torch.device("cpu"), 4
PATCHED = "diffusion_model.trip.unet.mid_block.attentions.0.proj_in"

generator = torch.Generator().manual_seed(0)
counted = []
product = layers.linear


def counting(*given, gelu=False):
    counted.append(gelu)
    return product(*given, gelu=gelu)


layers.linear = counting
model = host_trip.load(Path(CHECKPOINT), "fp32")[0]
sizes = model.model.trip_config.unet


def draw(*shape):
    return torch.randn(shape, generator=generator)


still = draw(1, sizes.out_channels, 8, 8)
held = HeldStill(still, FRAMES, PriorWeights(0, 0, 0))
text = draw(FRAMES, 6, sizes.cross_attention_dim)
given = (draw(FRAMES, sizes.out_channels, 8, 8), torch.full((FRAMES,), 500), text)
rows, columns = model.get_model_object(PATCHED).weight.shape
lora = {f"{PATCHED}.lora_up.weight": draw(rows, 2), f"{PATCHED}.lora_down.weight": draw(2, columns)}
found = {}


def answer(name, network):
    """Note what the network says now."""
    counted.clear()
    with torch.no_grad():
        out = network(*given, {}, trip=BoundStill(held, still, None, None, None))
    found[name] = {"values": out.flatten()[:64].tolist(), "products": len(counted)}
    found[name]["gelus"] = sum(counted)


def built(picked, dtype):
    """Return the network of some operations, its weights stored in a type."""
    core = load_model(Path(CHECKPOINT))
    network = host_model.TRIPNetwork(core.trip.config, picked)
    network.take(core.trip, dtype, torch.float32)
    return network.eval().requires_grad_(False)


answer("plain", model.patch_model(CPU).diffusion_model)
model.unpatch_model(CPU)  # as the host does before it loads another patcher of the same network
host_ops = comfy.ops.pick_operations(torch.float32, None)
answer("the host's operations", built(host_ops, torch.float32))

patched = comfy.sd.load_lora_for_models(model, None, lora, 0.5, 0)[0]
answer("LoRA", patched.patch_model(CPU).diffusion_model)
patched.unpatch_model(CPU)
patched.load(CPU, lowvram_model_memory=1)
answer("LoRA, offloaded", patched.model.diffusion_model)
patched.unpatch_model(CPU)
model.load(CPU, lowvram_model_memory=1)
answer("offloaded", model.model.diffusion_model)
model.unpatch_model(CPU)
answer("plain again", model.patch_model(CPU).diffusion_model)

READER = "diffusion_model.trip.unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
rows, columns = model.get_model_object(READER).weight.shape
pair = {f"{READER}.lora_up.weight": draw(rows, 2), f"{READER}.lora_down.weight": draw(2, columns)}
fading = comfy.hooks.create_hook_lora(pair, 1.0, 0.0)
keyframes = comfy.hooks.HookKeyframeGroup()
keyframes.add(comfy.hooks.HookKeyframe(1.0, 0.0))
keyframes.add(comfy.hooks.HookKeyframe(-1.0, 0.5))
fading.set_keyframes_on_hooks(keyframes)


def sampled(name, **hooks):
    """Note what 4 steps with two branches give, and how often the text was projected."""
    unet, projected = model.model.diffusion_model.trip.unet, []
    project = unet.text_keys_values
    unet.text_keys_values = lambda text: projected.append(1) or project(text)
    words = [[text[:1], {"trip": held, **hooks}]], [[text[1:2], {"trip": held}]]
    start = {"samples": still.expand(FRAMES, -1, -1, -1)}
    with torch.no_grad():
        out = host_sampling.sample(
            model, *words, start, 0, 4, 2.0, "ddim", "ddim_uniform", denoise=1.0
        )
    del unet.text_keys_values
    found[name] = {"values": out.flatten()[:64].tolist(), "products": len(projected)}


sampled("sampled")
sampled("sampled, fading LoRA", hooks=fading)
host_windows.KeptText = lambda _: lambda make, *tokens: make(*tokens)
sampled("sampled, nothing kept")
sampled("sampled, fading LoRA, nothing kept", hooks=fading)

small = torch.float8_e4m3fn
casting = comfy.ops.pick_operations(small, torch.float32)
answer("fp8", built(host_network.operations(casting), small))
answer("fp8, the host's operations", built(casting, small))
without = host_released.NoText("no text encoder in this file")
found["no text"] = comfy.sd.load_lora_for_models(model, without, lora, 0.5, 1.0)[1] is without
sys.stdout.write(json.dumps(found) + "\n")
