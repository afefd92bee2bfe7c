"""The evaluation judges as it should: the truth passes, a frozen clip and noise do not."""

import dataclasses
import errno
import json
import math
import os
import random
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trip_core import evaluate
from trip_core.data.captions import as_parameters, plain_caption, sample_caption
from trip_core.data.world import World, render
from trip_core.metrics.card import Evaluation
from trip_core.metrics.gates import (
    REQUIRED_KINDS,
    CaptionVerdict,
    Gate,
    caption_verdict,
    kinds_offered,
    model_gates,
    sample_loses,
    understood_parameters,
)
from trip_core.metrics.photographs import (
    CAMERA_KINDS,
    PHOTOGRAPHS,
    evaluate_photographs,
    load_photographs,
)
from trip_core.metrics.scenes import (
    COMPARED_FRAMES,
    SAMPLED_KINDS,
    SceneCounts,
    evaluate_scenes,
)
from trip_core.metrics.subject import NUM_FRAMES, Subject
from trip_core.metrics.words import evaluate_typed, evaluate_words
from trip_core.nn.motion_field import (
    MOTION_PARAMETERS,
    REFERENCE_FRAMES,
    StillMotion,
    frame_flow,
)
from trip_core.nn.warp import warp

SIZE, SEED = 64, 77
COUNTS = SceneCounts(size=SIZE, motion=2, sampled=1)
KINDS = ("pan_left", "truck_right", "clouds_left", "waves", "snow")
PARAMETERS = {
    plain_caption(kind).text: torch.tensor([plain_caption(kind).parameters])
    for kind in evaluate.SCENE_KINDS
}


@cache
def oracle():
    """Return a subject that knows every scene: its clips are the truth."""
    scenes = [World(SIZE, SEED).scenes(1, k) for k in range(24)]
    stills = [render(s, torch.zeros(1, 18), 1, [0]).video[0, :, 0] for s in scenes]

    def clip(still, prompt, indices):
        found = next(s for s, own in zip(scenes, stills, strict=True) if torch.equal(own, still))
        return render(found, PARAMETERS[prompt], NUM_FRAMES, indices)

    def sample(still, prompt, indices):
        return clip(still, prompt, indices).video[0].movedim(1, 0)

    return Subject(
        frames=lambda still, prompt: sample(still, prompt, list(range(NUM_FRAMES))),
        flow=lambda still, prompt, indices: clip(still, prompt, indices).flow,
        sample=sample,
    )


def frozen(flow=True):
    """Return a subject that repeats the still."""

    def no_flow(still, prompt, indices):
        del prompt
        return torch.zeros(1, 2, len(indices), *still.shape[-2:])

    return Subject(
        frames=lambda still, _: still.expand(NUM_FRAMES, -1, -1, -1),
        flow=no_flow if flow else None,
        sample=lambda still, _, indices: still.expand(len(indices), -1, -1, -1),
    )


def camera_only():
    """Return a subject that does every camera move by the formula, on any picture."""

    def flow(still, prompt, indices):
        size = still.shape[-2:]
        parameters = PARAMETERS.get(prompt, torch.zeros(1, 18))
        motion = StillMotion(
            parameters, torch.tensor([1.0, 0, 0, 0]).view(1, 4, 1, 1).expand(1, 4, *size),
            torch.zeros(1, 1, *size),
        )  # fmt: skip
        return torch.stack([frame_flow(motion, NUM_FRAMES, k)[0] for k in indices], 2)

    def frames(still, prompt, indices=tuple(range(NUM_FRAMES))):
        return warp(still[None], flow(still, prompt, indices), mode="bicubic")[0].movedim(1, 0)

    return Subject(frames, flow, frames)


@pytest.fixture(scope="module")
def truth_figures():
    figures, rows = evaluate_scenes(oracle(), {"frozen model": frozen()}, KINDS, COUNTS, SEED)
    return {f.kind: f for f in figures}, rows


def test_the_truth_has_no_flow_error_and_the_whole_moving_region(truth_figures):
    for figures in truth_figures[0].values():
        assert figures.scenes == COUNTS.motion
        assert figures.flow_error == 0
        assert figures.iou == 1
        assert figures.flow_zero > 0 or figures.kind == "snow"


def test_the_true_clip_is_at_the_top_and_a_frozen_model_equals_the_frozen_still(truth_figures):
    for kind in set(KINDS) & set(SAMPLED_KINDS):
        visible = truth_figures[0][kind].visible
        assert visible["sample"] == visible["clip"] == 100
        assert visible["frozen model"] == visible["frozen"]


def test_the_true_flow_warps_better_than_no_flow(truth_figures):
    for kind in ("pan_left", "clouds_left"):
        visible = truth_figures[0][kind].visible
        assert visible["warp"] > visible["frozen"] + 3


