"""The model card: everything an evaluation found, as a markdown page and as JSON."""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .gates import CaptionVerdict, Gate, sample_loses, understood_parameters
from .photographs import PhotographClip
from .scenes import SceneFigures
from .words import WordFigures


@dataclass(frozen=True)
class Evaluation:
    """All figures of one model.

    Attributes:
        model: What was evaluated.
        others: Names of the models sampled beside it.
        quick: Whether only a small part was measured.
        gates: Demands on the model as a whole.
        captions: A verdict for every caption tried.
        clips: Clips of photographs.
        scenes: Figures on procedural scenes.
        words: Wordings of the grammar understood.
        typed: Prompts as users type them understood.
        seconds: Wall time by stage, and of a median clip.
    """

    model: str
    others: tuple[str, ...]
    quick: bool
    gates: list[Gate]
    captions: list[CaptionVerdict]
    clips: list[PhotographClip]
    scenes: list[SceneFigures]
    words: list[WordFigures]
    typed: list[WordFigures]
    seconds: dict[str, float]

    def failures(self, required: Collection[str]) -> list[str]:
        """Return what keeps the model from being shipped, one line each.

        Args:
            required: Captions that may not be held back.
        """
        lines = [_gate_line(gate) for gate in self.gates if not gate.passed]
        for verdict in self.captions:
            if verdict.kind in required:
                failed = [_gate_line(gate) for gate in verdict.gates if not gate.passed]
                lines += [f"{verdict.prompt!r}: {line}" for line in failed]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return everything but pictures, ready for JSON: ``nan`` becomes None."""
        held = [v.kind for v in self.captions if v.held_back]
        content = {
            "model": self.model,
            "quick": self.quick,
            "understood": [v.kind for v in self.captions if not v.held_back],
            "held_back": held,
            "understood_parameters": understood_parameters(self.captions),
            "sample_loses": [s.kind for s in self.scenes if sample_loses(s)],
            "gates": [asdict(gate) for gate in self.gates],
            "captions": [asdict(verdict) for verdict in self.captions],
            "photographs": [
                {
                    "photograph": clip.photograph,
                    "kind": clip.kind,
                    "followed": clip.followed,
                    "seconds": clip.seconds,
                    **clip.report.to_dict(),
                }
                for clip in self.clips
            ],
            "scenes": [asdict(figures) for figures in self.scenes],
            "words": [asdict(figures) for figures in self.words],
            "typed": [asdict(figures) for figures in self.typed],
            "seconds": self.seconds,
        }
        return _plain(content)

    def to_markdown(self) -> str:
        """Return the card's page."""
        offered = [f"“{v.prompt or 'no words'}”" for v in self.captions if not v.held_back]
        held = [f"“{v.prompt}”" for v in self.captions if v.held_back]
        parts = [
            f"# Figures of {self.model}",
            "Measured by `python -m trip_core evaluate-embedded`"
            + (" (`--quick`: a small part only)." if self.quick else "."),
            _table(
                ("figure", "measured", "demand", ""),
                [(g.name, _number(g.value), g.demand, _mark(g.passed)) for g in self.gates],
            ),
            f"**Understood:** {', '.join(offered) or 'nothing'}.",
            f"**Held back** (the words do no harm): {', '.join(held) or 'nothing'}.",
            "## Captions",
            "Direction, sharpness, drift: photographs. Flow, IoU of the moving region, activity "
            "(change in the clip over change in the truth): procedural scenes never trained on. "
            "Flow error on what stays visible, beside the error of predicting no motion.",
            self._caption_table(),
            "## The sample against the warp alone",
            "PSNR in dB at the model's own size, errors pooled. *Visible*: the still shows what "
            "the frame shows. *Revealed*: it does not. *Frozen* repeats the still; *warp* moves "
            "the still with mirrored edges and no diffusion; *sample* is what the diffusion drew, "
            "through the autoencoder; *clip* is the finished clip. *Better there* came nearer in "
            "what is revealed; the finished clip has mirrored pixels there unless it is asked to "
            "generate them.",
            self._sample_table(),
            self._words_section(),
            "## Seconds",
            _table(
                ("stage", "s"), [(name, f"{value:.1f}") for name, value in self.seconds.items()]
            ),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _caption_table(self) -> str:
        scenes = {figures.kind: figures for figures in self.scenes}
        head = ("caption", "direction", "sharpness", "colour drift", "motion px/frame")
        head += ("flow error / none px", "IoU", "activity", "verdict")
        rows = []
        for verdict in self.captions:
            clips = [clip for clip in self.clips if clip.kind == verdict.kind]
            asked = [clip.followed for clip in clips if clip.followed is not None]
            scene = scenes.get(verdict.kind)
            failed = ", ".join(gate.name for gate in verdict.gates if not gate.passed)
            flow = ""
            if scene is not None and not math.isnan(scene.flow_error):
                flow = f"{_number(scene.flow_error)} / {_number(scene.flow_zero)}"
            rows.append(
                (
                    verdict.prompt or "(no words)",
                    f"{sum(asked)}/{len(asked)}" if asked else "",
                    _percent([clip.report.sharpness for clip in clips]),
                    _percent([clip.report.colour_drift for clip in clips], 1),
                    _mean_text([clip.report.motion for clip in clips]),
                    flow,
                    _number(scene.iou if scene else math.nan),
                    _number(scene.activity if scene else math.nan),
                    f"held back: {failed}" if verdict.held_back else "offered",
                )
            )
        return _table(head, rows)

    def _sample_table(self) -> str:
        names = ("warp", "sample", *self.others, "clip")
        sampled = [figures for figures in self.scenes if "sample" in figures.visible]
        if not sampled:
            return "Not measured."
        head = ("caption", "visible: frozen", *names, "revealed: warp", *names[1:], "better there")
        rows = []
        for figures in sampled:
            loses = sample_loses(figures)
            rows.append(
                (
                    figures.prompt,
                    _decibels(figures.visible.get("frozen", math.nan)),
                    *(_decibels(figures.visible.get(name, math.nan)) for name in names),
                    *(_decibels(figures.revealed.get(name, math.nan)) for name in names),
                    "" if loses is None else "mirror" if loses else "sample",
                )
            )
        return _table(head, rows)

    def _words_section(self) -> str:
        if not self.words:
            return ""
        return (
            "## Words\n\nRandom captions of the grammar, with speed words, subjects and styles: "
            "share of which every motion parameter is read within 30 % (10 % of an ordinary move "
            "where none was asked).\n\n"
            + _words_table(self.words)
            + "\n\nPrompts as users type them (`trip_core/metrics/typed_prompts.json`), written "
            "without a look at the grammar and not used in training; what is held back is not "
            "done. Of all "
            f"{sum(w.wordings for w in self.typed)}, {100 * _share_understood(self.typed):.0f} % "
            "are read right.\n\n" + _words_table(self.typed)
        )


def _words_table(words: Sequence[WordFigures]) -> str:
    rows = [(w.kind, f"{100 * w.understood:.0f} %", w.worst.replace("|", "/")) for w in words]
    return _table(("kind", "understood", "first miss"), rows)


def _share_understood(words: Sequence[WordFigures]) -> float:
    return sum(w.understood * w.wordings for w in words) / sum(w.wordings for w in words)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _gate_line(gate: Gate) -> str:
    return f"{gate.name} is {_number(gate.value) or 'not measured'}, must be {gate.demand}"


def _mark(passed: bool) -> str:
    return "passed" if passed else "**failed**"


def _number(value: float) -> str:
    """Return two decimals below 10, one above; nothing for ``nan``."""
    if math.isnan(value):
        return ""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _decibels(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def _percent(values: Sequence[float], digits: int = 0) -> str:
    known = [value for value in values if not math.isnan(value)]
    return f"{100 * sum(known) / len(known):.{digits}f} %" if known else ""


def _mean_text(values: Sequence[float]) -> str:
    return _number(sum(values) / len(values)) if values else ""


def _plain(value: Any) -> Any:
    """Replace ``nan``, which JSON does not know, by None, at any depth."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
