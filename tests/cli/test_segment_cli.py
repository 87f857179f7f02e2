"""`python segment.py`: the same results as the service, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result
from pycocotools.coco import COCO

import segment
from cli import segmenters
from cli.run_log import FOLDER
from exports import FORMATS
from img_to_segments import PART_NAMES
from options import DEFAULT_CONFIDENCE
from pipeline import Pipeline
from settings import REPOSITORY
from tests.support.pictures import SAMPLE, encoded, noise
from tests.support.server import Server

PICTURES = REPOSITORY / "tests" / "pictures"
DAMAGED = PICTURES / "damaged.jpg"


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> None:
    """Use the models that are loaded already for the command in this process."""
    monkeypatch.setattr(segmenters, "open_pipeline", lambda settings, **kinds: pipeline)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(segment.main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path, sample: bytes) -> Path:
    """Return photos at two depths, two with the same stem, a bad one, and other files."""
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    (photos / "car.png").write_bytes(sample)
    (photos / "car.jpg").write_bytes(encoded(noise(40, 50), "JPEG"))
    (photos / "more" / "Other.PNG").write_bytes(sample)
    (photos / "more" / "broken.webp").write_bytes(sample[:2000])
    (photos / "notes.txt").write_text("no photo")
    return photos


def listed(folder: Path) -> list[str]:
    """Return the result files, without the run log."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()]
    return sorted(name for name in names if not name.startswith(FOLDER))


@pytest.mark.parametrize("form", FORMATS)
def test_results_equal_those_of_service(form: str, server: Server, tmp_path: Path) -> None:
    flags = ["--tolerance", "1.5", "--min-confidence", "0.4", "--topology", "shared"]
    local = run(SAMPLE, "--format", form, *flags)
    remote = run(SAMPLE, "--format", form, *flags, "--server", server.url)
    image_hash = server.post(SAMPLE.read_bytes())
    server.wait(image_hash)
    query = {"format": form, "tolerance": "1.5", "min_confidence": "0.4", "topology": "shared",
             "file_name": "car.png"}  # fmt: skip
    answer = requests.get(f"{server.url}/{image_hash}/segments", query, timeout=60)
    assert local.exit_code == remote.exit_code == 0
    assert local.stdout_bytes == remote.stdout_bytes == answer.content
    run(SAMPLE, "--format", form, *flags, "--out", tmp_path)
    (file,) = tmp_path.glob(f"car{FORMATS[form].ending}")
    if form != "labelme":  # there the path of the photo is in the file
        assert file.read_bytes() == answer.content