def test_the_truth_is_as_active_as_itself_and_a_frozen_clip_is_not(truth_figures):
    assert truth_figures[0]["snow"].activity == pytest.approx(1)
    figures, _ = evaluate_scenes(frozen(), {}, ("snow",), COUNTS, SEED)
    assert figures[0].activity == 0
    assert caption_verdict("snow", "snow falls", [], figures[0]).held_back
    snow = truth_figures[0]["snow"]
    assert not caption_verdict("snow", "snow falls", [], snow).held_back
    noise = {"clip": 8.0, "frozen": 8.0}  # as active, no nearer to the truth
    noisy = dataclasses.replace(snow, revealed=noise, visible=noise)
    assert caption_verdict("snow", "snow falls", [], noisy).held_back


def test_a_frozen_clip_fails_every_scene_gate():
    figures, _ = evaluate_scenes(frozen(), {}, KINDS, COUNTS, SEED)
    for f in figures:
        assert f.flow_error == f.flow_zero
        assert caption_verdict(f.kind, "", [], f).held_back


def test_the_truth_passes_every_scene_gate(truth_figures):
    for f in truth_figures[0].values():
        assert not caption_verdict(f.kind, "", [], f).held_back


def test_a_model_without_motion_network_is_sampled_all_the_same():
    figures, _ = evaluate_scenes(frozen(flow=False), {}, ("pan_left",), COUNTS, SEED)
    assert math.isnan(figures[0].iou)
    assert figures[0].visible["warp"] == figures[0].visible["frozen"]


def test_sheet_rows_show_truth_and_model(truth_figures):
    _, rows = truth_figures
    assert len(rows.rows) == len(rows.labels) == 2 * len(set(KINDS) & set(SAMPLED_KINDS))
    assert all(len(row) == 1 + len(COMPARED_FRAMES) for row in rows.rows)


def test_the_world_of_evaluations_repeats():
    first, _ = evaluate_scenes(frozen(), {}, ("waves",), COUNTS, SEED)
    second, _ = evaluate_scenes(frozen(), {}, ("waves",), COUNTS, SEED)
    assert first[0].flow_zero == second[0].flow_zero


def test_reference_length_is_the_evaluated_length():
    """Local motion covers its parameter in the evaluated clip, so gates see the ordinary move."""
    assert NUM_FRAMES == REFERENCE_FRAMES


def test_parameters_to_offer_follow_the_verdicts():
    def verdict(kind, passed):
        return CaptionVerdict(kind, "", (Gate("", 0.0, "", passed),))

    verdicts = [verdict("waves", True), verdict("flow_left", False), verdict("pan_left", True)]
    verdicts += [verdict("object_left", False), verdict("object_right", True)]
    assert understood_parameters(verdicts) == ["pan", "ripple"]


def test_kinds_offered_need_all_their_parameters():
    assert kinds_offered(("ripple", "pan")) == ["still", "pan_left", "pan_right", "waves"]
    assert set(kinds_offered(MOTION_PARAMETERS)) == {"still", *evaluate.SCENE_KINDS}


# Photographs


@pytest.fixture(scope="module")
def photographs():
    pytest.importorskip("skimage")
    return load_photographs(128, PHOTOGRAPHS[:2])


def test_all_photographs_come_with_scikit_image():
    pytest.importorskip("skimage")
    for name, picture in load_photographs(64).items():
        assert picture.shape == (3, 64, 64), name
        assert 0.05 < picture.mean() < 0.95


def test_known_camera_moves_of_photographs_are_followed(photographs):
    clips = evaluate_photographs(camera_only(), photographs, (*CAMERA_KINDS, "still"))
    assert len(clips) == 2 * (len(CAMERA_KINDS) + 1)
    for clip in clips:
        assert clip.followed is None if clip.kind == "still" else clip.followed, clip.kind
    gates = {gate.name.split(",")[0]: gate for gate in model_gates(clips)}
    assert gates["directions followed"].value == 100
    assert gates["motion when still"].passed
    assert gates["first frame"].passed


def test_frozen_photographs_follow_nothing_but_stillness(photographs):
    kinds = ("pan_left", "still", "gentle")
    clips = evaluate_photographs(frozen(), photographs, kinds)
    assert [clip.followed for clip in clips] == [False, None, None] * 2
    assert all(clip.report.frozen for clip in clips)
    verdicts = {
        kind: caption_verdict(kind, "", [c for c in clips if c.kind == kind], None)
        for kind in kinds
    }
    assert verdicts["pan_left"].held_back
    assert verdicts["gentle"].held_back
    assert not verdicts["still"].held_back


def test_nothing_measured_does_not_pass():
    assert not any(gate.passed for gate in model_gates([]))


# Words, card, command


def test_exact_reading_is_understood_and_a_deaf_one_only_in_stillness():
    asked = {}

    def remember(captions):
        return torch.stack([asked[text] for text in captions])

    rng = random.Random(9001)
    for kind in ("pan_left", "combined"):
        for _ in range(6):
            caption = sample_caption(rng, kind)
            asked[caption.text] = torch.tensor(caption.parameters)
    exact = evaluate_words(remember, ("pan_left", "combined"), 6)
    assert [w.understood for w in exact] == [1, 1]
    deaf = evaluate_words(lambda texts: torch.zeros(len(texts), 18), ("pan_left", "still"), 6)
    assert [w.understood for w in deaf] == [0, 1]
    assert deaf[0].worst and not deaf[1].worst


