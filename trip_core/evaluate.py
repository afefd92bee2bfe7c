"""``python -m trip_core evaluate-embedded``: the figures of the model card, and its gates.

Natural photographs (scikit-image's samples, never trained on) are judged by what can be seen;
procedural scenes of a world that no training draws from, by the truth. Writes ``card.md``,
``card.json``, ``photographs.png`` and ``scenes.png``.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .data.captions import KINDS, MIXED_KINDS, plain_caption
from .metrics.card import Evaluation
from .metrics.gates import REQUIRED_KINDS, caption_verdict, kinds_offered, model_gates
from .metrics.photographs import (
    CAMERA_KINDS,
    PHOTOGRAPHS,
    PhotographClip,
    evaluate_photographs,
    load_photographs,
)
from .metrics.scenes import SceneCounts, SceneRows, evaluate_scenes
from .metrics.subject import NUM_FRAMES, Subject
from .metrics.words import evaluate_typed, evaluate_words
from .models import load_animator
from .nn.motion_field import MOTION_PARAMETERS
from .targets import check_writable, whole_file

if TYPE_CHECKING:
    from functools import partial

    from .pipeline import Clip, Model

logger = logging.getLogger(__name__)

#: Kinds whose motion on procedural scenes is compared with the truth.
SCENE_KINDS = tuple(k for k in KINDS if k != "still" and k not in MIXED_KINDS)
_QUICK_SCENE_KINDS = ("pan_left", "truck_right", "clouds_left", "waves")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    command.set_defaults(run=run)
    command.epilog = """\