@pytest.mark.parametrize("form", ["json", "yolo", "csv"])
def test_damage_equals_that_of_service(
    form: str, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    with start_server(tmp_path / "data") as server:
        local = run(DAMAGED, "--format", form, "--damage")
        remote = run(DAMAGED, "--format", form, "--damage", "--server", server.url)
    assert local.exit_code == remote.exit_code == 0
    assert local.stdout_bytes == remote.stdout_bytes
    assert local.stdout_bytes != run(DAMAGED, "--format", form).stdout_bytes


def test_help_of_damage() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "--damage examine the photos for damage, too." in text
    assert text.count("damage with") == 2  # fewer pixels, less confidence


def test_dataset_names_kinds_of_damage(tmp_path: Path) -> None:
    for flags, count in ((["--damage"], 33), ([], 25)):
        out = tmp_path / str(count)
        assert run(DAMAGED, "--format", "yolo", *flags, "--out", out).exit_code == 0
        names = (out / "data.yaml").read_text().splitlines()[1:]
        assert len(names) == count
        classes = {int(row.split()[0]) for row in (out / "damaged.txt").read_text().splitlines()}
        assert any(number >= 25 for number in classes) == (count == 33)


def test_overlay_hatches_damage(tmp_path: Path) -> None:
    for flags, name in ((["--damage"], "with"), ([], "without")):
        assert run(DAMAGED, "--format", "overlay-png", *flags, "--out", tmp_path / name)
    with_damage, without = (
        (tmp_path / name / "damaged.png").read_bytes() for name in ("with", "without")
    )
    assert with_damage != without


def test_default_options(server: Server) -> None:
    local, remote = run(SAMPLE), run(SAMPLE, "--server", server.url)
    image_hash = server.post(SAMPLE.read_bytes())
    server.wait(image_hash)
    answer = requests.get(f"{server.url}/{image_hash}/segments", timeout=60)
    assert local.stdout_bytes == remote.stdout_bytes == answer.content


def test_help_has_default_confidence() -> None:
    words = " ".join(run("--help").output.split())
    assert f"0 keeps all parts. Default: {DEFAULT_CONFIDENCE}." in words


def test_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run(folder, "--out", out)
    assert ended.exit_code == 1
    assert listed(out) == ["car.json", "car.png.json", "more/Other.json"]
    assert "broken.webp: The image is damaged or incomplete." in ended.stderr
    assert ended.stderr.endswith("3 done, 1 failed.\n")
    car, other = (
        json.loads((out / name).read_bytes()) for name in ("car.png.json", "more/Other.json")
    )
    assert car == other
    assert json.loads((out / "car.json").read_bytes())["parts"] == []


def test_folder_as_one_coco_file(folder: Path, tmp_path: Path) -> None:
    (folder / "more" / "broken.webp").unlink()
    ended = run(folder, "--format", "coco", "--out", tmp_path / "out")
    assert ended.exit_code == 0
    assert listed(tmp_path / "out") == ["coco.json"]
    dataset = COCO(tmp_path / "out" / "coco.json")
    names = [image["file_name"] for image in dataset.imgs.values()]
    assert names == ["car.jpg", "car.png", "more/Other.PNG"]
    assert len(dataset.imgToAnns[2]) == len(dataset.imgToAnns[3]) > 3


@pytest.mark.parametrize("form", ["coco-rle", "labelstudio", "cvat", "csv"])
def test_folder_by_service_gives_same_file(
    form: str, folder: Path, server: Server, tmp_path: Path
) -> None:
    for out, more in (("local", []), ("remote", ["--server", server.url])):
        ended = run(folder, "--format", form, "--out", tmp_path / out, *more)
        assert ended.exit_code == 1
        assert ended.stderr.endswith("3 done, 1 failed.\n")
    name = f"{form}{FORMATS[form].ending}"
    local, remote = ((tmp_path / out / name).read_bytes() for out in ("local", "remote"))
    assert local == remote


def test_labelme_files_find_their_photos(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, "--format", "labelme", "--out", out)
    for file in out.rglob("*.json"):
        assert (file.parent / json.loads(file.read_bytes())["imagePath"]).is_file()


def test_yolo_class_list(folder: Path, tmp_path: Path) -> None:
    run(folder, "--format", "yolo", "--out", tmp_path / "out")
    names = (tmp_path / "out" / "data.yaml").read_text().splitlines()[1:]
    assert names == [f"  {index}: {name}" for index, name in enumerate(PART_NAMES)]


def test_bad_photos_do_not_stop_others(sample: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    (tmp_path / "good.png").write_bytes(sample)
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    photos = [tmp_path / name for name in ("bad.png", "missing.png", "good.png", "empty")]
    ended = run(*photos, "--out", out)
    assert ended.exit_code == 1
    assert "bad.png: This is not an image" in ended.stderr
    assert "missing.png: No such file or directory." in ended.stderr
    assert (
        "empty: There are no PNG, JPEG, WebP, HEIC, AVIF, BMP or GIF files in this folder."
        in ended.stderr
    )
    assert ended.stderr.endswith("1 done, 3 failed.\n")
    assert listed(out) == ["good.json"]


def test_one_bad_photo(tmp_path: Path) -> None:
    ended = run(tmp_path / "missing.png")
    assert ended.exit_code == 1
    assert ended.stdout_bytes == b""
    assert "missing.png: No such file or directory." in ended.stderr


def test_photos_of_all_endings(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    jpeg, heic = encoded(noise(20, 30), "JPEG"), (PICTURES / "flat.heic").read_bytes()
    for name in ("a.jpg", "b.JPE", "c.jfif", "d.jpeg"):
        (photos / name).write_bytes(jpeg)
    for name in ("e.heic", "f.HEIF", "g.hif"):
        (photos / name).write_bytes(heic)
    for name, kind in (("h.bmp", "BMP"), ("i.gif", "GIF"), ("j.avif", "AVIF"), ("k.webp", "WEBP")):
        (photos / name).write_bytes(encoded(noise(20, 30), kind))
    ended = run(photos, "--out", tmp_path / "out")
    assert ended.exit_code == 0
    assert ended.stderr == "11 done, 0 failed.\n"


def test_left_out_files_are_named(sample: bytes, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for folder in ("scans", "__MACOSX", ".cache"):
        (photos / folder).mkdir(parents=True)
    (photos / "car.png").write_bytes(sample)
    for name in ("one.tif", "scans/two.tiff"):
        (photos / name).write_bytes(encoded(noise(5, 5), "TIFF"))
    (photos / "scans" / "bill").write_bytes(b"%PDF-1.7")
    (photos / "car.png_original").write_bytes(sample)
    (photos / "notes.txt").write_text("no photo")
    (photos / "README").write_text("no photo")
    for name in ("._car.png", "__MACOSX/._car.png", "__MACOSX/car.png", ".cache/x", "Thumbs.db"):
        (photos / name).write_text("of a system")
    ended = run(photos, "--out", tmp_path / "out")
    assert ended.exit_code == 0
    assert ended.stderr == (
        "Left out: 2 TIFF, 1 without ending, 1 PNG_ORIGINAL (photo), 1 TXT, 1 PDF.\n"
        "1 done, 0 failed.\n"
    )
    assert run(photos, "--out", tmp_path / "out", "--quiet").stderr == ""


@pytest.mark.parametrize("out", [".", "results", "results/json"])
def test_results_in_folder_of_photos(out: str, sample: bytes, tmp_path: Path) -> None:
    (tmp_path / "car.png").write_bytes(sample)
    for done in ("", "1 of 1 was done before.\n"):
        ended = run(tmp_path, "--format", "yolo", "--out", tmp_path / out)
        assert ended.stderr == f"{done}1 done, 0 failed.\n"


@pytest.mark.parametrize("form", ["yolo", "labelme", "json"])
def test_warning_of_photos_with_same_stem(form: str, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for folder in ("a", "b"):
        (photos / folder).mkdir(parents=True)
    for name in ("car.jpg", "car.png", "a/car.jpg", "b/car.jpg"):
        (photos / name).write_bytes(encoded(noise(20, 30), "JPEG"))
    for number in range(6):
        for ending in ("jpg", "png"):
            (photos / "b" / f"{number}.{ending}").write_bytes(encoded(noise(20, 30), "JPEG"))
    ended = run(photos, "--format", form, "--out", tmp_path / "out")
    assert ended.exit_code == 0
    *warnings, last = ended.stderr.splitlines()
    assert last == "16 done, 0 failed."
    if form == "json":
        assert warnings == []
        return
    assert len(warnings) == 6
    first, second = photos / "b" / "0.jpg", photos / "b" / "0.png"
    assert warnings[0].startswith(f"Warning: {first} and {second} differ only in their ending.")
    assert warnings[-1] == "Warning: 2 more pairs differ only in their ending."


def test_results_with_equal_names(tmp_path: Path, sample: bytes) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "car.png").write_bytes(sample)
    ended = run(tmp_path / "a", tmp_path / "b", tmp_path / "b", "--out", tmp_path / "out")
    assert listed(tmp_path / "out") == ["car.json", "car.png.json"]
    assert "would overwrite that of another photo" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument"),
        (["a.png", "b.png"], "use --out DIR"),
        ([".", "--format", "coco"], "use --out DIR"),
        (["a.png", "--format", "gif"], "is not one of"),
        (["a.png", "--tolerance", "-1"], "tolerance must be a number of pixels"),
        (["a.png", "--topology", "x"], "is not one of"),
        (["a.png", "--parts", "roff"], "There is no part 'roff'; the nearest is roof."),
        ([".", "--parts", "hood,roff", "--out", "x", "--server", "nowhere:1"], "nearest is roof."),
        (
            ["a.png", "--format", "svg", "--normalized"],
            "normalized works only with json and geojson",
        ),
    ],
)
def test_usage_errors(arguments: list[str], words: str) -> None:
    ended = run(*arguments)
    assert ended.exit_code == 2
    assert words in ended.stderr


def test_unreachable_service() -> None:
    for address in ("http://127.0.0.1:9", "127.0.0.1:9"):
        ended = run(SAMPLE, "--server", address)
        assert ended.exit_code == 1
        assert ended.stderr == (
            "Error: The service at http://127.0.0.1:9 does not answer; check that it runs there.\n"
        )
        assert ended.stdout_bytes == b""


def test_bad_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSEG_MAX_PIXELS", "many")
    ended = run(SAMPLE)
    assert ended.exit_code == 2
    assert ended.stderr == "Error: CARSEG_MAX_PIXELS=many: it must be a whole number.\n"


def test_name_like_formula(tmp_path: Path) -> None:
    photo = tmp_path / "=1+1.png"
    photo.write_bytes(encoded(noise(20, 30)))
    for arguments in ([photo], [tmp_path, "--out", tmp_path / "out"]):
        ended = run(*arguments, "--format", "csv")
        assert ended.exit_code == 0
    merged = (tmp_path / "out" / "csv.csv").read_bytes()
    assert merged.splitlines()[1] == b"'=1+1.png,,,,,,,,,"


def test_run_as_program(server: Server) -> None:
    ended = subprocess.run(
        [sys.executable, REPOSITORY / "segment.py", SAMPLE, "--normalized"],
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    image_hash = server.post(SAMPLE.read_bytes())
    server.wait(image_hash)
    answer = requests.get(f"{server.url}/{image_hash}/segments", {"normalized": "true"}, timeout=60)
    assert ended.stdout == answer.content
