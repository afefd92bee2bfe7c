"""Training: TOML configuration in, one checkpoint of safetensors out."""

from .run import TASKS, train

__all__ = ["TASKS", "train"]