examples:
  python -m trip_core evaluate-embedded --quick --out quick/
      a small part of all figures; writes quick/card.md, card.json and contact sheets
  python -m trip_core evaluate-embedded --check
      all figures; ends with 1 if the model must not be shipped"""
    add = command.add_argument
    add("--check", action="store_true", help="exit with 1 if the model must not be shipped")
    add("--out", default="output/evaluation", help="folder for the card and contact sheets")
    add("--quick", action="store_true", help="a small part only, under a minute")
    add("--model", help="a .safetensors checkpoint or a diffusers folder; without it the small one")
    add(
        "--compare",
        nargs="+",
        default=[],
        metavar="CKPT",
        help="checkpoints of any system sampled on the same scenes, e.g. TRIP as published, TRIP-, "
        "DreamVideo",
    )


def run(options: argparse.Namespace) -> int:
    """Evaluate, write, print the card.

    Returns:
        0; with ``--check`` 1 if the model or a caption it ships for misses its gate.
    """
    from .trip_file import EMBEDDED, load_model

    folder = Path(options.out)
    check_writable(folder / "card.md")
    started = time.perf_counter()
    model = load_model(options.model)
    loading = time.perf_counter() - started
    name = Path(options.model or EMBEDDED).stem
    others = {Path(path).stem: _compared(load_animator(path)) for path in options.compare}
    folder.mkdir(parents=True, exist_ok=True)  # what is refused, is before the work
    evaluation, sheets = evaluate(model, others, name=name, quick=options.quick)
    evaluation.seconds["load"] = loading
    write(evaluation, sheets, folder)
    print(evaluation.to_markdown())
    failures = evaluation.failures({*REQUIRED_KINDS, *kinds_offered(model.defaults.understood)})
    for line in failures:
        print(f"not to be shipped: {line}")
    return 1 if options.check and failures else 0


def evaluate(
    model: "Model", others: dict[str, Subject], *, name: str, quick: bool = False
) -> tuple[Evaluation, dict[str, SceneRows]]:
    """Measure a model, what it holds back included: that is decided here.

    Args:
        model: What is evaluated.
        others: Name -> what is sampled beside it.
        name: What the card calls it.
        quick: Measure a small part only.

    Returns:
        (the figures, file stem -> rows of a contact sheet).
    """
    seconds: dict[str, float] = {}
    subject = subject_of(
        replace(model, defaults=replace(model.defaults, understood=tuple(MOTION_PARAMETERS)))
    )
    with _timed(seconds, "words"):
        read = _reader(model)
        words = evaluate_words(read, KINDS, 4 if quick else 50) if read else []
        typed = evaluate_typed(read, model.defaults.understood) if read else []
    with _timed(seconds, "photographs"):
        photographs = load_photographs(512, PHOTOGRAPHS[:1] if quick else PHOTOGRAPHS)
        kinds = ("pan_left", "zoom_in", "rotate_cw", "still")
        clips = evaluate_photographs(
            subject, photographs, kinds if quick else (*CAMERA_KINDS, "still")
        )
        for photograph in list(photographs)[: 1 if quick else 2]:
            still = {photograph: photographs[photograph]}
            clips += evaluate_photographs(subject, still, ("gentle",))
    with _timed(seconds, "scenes"):
        scenes, rows = evaluate_scenes(
            subject,
            others,
            _QUICK_SCENE_KINDS if quick else SCENE_KINDS,
            SceneCounts(motion=1, sampled=1) if quick else SceneCounts(),
        )
    seconds["one clip of 16 frames, 512 px, median"] = _median([clip.seconds for clip in clips])
    tried = [k for k in KINDS if any(k == x.kind for x in (*clips, *scenes))]
    by_kind = {figures.kind: figures for figures in scenes}
    verdicts = [
        caption_verdict(
            kind,
            "" if kind == "gentle" else plain_caption(kind).text,
            [clip for clip in clips if clip.kind == kind],
            by_kind.get(kind),
        )
        for kind in tried
    ]
    evaluation = Evaluation(
        model=name,
        others=tuple(others),
        quick=quick,
        gates=model_gates(clips),
        captions=verdicts,
        clips=clips,
        scenes=scenes,
        words=words,
        typed=typed,
        seconds=seconds,
    )
    return evaluation, {"photographs": _photograph_rows(clips), "scenes": rows}


def subject_of(model: "Model", seed: int = 0) -> Subject:
    """Return what evaluations ask of a model, answered by the pipeline.

    Args:
        model: Any model that ``pipeline.animate`` takes.
        seed: Seed of every clip.
    """
    from .compose import refine
    from .nn.motion_field import frame_flow
    from .pipeline import animate, decode, estimate_motion, fit_to_model

    def frames(still: Tensor, prompt: str) -> Iterable[Tensor]:
        return animate(model, still, prompt, num_frames=NUM_FRAMES, seed=seed).frames

    @torch.no_grad()
    def flow(still: Tensor, prompt: str, indices: list[int]) -> Tensor:
        motion = estimate_motion(model, fit_to_model(model, still), model.text.encode([prompt]))
        assert motion is not None
        fine = refine(motion, still)
        return torch.stack([frame_flow(fine, NUM_FRAMES, k)[0] for k in indices], dim=2)

    @torch.no_grad()
    def sample(still: Tensor, prompt: str, indices: list[int]) -> Tensor:
        # With a motion network, only filled edges need the diffusion; without, every pixel does.
        edges = "mirror" if model.motion is None else "generate"
        clip = animate(model, still, prompt, num_frames=NUM_FRAMES, seed=seed, edges=edges)
        assert clip.latents is not None
        return decode(model, clip.latents[:, :, indices])

    return Subject(frames, None if model.motion is None else flow, sample)


def _compared(animate: "partial[Clip]", seed: int = 0) -> Subject:
    """Return what evaluations ask of a model of any system, its ``animate`` given."""
    from .pipeline import Model

    model = animate.args[0]
    if isinstance(model, Model):
        return subject_of(model, seed)

    # Other systems draw every pixel of their clips themselves.
    def frames(still: Tensor, prompt: str) -> Iterable[Tensor]:
        return animate(still, prompt, num_frames=NUM_FRAMES, seed=seed).frames

    def sample(still: Tensor, prompt: str, indices: list[int]) -> Tensor:
        clip = list(frames(still, prompt))
        return torch.stack([clip[k] for k in indices])

    return Subject(frames, None, sample)


def write(evaluation: Evaluation, sheets: dict[str, SceneRows], folder: Path) -> None:
    """Write the card (markdown, JSON) and the contact sheets.

    Args:
        evaluation: The figures.
        sheets: File stem -> rows.
        folder: Made if it is not there; files in it are replaced, each when it is complete.

    Raises:
        OSError: If a file cannot be written.
    """
    from .contact_sheet import contact_sheet

    content = json.dumps(evaluation.to_dict(), indent=2, allow_nan=False)
    for name, text in (("card.md", evaluation.to_markdown()), ("card.json", content + "\n")):
        with whole_file(folder / name) as hidden:
            hidden.write_text(text, encoding="utf-8")
    for name, sheet in sheets.items():
        if sheet.rows:
            with whole_file(folder / f"{name}.png") as hidden:
                contact_sheet(sheet.rows, sheet.labels).save(hidden)


def _reader(model: "Model") -> Callable[[list[str]], Tensor] | None:
    """Return prompts -> motion parameters, or None for a model without motion network."""
    motion = model.motion
    if motion is None:
        return None

    @torch.no_grad()
    def read(prompts: list[str]) -> Tensor:
        return motion.understand(model.text.encode(prompts))

    return read


def _photograph_rows(clips: Sequence[PhotographClip]) -> SceneRows:
    """Show every photograph under some captions, each caption at least once."""
    rows = SceneRows()
    names = list(dict.fromkeys(clip.photograph for clip in clips))
    kinds = list(dict.fromkeys(clip.kind for clip in clips))
    for clip in clips:
        turn = kinds.index(clip.kind) % len(names)
        if turn == names.index(clip.photograph) or clip.kind == "gentle":
            drawn = clip.report
            rows.rows.append(list(clip.frames))
            rows.labels.append(
                f"{clip.photograph}, {clip.prompt or 'no words'}: motion {drawn.motion:.2f} "
                f"px/frame, sharpness {100 * drawn.sharpness:.0f} %"
            )
    return rows


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    logger.info("evaluating %s", stage)
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else float("nan")
