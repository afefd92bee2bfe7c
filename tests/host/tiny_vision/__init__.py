"""Nodes for the tests: the host's own CLIP_VISION at a tiny size, and what conditioning holds."""

import json
import tempfile

import folder_paths
import torch
from safetensors.torch import save_file

SIZES = {
    "attention_dropout": 0.0, "hidden_act": "gelu", "hidden_size": 80, "image_size": 224,
    "intermediate_size": 64, "layer_norm_eps": 1e-5, "model_type": "clip_vision_model",
    "num_attention_heads": 2, "num_channels": 3, "num_hidden_layers": 3, "patch_size": 56,
    "projection_dim": 16,
}  # fmt: skip


class TinyVision:
    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("CLIP_VISION",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        from comfy.clip_vision import ClipVisionModel

        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(SIZES, file)
            file.flush()
            vision = ClipVisionModel(file.name)
        generator = torch.Generator().manual_seed(3)
        for parameter in vision.model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = noise.to(parameter) / max(parameter[0].numel(), 1) ** 0.5
        return (vision,)


class SaveConditioning:
    """Writes text and image tokens into the output folder."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "save", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",), "name": ("STRING",)}}

    def save(self, conditioning, name):
        text, values = conditioning[0]
        tensors = {"text": text.contiguous(), "image": values["trip_image_tokens"].contiguous()}
        save_file(tensors, f"{folder_paths.get_output_directory()}/{name}.safetensors")
        return {}


class ForeignModel:
    """A MODEL that is none of ours."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        from comfy.model_patcher import ModelPatcher

        cpu = torch.device("cpu")
        return (ModelPatcher(torch.nn.Linear(1, 1), load_device=cpu, offload_device=cpu),)


NODE_CLASS_MAPPINGS = {
    "TinyVision": TinyVision,
    "SaveConditioning": SaveConditioning,
    "Tests_ForeignModel": ForeignModel,
}
