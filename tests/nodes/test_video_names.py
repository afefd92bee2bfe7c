"""Where ``filename_prefix`` leads: below the output folder, to a name that a page can show."""

import os
import re
import sys
import time
from types import ModuleType

import pytest


@pytest.fixture
def target(part, tmp_path, monkeypatch):
    """Return ``host_targets.target`` for a host that counts as ComfyUI does."""
    module = ModuleType("folder_paths")

    def get_save_image_path(prefix, root, width, height):
        del width, height
        folder, name = os.path.split(os.path.join(root, os.path.normpath(prefix)))
        os.makedirs(folder, exist_ok=True)
        numbers = [re.match(re.escape(name) + r"_(\d+)_", file) for file in os.listdir(folder)]
        counter = max([int(number[1]) for number in numbers if number], default=0) + 1
        return folder, name, counter, os.path.dirname(os.path.normpath(prefix)), prefix

    module.get_save_image_path = get_save_image_path
    module.get_output_directory = lambda: str(tmp_path / "output")
    module.get_temp_directory = lambda: str(tmp_path / "temp")
    monkeypatch.setitem(sys.modules, "folder_paths", module)
    (tmp_path / "output").mkdir()
    return lambda prefix, keep=True: part("host_targets").target(prefix, ".mp4", (48, 64), keep)


@pytest.mark.parametrize(
    ("prefix", "subfolder", "name"),
    [
        ("clip", "", "clip_00001_.mp4"),
        ("TRIP/clip", "TRIP", "clip_00001_.mp4"),
        ("a/../b//c", "b", "c_00001_.mp4"),
        ("a/", "", "a_00001_.mp4"),
        ("x%width%/y%height%", "x64", "y48_00001_.mp4"),
        ("%year%/c", time.strftime("%Y"), "c_00001_.mp4"),
        ("ünï/ cödé 日本\u3000語", "ünï", " cödé 日本\u3000語_00001_.mp4"),
        (".hidden/v", ".hidden", "v_00001_.mp4"),
    ],
)
def test_names_and_folders(target, tmp_path, prefix, subfolder, name):
    place = target(prefix)
    assert place.entry == {"filename": name, "subfolder": subfolder, "type": "output"}
    assert place.path == tmp_path / "output" / subfolder / name
    assert list((tmp_path / "output").iterdir()) == []  # made with the first frame
    place.path.parent.mkdir(exist_ok=True)
    place.path.touch()
    assert target(prefix).path.name == name.replace("00001", "00002")


def test_an_absolute_prefix_is_shown_by_its_place_below_the_folder(target, tmp_path):
    place = target(f"{tmp_path}/output/a/b")
    assert place.entry == {"filename": "b_00001_.mp4", "subfolder": "a", "type": "output"}


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("", "names no file"),
        (".", "names no file"),
        ("..", "names no file"),
        ("a/..", "names no file"),
        ("a/. .", "names no file"),
        ("%date:%", "names no file"),
        ("a\0b", "control character"),
        ("x\ny", "control character"),
        ("x\udcffy", "control character"),
        ("a" * 300, "more than 200 bytes"),
        ("語語語/" + "語" * 80 + "/a", "more than 200 bytes"),
        ("../x", "leads out of the output folder"),
    ],
)
def test_names_that_no_page_shows_are_refused(target, tmp_path, prefix, words):
    with pytest.raises(ValueError, match=words) as refused:
        target(prefix)
    assert len(str(refused.value)) < 250
    assert list((tmp_path / "output").iterdir()) == []


def test_a_folder_that_cannot_be_read_is_named(target, tmp_path, monkeypatch):
    def closed(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "listdir", closed)
    with pytest.raises(OSError, match=f"^{tmp_path}/output cannot be read: Permission denied$"):
        target("clip")
