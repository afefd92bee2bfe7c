"""What a training run does, read from a TOML file into frozen dataclasses.

A file holds one ``[run]`` table, any number of ``[[stage]]`` tables that are trained in order, each
with its task's own settings under ``[stage.options]``, and an optional ``[pack]`` table that puts
the stages' weights into one checkpoint. A key that nobody reads is an error, never ignored.
"""

import math
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..pipeline import SamplingDefaults
from ..tables import from_table, refuse_unknown

if sys.version_info >= (3, 11):
    import tomllib
else:  # The same parser, before it joined the standard library.
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

Precision = Literal["no", "bf16", "fp16"]

#: Smallest value of a stage's counts.
_LEAST = {
    **dict.fromkeys(("steps", "batch_size", "accumulation", "log_every", "save_every", "keep"), 1),
    **dict.fromkeys(("warmup", "workers", "sheet_every"), 0),
    "worker_threads": 1,
}


@dataclass(frozen=True)
class StageConfig:
    """One training stage: a task and how its weights are optimised.

    Attributes:
        name: Folder of the stage inside the run's folder; later stages refer to it. Letters,
            digits, - and _.
        task: One of ``training.TASKS``.
        steps: Optimizer steps.
        batch_size: Samples per forward pass and process.
        learning_rate: Peak rate of AdamW, 0..1.
        learning_rates: Other peak rates, by prefix of the parameter's name
            (``{"trip.fusion" = 2e-4}``); the longest matching prefix counts.
        warmup: Steps of linear warm-up.
        decay: Shape of the rate after the warm-up.
        final_rate: Share of the peak rate left at the last step of a cosine or linear decay.
        betas: AdamW's running averages, 0..1 (1 excluded).
        weight_decay: AdamW's, 0..100; of matrices and convolutions, not of biases and norms.
        clip: Largest norm of the gradient; inf leaves it as it is.
        accumulation: Forward passes per optimizer step.
        ema: Decay of the averaged weights that a stage hands on; 0 keeps none.
        precision: Autocast type; "bf16" needs hardware that has it to be fast.
        workers: Background processes that make batches; 0 makes them in the loop (on a GPU).
        worker_threads: Threads of each of them.
        log_every: Steps between two lines of the log.
        save_every: Steps between two resumable checkpoints.
        sheet_every: Steps between two sample sheets; 0 draws none.
        keep: Resumable checkpoints kept.
        tensorboard: Also write the log for tensorboard.
        options: The task's own settings.
    """

    name: str
    task: str
    steps: int
    batch_size: int
    learning_rate: float
    learning_rates: dict[str, float] = field(default_factory=dict)
    warmup: int = 60
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    final_rate: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    accumulation: int = 1
    ema: float = 0.998
    precision: Precision = "bf16"
    workers: int = 0
    worker_threads: int = 1
    log_every: int = 20
    save_every: int = 500
    sheet_every: int = 0
    keep: int = 2
    tensorboard: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers once, before hours are spent on them."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ValueError(
                f"stage name {self.name!r} becomes a folder: use letters, digits, - and _ only"
            )
        for name, least in _LEAST.items():
            self._check(name, getattr(self, name), least, math.inf, f"at least {least}")
        rates = {f"learning_rates.{key}": rate for key, rate in self.learning_rates.items()}
        rates |= {"learning_rate": self.learning_rate, "final_rate": self.final_rate}
        for name, rate in rates.items():
            self._check(name, rate, 0, 1, "in 0..1")
        below_1 = math.nextafter(1, 0)
        for name, decay in (("ema", self.ema), *(("betas", beta) for beta in self.betas)):
            self._check(name, decay, 0, below_1, "in 0..1 (1 excluded)")
        self._check("weight_decay", self.weight_decay, 0, 100, "in 0..100")
        self._check("clip", self.clip, math.nextafter(0, 1), math.inf, "more than 0")

    def _check(self, name: str, value: float, low: float, high: float, words: str) -> None:
        if not low <= value <= high:  # not a number is in no range
            raise ValueError(f"stage {self.name!r}: {name} must be {words}; got {value}")


@dataclass(frozen=True)
class PackConfig:
    """One checkpoint made of several stages.

    Attributes:
        path: The file, relative to the run's folder and inside it.
        stages: Stages, or models' files, whose modules go into it; of a module found twice the last
            one counts.
        parts: Modules that go into it; empty: all of them.
        dtype: Type the weights are stored in.
        defaults: Fields of ``pipeline.SamplingDefaults``.
    """

    path: str
    stages: tuple[str, ...]
    parts: tuple[str, ...] = ()
    dtype: Literal["float32", "float16", "bfloat16"] = "float16"
    defaults: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the path and the defaults before the stages are trained."""
        if Path(self.path).is_absolute() or ".." in Path(self.path).parts:
            raise ValueError(f"[[pack]] path {self.path!r} must stay inside the run's folder")
        from_table(SamplingDefaults, self.defaults, f"defaults of [[pack]] {self.path!r}")


@dataclass(frozen=True)
class TrainConfig:
    """A whole run.

    Attributes:
        name: Name of the run.
        out: Folder of the run, relative to the current folder.
        seed: Seed of everything random, 0..4294967295.
        stages: Trained one after the other.
        pack: Checkpoints packed after the last stage.
    """

    name: str
    out: str
    stages: tuple[StageConfig, ...]
    seed: int = 0
    pack: tuple[PackConfig, ...] = ()

    def __post_init__(self) -> None:
        """Check that names are unique and refer to something."""
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"[run] seed must be in 0..4294967295; got {self.seed}")
        names = [stage.name for stage in self.stages]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"stage names must differ; {doubled} are used more than once")
        for pack in self.pack:
            unknown = [
                name
                for name in pack.stages
                if name not in names and not name.endswith(".safetensors")
            ]
            if unknown:
                raise ValueError(f"[pack] names stages {unknown}, but the stages are {names}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain tables, the shape of the TOML file."""
        return asdict(self)


def read_config(path: str | Path) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: A TOML file: ``[run]``, ``[[stage]]`` ..., optionally ``[[pack]]``.

    Raises:
        ValueError: If the file cannot be read, a key is unknown or a value of the wrong type.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the training configuration {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    refuse_unknown(tables, ("run", "stage", "pack"), str(path))
    run = tables.get("run", {})
    if not isinstance(run, dict):
        raise ValueError(f"{path}: [run] must be a table; got {run!r}")
    refuse_unknown(run, ("name", "out", "seed"), "[run]")
    stages, packs = tables.get("stage", []), tables.get("pack", [])
    if not isinstance(stages, list) or not stages:
        raise ValueError(f"{path} must have at least one [[stage]] table")
    if not isinstance(packs, list):
        raise ValueError(f"{path}: checkpoints to pack are written [[pack]], with two brackets")
    return from_table(TrainConfig, run | {"stages": stages, "pack": packs}, "[run]")