def test_typed_prompts_are_read_as_the_pipeline_reads_them():
    """Words for what is held back are the gentle motion, and the right answer to such a prompt."""
    snow = torch.tensor(as_parameters({"snow": 1}))
    figures = evaluate_typed(
        lambda texts: snow.expand(len(texts), -1), tuple(MOTION_PARAMETERS)[:-3]
    )
    by_kind = {f.kind: f.understood for f in figures}
    assert by_kind["gentle"] == 1
    assert by_kind["two cameras"] == by_kind["still"] == 0


@pytest.fixture(scope="module")
def evaluation(truth_figures, photographs):
    clips = evaluate_photographs(camera_only(), photographs, ("pan_left", "still"))
    figures = list(truth_figures[0].values())
    verdicts = [
        caption_verdict(f.kind, plain_caption(f.kind).text, [], f)
        for f in [*figures, *evaluate_scenes(frozen(), {}, ("object_left",), COUNTS, SEED)[0]]
    ]
    return Evaluation(
        model="oracle",
        others=("frozen model",),
        quick=False,
        gates=model_gates(clips),
        captions=verdicts,
        clips=clips,
        scenes=figures,
        words=evaluate_words(lambda texts: torch.zeros(len(texts), 18), ("still",), 3),
        typed=evaluate_typed(lambda texts: torch.zeros(len(texts), 18), ("pan",)),
        seconds={"load": 0.5},
    )


def test_the_card_lists_what_is_understood_and_what_is_held_back(evaluation):
    page = evaluation.to_markdown()
    assert "**Understood:** “the camera pans left”" in page
    assert "**Held back** (the words do no harm): “the object moves left”." in page
    assert "nan" not in page


def test_every_table_of_the_card_is_rectangular(evaluation):
    table = []
    for line in [*evaluation.to_markdown().splitlines(), ""]:
        if line.startswith("|"):
            table.append(line.count("|"))
        elif table:
            assert len(set(table)) == 1
            table = []


def test_the_json_is_strict_and_complete(evaluation):
    content = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert content["held_back"] == ["object_left"]
    assert {s["kind"] for s in content["scenes"]} == set(KINDS)


def test_only_required_captions_keep_a_model_from_shipping(evaluation):
    lines = evaluation.failures(REQUIRED_KINDS)
    assert not any("object" in line for line in lines)
    assert any("object" in line for line in evaluation.failures(("object_left",)))


def test_a_sample_loses_only_where_something_comes_into_view(truth_figures):
    assert sample_loses(truth_figures[0]["pan_left"]) is False
    assert sample_loses(truth_figures[0]["snow"]) is None
    worse, _ = evaluate_scenes(
        Subject(oracle().frames, oracle().flow, frozen().sample), {}, ("pan_left",), COUNTS, SEED
    )
    assert isinstance(sample_loses(worse[0]), bool)


def test_card_and_sheets_are_written(evaluation, truth_figures, tmp_path):
    evaluate.write(evaluation, {"scenes": truth_figures[1]}, tmp_path / "new")
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"card.md", "card.json", "scenes.png"}


def test_a_card_that_cannot_be_written_leaves_the_old_one(evaluation, monkeypatch, tmp_path):
    (tmp_path / "card.md").write_text("old")

    def full(path, *_, **__):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"/card\.md could not be written: No space left on device$"):
        evaluate.write(evaluation, {}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]
    assert (tmp_path / "card.md").read_text() == "old"


@pytest.mark.parametrize("name", ["", "new/x"])
def test_the_target_is_checked_before_the_work(monkeypatch, tmp_path, name):
    from trip_core import trip_file

    (tmp_path / "file").touch()
    monkeypatch.setattr(trip_file, "load_model", lambda _: pytest.fail("work"))
    options = SimpleNamespace(out=str(tmp_path / "file" / name), model=None)
    with pytest.raises(OSError, match="file is a file, not a folder"):
        evaluate.run(options)


def test_check_fails_when_a_gate_fails(evaluation, monkeypatch, tmp_path, capsys):
    from trip_core import trip_file

    defaults = SimpleNamespace(understood=())
    monkeypatch.setattr(trip_file, "load_model", lambda _: SimpleNamespace(defaults=defaults))
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: (evaluation, {}))
    monkeypatch.setattr(Evaluation, "failures", lambda *_: ["a reason"])
    options = SimpleNamespace(check=True, out=tmp_path, quick=True, model=None, compare=[])
    assert evaluate.run(options) == 1
    assert "not to be shipped: a reason" in capsys.readouterr().out
    options.check = False
    assert evaluate.run(options) == 0
