"""Image Noise Prior (any model) on the host's own kinds of model; runs in the host's Python.

``python inside_any_model.py PACK FILE`` in the host's folder samples with models whose network says
zero, so that their picture of the clean latents is what they are given, and writes every step's
latents and fused prediction into a safetensors file.
"""

from without_server import FILE  # isort: skip  first: it makes the others importable
import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.sample
import comfy.supported_models_base
import torch
from safetensors.torch import save_file
from trip.nodes.apply_noise_prior import ApplyNoisePrior

CPU, SHAPE = torch.device("cpu"), (1, 4, 3, 2, 2)
#: Kind of model -> shape of its latents: a video, or a batch of frames.
KINDS = {"FLOW": SHAPE, "EPS": (3, 4, 2, 2)}


class Nothing(torch.nn.Module):
    """Says zero."""

    dtype = torch.float32

    def __init__(self, **_):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, _, **__):
        return torch.zeros_like(x)


class Halved(comfy.latent_formats.LatentFormat):
    """Latents that the network sees at half their size."""

    scale_factor = 0.5


class Adding(comfy.samplers.CFGGuider):
    """Adds to what guidance gives, as DualCFGGuider does."""

    def predict_noise(self, *args, **kwargs):
        """Return the guided prediction, and more."""
        return super().predict_noise(*args, **kwargs) + 1.0


class Config(comfy.supported_models_base.BASE):
    latent_format = Halved
    sampling_settings = {"shift": 3.0}  # noqa: RUF012
    unet_extra_config = {}  # noqa: RUF012


def steps(kind, shape, guider=comfy.samplers.CFGGuider):
    """Return what a held model of a kind is given and answers, step by step."""
    generator, found = torch.Generator().manual_seed(0), {"x": [], "x0": []}
    base = comfy.model_base.BaseModel(
        Config({}), comfy.model_base.ModelType[kind], unet_model=Nothing
    )
    model = comfy.model_patcher.ModelPatcher(base, load_device=CPU, offload_device=CPU)
    still = torch.randn((1, *shape[1:]), generator=generator)
    still = still[:, :, :1] if still.ndim == 5 else still
    (held,) = ApplyNoisePrior().patch(model, 0.6, 0.5, 1.5, still={"samples": still})

    def note(_, x0, x, __):
        found["x"].append(x)
        found["x0"].append(x0)

    noise, words = torch.randn(shape, generator=generator), [[torch.zeros(1, 1, 4), {}]]
    sigmas = comfy.samplers.calculate_sigmas(base.model_sampling, "simple", 4)
    guider = guider(held)
    guider.set_conds(words, words)
    with torch.no_grad():
        guider.sample(
            noise, torch.zeros(shape), comfy.samplers.sampler_object("euler"), sigmas,
            callback=note, disable_pbar=True, seed=0,
        )  # fmt: skip
    sigmas = sigmas[:-1]
    found = {name: torch.stack(list(values)) for name, values in found.items()}
    return {**found, "still": still, "sigmas": sigmas}


tensors = {f"{kind}.{k}": t for kind, shape in KINDS.items() for k, t in steps(kind, shape).items()}
tensors |= {f"ADDED.{k}": t for k, t in steps("EPS", KINDS["EPS"], Adding).items()}
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, FILE)
