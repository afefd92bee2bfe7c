"""Image Context: shows a picture to the model beside the text (DynamiCrafter)."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..trip_core.clip_pixels import stretched
from .sources import without_alpha

#: Key in conditioning: tokens of a picture, ``[1, L, E]``.
TOKENS = "trip_image_tokens"


class ImageContext:
    """Node ``TRIP_ImageContext``."""

    CATEGORY = "TRIP"
    DESCRIPTION = (
        "Shows the still to a DynamiCrafter model beside the text, as what the clip is about. "
        "Connect its outputs to Image Noise Prior, which gives the model the still's details."
    )
    SEARCH_ALIASES: ClassVar = ["clip vision", "dynamicrafter", "image conditioning", "img2vid"]
    FUNCTION = "look"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    OUTPUT_TOOLTIPS = (
        "The text and what the still shows.",
        "The text to avoid and a grey picture, as the model was trained.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        return {
            "required": {
                "clip_vision": (
                    "CLIP_VISION",
                    {
                        "tooltip": "From Load CLIP Vision: CLIP-ViT-H-14-laion2B-s32B-b79K, the "
                        "one that DynamiCrafter was trained with."
                    },
                ),
                "image": ("IMAGE", {"tooltip": "The still; of several, the first."}),
                "positive": ("CONDITIONING", {"tooltip": "What is seen and what happens."}),
                "negative": ("CONDITIONING", {"tooltip": "What should not be seen."}),
            }
        }

    @torch.no_grad()
    def look(
        self, clip_vision: Any, image: Tensor, positive: list, negative: list
    ) -> tuple[list, list]:
        """Return conditioning that holds the still's tokens, and a grey picture's."""
        still = without_alpha(image[:1].movedim(-1, 1).float()[0])[None].clamp(0, 1)
        seen = picture_tokens(clip_vision, still)
        grey = picture_tokens(clip_vision, torch.full_like(still, 0.5))
        return with_tokens(positive, seen), with_tokens(negative, grey)


def picture_tokens(clip_vision: Any, picture: Tensor) -> Tensor:
    """Return all tokens of the last layer, not normalised, ``[1, L, E]``.

    Args:
        clip_vision: The host's CLIP_VISION.
        picture: ``[1, 3, H, W]`` in 0..1; the whole of it is stretched to a square, as in training,
            before the host sees it, which would cut it or stretch it in another way.
    """
    size = getattr(clip_vision, "image_size", 224)
    square = stretched(picture, size).clamp(0, 1).movedim(1, -1)
    return clip_vision.encode_image(square, crop=False)["last_hidden_state"]


def with_tokens(conditioning: list, tokens: Tensor) -> list:
    """Return conditioning with a picture's tokens in every entry."""
    return [[text, {**values, TOKENS: tokens}] for text, values in conditioning]
