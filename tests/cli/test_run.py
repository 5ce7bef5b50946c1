"""`cnncc run` on folders of pictures: batches, tables, files that cannot be read."""

from __future__ import annotations

import csv
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncc.cli import run_files, screen

NET = """net tiny
input 3x8x8 resize 9 bicubic bgr mean (100, 110, 120) std (50)
conv1: conv 3x3 4 relu
gap
fc 3 softmax
"""
NAMES = ["a.png", "b.JPG", "sub/c.bmp", "sub/deep/d.webp", "z.png"]


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """Five pictures of several sizes and kinds, and files that are none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.net").write_text(NET)
    (tmp_path / "labels.txt").write_text("cat\ndog\nfox, red\n")
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for i, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9 + i, 12, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / "dir.png").mkdir()
    return folder


def test_a_folder_is_run_in_batches(cnncc, photos):
    """The ragged last batch too; the results are those of the files one by one."""
    alone = [cnncc("run", "tiny.net", photos / name, "--json").json[0] for name in NAMES]
    cnncc("compile", "tiny.net", "--batch", 2, "-o", "two.so")
    together = cnncc("run", "two.so", "photos", "--json").json
    assert [row["inputs"] for row in together] == [[f"photos/{name}"] for name in NAMES]
    assert [row["outputs"] for row in together] == [row["outputs"] for row in alone]


def test_a_table_of_the_best_classes(cnncc, photos):
    result = cnncc("run", "tiny.net", "photos", "--labels", "labels.txt", "--top", 2, "-o", "out.csv")
    assert result.code == 0
    assert result.out.startswith("wrote out.csv: 5 images in ")
    assert result.out.count("\n") == 1
    rows = list(csv.DictReader(Path("out.csv").open(newline="")))
    wanted = cnncc("run", "tiny.net", "photos", "--labels", "labels.txt", "--top", 2, "--json").json
    assert [row["file"] for row in rows[::2]] == [f"photos/{name}" for name in NAMES]
    assert [row["rank"] for row in rows] == ["1", "2"] * 5
    listed = [row for image in wanted for row in image["outputs"][0]["top"]]
    assert [(int(r["index"]), r["label"], float(r["value"])) for r in rows] == [
        (row["index"], row["label"], pytest.approx(row["value"], rel=1e-8)) for row in listed
    ]
    assert any(row["label"] == "fox, red" for row in rows)


def test_results_as_a_json_file(cnncc, photos):
    assert cnncc("run", "tiny.net", "photos", "-o", "out.json").out.startswith("wrote out.json: 5 images")
    written = json.loads(Path("out.json").read_text())
    wanted = cnncc("run", "tiny.net", "photos", "--json").json
    assert [(row["inputs"], row["outputs"]) for row in written] == [(row["inputs"], row["outputs"]) for row in wanted]


def test_pictures_are_prepared_as_the_text_says(cnncc, photos):
    Path("same.net").write_text(NET.split("conv1")[0] + "leaky_relu 1\n")
    assert cnncc("run", "same.net", photos / "z.png", "-o", "y.npy").code == 0
    with Image.open(photos / "z.png") as image:
        sized = image.resize((9, 9 * 13 // 12), Image.Resampling.BICUBIC)  # 12 wide and 13 high: 9 x 9.75
    cut = np.asarray(sized)[0:8, 0:8, ::-1].astype(np.float32)
    wanted = (cut - np.float32([100, 110, 120])) / 50
    np.testing.assert_allclose(np.load("y.npy")[0], wanted.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)


def test_a_file_of_a_folder_that_cannot_be_read_is_told_and_left_out(cnncc, photos):
    (photos / "b.png").write_bytes(b"\x89PNG broken")
    result = cnncc("run", "tiny.net", "photos", "-o", "out.csv")
    assert result.code == 2
    assert "photos/b.png" in result.err
    assert "cnncc: 1 of 6 files could not be read" in result.err
    assert {row["file"] for row in csv.DictReader(Path("out.csv").open())} == {f"photos/{name}" for name in NAMES}
    rows = cnncc("run", "tiny.net", "photos", "-o", "out.npy")
    assert (rows.code, Path("out.npy").exists()) == (2, False)
    named = cnncc("run", "tiny.net", photos / "a.png", photos / "b.png", "-o", "other.csv")
    assert (named.code, Path("other.csv").exists()) == (2, False)


def test_the_module_says_what_pictures_it_wants(cnncc, photos):
    cnncc("compile", "tiny.net")
    said = " ".join(cnncc("info", "tiny.so").out.split())
    assert "applies mean 100.0 110.0 120.0, std 50.0; wants pictures resize 9, bicubic, bgr" in said


def test_arrays_of_all_pictures(cnncc, photos):
    assert cnncc("run", "tiny.net", "photos", "-o", "out.npz").code == 0
    with np.load("out.npz") as archive:
        (scores,) = (archive[name] for name in archive.files)
    assert scores.shape == (5, 3)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiny.net", "photos/dir.png"), "photos/dir.png: no images in this folder"),
        (("two.net", "photos"), "a folder is for networks of one input, this one has 2"),
        (("tiny.net", "photos", "-o", "out.txt"), "-o out.txt: the end of the name says what is written"),
        (("tiny.net", "photos", "-o", "photos"), "cannot write photos: it is a folder"),
        (("map.net", "photos", "-o", "out.csv"), "out.csv: a table holds scores of classes, not map: float32 1x4x8x8"),
        (("two.net", "x.npy", "y.npy"), "the inputs of a run hold different numbers of images: x.npy 1, y.npy 2"),
        (("tiny.net", "photos", "--labels", "none.txt"), "none.txt: no such file or folder"),
        (("tiny.net", "photos", "none.png"), "none.png: no such file or folder"),
    ],
)
def test_what_cannot_be_done_is_one_message(cnncc, photos, arguments, message):
    Path("two.net").write_text("net two\ninput a 3x8x8\ninput b 3x8x8\nadd { | from a }\ngap\n")
    Path("map.net").write_text("net map\ninput 3x8x8\nmap: conv 3x3 4\n")
    np.save("x.npy", np.zeros((3, 8, 8), np.float32))
    np.save("y.npy", np.zeros((2, 3, 8, 8), np.float32))
    result = cnncc("run", *arguments)
    assert result.code == 2
    assert message in result.err


def test_a_table_of_several_inputs_and_outputs(cnncc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two.net").write_text(
        "net two\ninput a 3x8x8\ninput b 3x8x8\nadd { | from a }\nsave s\n"
        "left: fc 2\noutput\nfrom s\nright: fc 3\noutput\n"
    )
    np.save("x.npy", np.random.default_rng(0).random((2, 3, 8, 8), np.float32))
    assert cnncc("run", "two.net", "x.npy", "x.npy", "--top", 1, "-o", "out.csv").code == 0
    rows = list(csv.DictReader(Path("out.csv").open()))
    assert list(rows[0]) == ["a", "b", "output", "rank", "index", "label", "value"]
    assert [(row["a"], row["b"], row["output"]) for row in rows] == [
        (f"x.npy[{i}]", f"x.npy[{i}]", output) for i in range(2) for output in ("left", "right")
    ]


def test_a_bar_shows_how_far_it_is(cnncc, photos, monkeypatch):
    told = []

    class Bar:
        def __init__(self, what: str, wanted: bool = True) -> None:
            self.wanted = wanted

        def __enter__(self):
            return (lambda what, done, total: told.append((what, done, total))) if self.wanted else None

        def __exit__(self, *_: object) -> None:
            return

    monkeypatch.setattr(screen, "progress", Bar)
    cnncc("compile", "tiny.net", "--batch", 2)
    told.clear()
    cnncc("run", "tiny.so", "photos", "-o", "out.csv")
    assert told == [("running tiny", 2, 5), ("running tiny", 4, 5), ("running tiny", 5, 5)]
    told.clear()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    cnncc("run", "tiny.so", "photos")
    assert told == []


def test_reading_ahead_keeps_the_order_and_a_limit():
    """Of a hundred items only so many are made before the first is taken."""
    made, lock = [], threading.Lock()

    def make(item: int) -> int:
        with lock:
            made.append(item)
        return item * item

    steps = run_files.ahead(make, range(100), depth=8)
    first, future = next(steps)
    assert (first, future.result()) == (0, 0)
    assert len(made) <= 8
    assert [(item, future.result()) for item, future in steps] == [(i, i * i) for i in range(1, 100)]


@pytest.fixture
def sorted_photos(photos) -> Path:
    """Nine pictures in folders that have the names of the classes; one of them answers right for each."""
    rng = np.random.default_rng(1)
    for name in ("cat", "dog", "fox, red"):
        for i in range(3):
            path = photos.parent / "sorted" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
    return photos.parent / "sorted"


def first_answers(cnncc, *arguments) -> dict[str, int]:
    """The best class of each file."""
    told = cnncc("run", "tiny.net", *arguments, "--json").json
    rows = told if isinstance(told, list) else told["results"]
    return {row["inputs"][0]: row["outputs"][0]["top"][0]["index"] for row in rows}


def test_folders_with_names_of_classes_say_what_is_right(cnncc, sorted_photos):
    found = first_answers(cnncc, sorted_photos)
    names = ["cat", "dog", "fox, red"]
    right = sum(Path(file).parent.name == names[answer] for file, answer in found.items())
    done = cnncc("run", "tiny.net", sorted_photos, "--labels", "labels.txt", "-q")
    assert done.code == 0
    assert done.out == f"network      {right} of 9 right ({right / 9:.1%}), 9 among the best 5\n"
    assert len(cnncc("run", "tiny.net", sorted_photos, "--labels", "labels.txt", "--json").json) == 9
    rows = (f'"{path}","{path.parent.name}"\n' for path in sorted_photos.rglob("*.png"))
    Path("truth.csv").write_text("".join(rows))
    asked = ("run", "tiny.net", sorted_photos, "--labels", "labels.txt", "--truth", "truth.csv")
    told = cnncc(*asked, "--json").json
    assert told["accuracy"] == {"scores": [{"network": "network", "images": 9, "top1": right, "top5": 9}]}
    assert len(told["results"]) == 9
    cnncc(*asked, "-o", "told.json")
    assert json.loads(Path("told.json").read_text())["accuracy"] == told["accuracy"]


def test_folders_with_other_names_say_nothing(cnncc, photos):
    assert "right" not in cnncc("run", "tiny.net", photos, "--labels", "labels.txt").out


def test_a_table_says_what_is_right(cnncc, photos):
    answers = first_answers(cnncc, photos)
    rows = [f"{file},{answer}" for file, answer in answers.items()]
    file, answer = rows[0].rsplit(",", 1)
    rows[0] = f'"{Path(file).name}",{(int(answer) + 1) % 3}'  # by its name alone, and wrong
    Path("truth.csv").write_text("\n".join(["file,class", *rows]) + "\n")
    assert cnncc("run", "tiny.net", photos, "--truth", "truth.csv", "-q").out.startswith(
        "network      4 of 5 right (80.0%)"
    )


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("a.png,0\n", "truth.csv has no class for photos/b.JPG"),
        ("file,class\n\na.png\n", "truth.csv:3: 1 cells in this row"),
        ("a.png,0\nb.JPG,3\nc.bmp,0\nd.webp,0\nz.png,0\n", "class 3, of photos/b.JPG: tiny has 3 classes"),
        ("a.png,doge\n", "truth.csv: no class 'doge', of a.png\n  hint: did you mean 'dog'?"),
        (None, "cannot read truth.csv: no such file or folder"),
        ("a.png,0\nb.JPG,1\na.png,1\n", "truth.csv:3: a.png is of class 0 above, and of 1 here"),
    ],
)
def test_a_table_that_is_wrong(cnncc, photos, rows, problem):
    if rows is not None:
        Path("truth.csv").write_text(rows)
    done = cnncc("run", "tiny.net", "photos", "--labels", "labels.txt", "--truth", "truth.csv")
    assert done.code == 2
    assert problem in done.err


def test_a_name_that_two_files_have_says_nothing(cnncc, photos):
    (photos / "sub/a.png").write_bytes((photos / "a.png").read_bytes())
    Path("truth.csv").write_text("\ufefffile,class\n" + "".join(f"{Path(name).name},0\n" for name in NAMES), "utf-8")
    done = cnncc("run", "tiny.net", "photos", "--truth", "truth.csv")
    assert done.code == 2
    assert "truth.csv names a.png, and there are 2 files of that name" in done.err


def test_a_file_of_several_images_has_no_class(cnncc, photos):
    np.save("many.npy", np.zeros((2, 3, 8, 8), np.uint8))
    Path("truth.csv").write_text("many.npy,0\n")
    done = cnncc("run", "tiny.net", "many.npy", "--truth", "truth.csv")
    assert done.code == 2
    assert "one file holds several images" in done.err


def test_scores_of_bytes_are_numbers(cnncc, photos):
    """The largest byte is the best; none wraps round."""
    Path("bytes.net").write_text("net bytes\ninput 3x8x8\nquantize uint8 0.01\nqgap to uint8 scale 0.002\nflatten\n")
    found = cnncc("run", "bytes.net", "photos", "--json", "--seed", 1).json
    tables = [row["outputs"][0]["top"] for row in found]
    for top in tables:
        assert [row["value"] for row in top] == sorted((row["value"] for row in top), reverse=True)
    Path("truth.csv").write_text(
        "".join(f"{row['inputs'][0]},{row['outputs'][0]['top'][0]['index']}\n" for row in found)
    )
    assert "5 of 5 right" in cnncc("run", "bytes.net", "photos", "--truth", "truth.csv", "-q").out


def test_a_network_without_scores_is_never_right(cnncc, photos):
    Path("map.net").write_text("net map\ninput 3x8x8\nconv 3x3 4\n")
    Path("truth.csv").write_text("".join(f"{Path(name).name},0\n" for name in NAMES))
    done = cnncc("run", "map.net", "photos", "--truth", "truth.csv")
    assert done.code == 2
    assert "map gives no scores of classes" in done.err
    (photos.parent / "cat").mkdir()
    (photos / "a.png").rename(photos.parent / "cat" / "a.png")
    assert cnncc("run", "map.net", "cat", "--labels", "labels.txt").code == 0, "nobody asked how often it is right"
