"""A 1024 clip in the host's own Python, without its server; ``benchmarks/large_clip.py`` runs it.

``python inside_large_clip.py PACK BASE WISHES`` in the host's folder prints one JSON object.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

PACK, BASE, WISHES = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
sys.argv = ["main.py", "--cpu", "--base-directory", str(BASE)]
sys.path[0] = "."

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.model_management as management  # noqa: E402
import torch  # noqa: E402

# The CPU stands for a card.
management.is_device_cpu = lambda _: False
management.should_use_bf16 = lambda *_, **__: True
management.should_use_fp16 = lambda *_, **__: False
management.vram_state = management.VRAMState.NORMAL_VRAM


def resident():
    """Bytes of the weights that the host has put on the card."""
    return sum(loaded.model_loaded_memory() for loaded in management.current_loaded_models)


def free(_device=None, torch_free_too=False):
    """Bytes of the card that no weights lie in."""
    left = WISHES["card"] - resident()
    return (left, left) if torch_free_too else left


management.get_free_memory = free

import nodes  # noqa: E402  the host's

spec = importlib.util.spec_from_file_location(
    "trip", f"{PACK}/__init__.py", submodule_search_locations=[PACK]
)
sys.modules["trip"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["trip"])

from trip.benchmarks.peak_bytes import PeakBytes  # noqa: E402
from trip.nodes import NODE_CLASS_MAPPINGS as ours  # noqa: E402
from trip.trip_core.tensor_files import write_tensors  # noqa: E402

generator = torch.Generator().manual_seed(1)


class Vision:
    """Stands for CLIP_VISION, whose tokens are not the question."""

    def encode_image(self, image, **_):
        """Return tokens as ViT-H's last layer gives them."""
        return {"last_hidden_state": torch.randn(len(image), 257, 1280, generator=generator)}


def timed(call, *given, **named):
    """Return what a call returns and its seconds."""
    started = time.perf_counter()
    out = call(*given, **named)
    return out, time.perf_counter() - started


def largest(network):
    """Bytes of the largest layer's weights: what is on the card for a moment, if it lies apart."""
    layers = (list(m.parameters(recurse=False)) for m in network.modules())
    return max(sum(p.nbytes for p in layer) for layer in layers)


model, _, vae = ours["TRIP_LoadModel"]().load("large.safetensors", "bf16")
still = torch.rand(1, 3, 6, 8, generator=generator)
size = (WISHES["height"], WISHES["width"])
still = torch.nn.functional.interpolate(still, size, mode="bicubic").clamp(0, 1).movedim(1, -1)
words = [[torch.randn(1, 77, 1024, generator=generator), {}]]
seen = ours["TRIP_ImageContext"]().look(Vision(), still, words, words)
positive, negative, latent = ours["TRIP_ImageNoisePrior"]().prepare(
    model, *seen, vae, image=still, width=size[1], height=size[0], fit="crop",
    length=WISHES["frames"], motion_strength=1.0, prior_strength=0.0, decay_over_frames=0.0,
    decay_over_time=0.0,
)  # fmt: skip
with torch.no_grad(), PeakBytes(model.model.parameters()) as sampling:
    sampled, seconds = timed(
        nodes.KSampler().sample, model, 7, WISHES["steps"], 1.0, "ddim", "simple", positive,
        negative, latent,
    )  # fmt: skip
clip = sampled[0]["samples"]
on_card = model.loaded_size()
write_tensors(BASE / "output" / "clip.safetensors", {"clip": clip.float()}, {})
some = {"samples": clip[: WISHES["decoded"]]}
with PeakBytes(vae.first_stage_model.parameters()) as decoding:
    images, decode_seconds = timed(ours["TRIP_Decode"]().decode, some, vae, "mirror")
held = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
found = {
    "weights": model.model_size(),
    "resident": on_card,
    "largest": largest(model.model.diffusion_model),
    "estimate": model.model.memory_required([len(clip), *clip.shape[1:]]),
    "activations": sampling.peak,
    "seconds": seconds,
    "finite": bool(clip.isfinite().all() and images[0].isfinite().all()),
    "decode_seconds": decode_seconds,
    "decode_peak": decoding.peak,
    "process": 1024 * int(held),
}
sys.stdout.write(json.dumps(found) + "\n")
