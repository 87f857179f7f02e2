"""`python segment.py` with the formats that need the photo, and names for Label Studio."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import supervision
from click.testing import CliRunner, Result
from PIL import Image

import segment
from cli import segmenters
from exports.palette import PART_COLOURS
from img_to_segments import PART_NAMES
from pipeline import Pipeline
from tests.support.pictures import SAMPLE, car_photo, encoded, noise
from tests.support.server import Server

SIDEWAYS = 6  # EXIF orientation


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> None:
    """Use the models that are loaded already for the command in this process."""
    monkeypatch.setattr(segmenters, "open_pipeline", lambda settings, **kinds: pipeline)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(segment.main, [str(argument) for argument in arguments])


def parts_of(photo: Path) -> list[str]:
    return [part["name"] for part in json.loads(run(photo).stdout_bytes)["parts"]]


# --- overlay


@pytest.mark.parametrize(("form", "kind"), [("overlay", "JPEG"), ("overlay-png", "PNG")])
def test_overlay(form: str, kind: str, server: Server) -> None:
    local = run(SAMPLE, "--format", form)
    assert local.exit_code == 0
    assert run(SAMPLE, "--format", form, "--server", server.url).stdout_bytes == local.stdout_bytes
    with Image.open(SAMPLE) as photo, Image.open(BytesIO(local.stdout_bytes)) as drawn:
        assert (drawn.format, drawn.size, drawn.mode) == (kind, photo.size, "RGB")
        before, after = (np.asarray(picture.convert("RGB")) for picture in (photo, drawn))
    changed = np.abs(before.astype(int) - after).max(axis=2) > 20
    assert 0.1 < changed.mean() < 0.5
    assert changed[:100].mean() < 0.01  # no car there
    if kind == "PNG":  # colours of a JPEG are not exact
        assert not changed[:100].any()
        used = {tuple(colour) for colour in np.unique(after.reshape(-1, 3), axis=0).tolist()}
        assert {PART_COLOURS[name] for name in parts_of(SAMPLE)} <= used


def test_overlay_follows_options() -> None:
    plain = run(SAMPLE, "--format", "overlay").stdout_bytes
    assert run(SAMPLE, "--format", "overlay", "--tolerance", "20").stdout_bytes != plain
    coarse = run(SAMPLE, "--format", "overlay", "--tolerance", "1000", "--max-vertices", "3")
    assert coarse.exit_code == 0


@pytest.mark.parametrize(("form", "folder"), [("overlay", "."), ("yolo-dataset", "images")])
def test_same_stems_keep_their_names(tmp_path: Path, form: str, folder: str) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "a.gif").write_bytes(encoded(noise(40, 60), "GIF"))
    (photos / "a.jpg").write_bytes(encoded(noise(50, 70), "JPEG"))
    assert run(photos, "--format", form, "--out", out).exit_code == 0
    with Image.open(out / folder / "a.jpg") as own, Image.open(out / folder / "a.gif.jpg") as other:
        assert (own.size, other.size) == ((70, 50), (60, 40))


def test_overlay_of_photo_on_its_side(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = SIDEWAYS
    with Image.open(BytesIO(car_photo(1))) as car:
        size = car.size
        (tmp_path / "car.jpg").write_bytes(
            encoded(car.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)
        )
    with Image.open(
        BytesIO(run(tmp_path / "car.jpg", "--format", "overlay").stdout_bytes)
    ) as drawn:
        assert drawn.size == size


def test_overlays_of_folder(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, kind in (("a.jpg", "JPEG"), ("a.png", "PNG"), ("b.gif", "GIF")):
        (photos / name).write_bytes(encoded(noise(40, 50), kind))
    for _ in range(2):  # overlays are not taken for photos
        ended = run(photos, "--format", "overlay", "--out", photos / "drawn")
        assert ended.exit_code == 0
        assert ended.stderr.endswith("3 done, 0 failed.\n")
    names = sorted(path.name for path in (photos / "drawn").glob("*.*") if path.is_file())
    assert names == ["a.jpg", "a.png.jpg", "b.jpg"]


@pytest.mark.parametrize("form", ["overlay", "yolo-dataset"])
@pytest.mark.parametrize("given", [".", "a/a.png"])
def test_pictures_among_photos_are_refused(form: str, given: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.png").write_bytes(encoded(noise(40, 50)))
    photos = tmp_path / given
    out = photos if photos.is_dir() else photos.parent
    ended = run(photos, "--format", form, "--out", out)
    assert ended.exit_code == 2
    assert "use another --out DIR than that of the photos" in ended.stderr


def test_photo_is_never_overwritten(tmp_path: Path) -> None:
    photo = tmp_path / "a" / "a" / "car.jpg"
    photo.parent.mkdir(parents=True)
    for file in (photo, tmp_path / "a" / "car.jpg"):
        file.write_bytes(encoded(noise(40, 50), "JPEG"))
    before = photo.read_bytes()
    ended = run(tmp_path / "a" / "a", tmp_path / "a", "--format", "overlay", "--out", tmp_path)
    assert ended.exit_code == 1
    assert "would overwrite" in ended.stderr
    assert photo.read_bytes() == before


# --- yolo-dataset


@pytest.fixture
def photos(tmp_path: Path, sample: bytes) -> Path:
    """Return photos of all kinds, some with names that are hard to pair."""
    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    (folder / "car.png").write_bytes(sample)
    (folder / "car.jpg").write_bytes(car_photo(1))
    (folder / "images" / "other.JFIF").write_bytes(car_photo(2))
    (folder / "still.gif").write_bytes(encoded(Image.open(SAMPLE).convert("RGB"), "GIF"))
    exif = Image.Exif()
    exif[0x0112] = SIDEWAYS
    side = Image.open(SAMPLE).convert("RGB").transpose(Image.Transpose.ROTATE_90)
    (folder / "side.png").write_bytes(encoded(side, "PNG", exif=exif))
    (folder / "side.jpg").write_bytes(encoded(side, "JPEG", exif=exif))
    (folder / "nothing.webp").write_bytes(encoded(noise(40, 50), "WEBP"))
    (folder / "bad.jpg").write_bytes(b"nothing")
    return folder


def images_of(out: Path) -> dict[str, list[Path]]:
    """Return the images of `data.yaml` by split, found as Ultralytics finds them."""
    data = (out / "data.yaml").read_text()
    assert data.endswith(f"  {len(PART_NAMES) - 1}: {PART_NAMES[-1]}\n")
    lists = {
        split: out / name for split, name in re.findall(r"^(train|val): (.*)$", data, re.MULTILINE)
    }
    return {
        split: [
            Path(line.replace("./", f"{file.parent}/")) for line in file.read_text().splitlines()
        ]
        for split, file in lists.items()
    }


def labels_of(image: Path) -> Path:
    """Return where Ultralytics looks for the labels of an image."""
    return Path("/labels/".join(str(image).rsplit("/images/", 1))).with_suffix(".txt")


@pytest.mark.parametrize("by_service", [False, True])
def test_dataset(by_service: bool, photos: Path, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ["--server", server.url] if by_service else []
    ended = run(photos, "--format", "yolo-dataset", "--out", out, *more)
    assert ended.stderr.endswith("7 done, 1 failed.\n")
    splits = images_of(out)
    assert len(splits["val"]) == 1
    images = [*splits["train"], *splits["val"]]
    assert sorted(path.relative_to(out / "images").as_posix() for path in images) == [
        *("car.jpg", "car.png.png", "images_/other.jpg", "nothing.webp"),
        *("side.jpg", "side.png.png", "still.jpg"),
    ]
    for image in images:
        assert bool(labels_of(image).read_text()) == (image.stem != "nothing")
    for copy, photo in (("car.jpg", "car.jpg"), ("images_/other.jpg", "images/other.JFIF")):
        assert (out / "images" / copy).read_bytes() == (photos / photo).read_bytes()
    with Image.open(out / "images" / "side.png.png") as turned, Image.open(SAMPLE) as upright:
        assert np.array_equal(np.asarray(turned), np.asarray(upright.convert("RGB")))
    with Image.open(out / "images" / "still.jpg") as still:
        assert still.format == "JPEG"


def test_dataset_in_other_program(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos / "car.png", "--format", "yolo-dataset", "--out", out)
    dataset = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(out / "images"),
        annotations_directory_path=str(out / "labels"),
        data_yaml_path=str(out / "data.yaml"),
    )
    ((_, _, detections),) = list(dataset)
    numbers = np.asarray(detections.class_id).tolist()
    assert {dataset.classes[number] for number in numbers} == set(parts_of(SAMPLE))
    assert images_of(out) == {"train": [out / "images" / "car.png"]} | {
        "val": [out / "images" / "car.png"]
    }


def test_lost_image_of_dataset_is_written_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (photos / "bad.jpg").unlink()
    assert run(photos, "--format", "yolo-dataset", "--out", out).exit_code == 0
    (out / "images" / "car.jpg").unlink()
    ended = run(photos, "--format", "yolo-dataset", "--out", out)
    assert ended.stderr == "6 of 7 were done before.\n7 done, 0 failed.\n"
    assert (out / "images" / "car.jpg").read_bytes() == (photos / "car.jpg").read_bytes()


def test_validation_photos_stay_when_photos_are_added(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(30):
        (photos / f"{number}.png").write_bytes(encoded(noise(10, 10, number)))
    run(photos, "--format", "yolo-dataset", "--out", out)
    before = images_of(out)
    (photos / "more.png").write_bytes(encoded(noise(10, 10, 99)))
    run(photos, "--format", "yolo-dataset", "--out", out)
    after = images_of(out)
    assert len(before["val"]) == len(after["val"]) == 3
    assert len(set(before["val"]) & set(after["val"])) >= 2
    assert len(after["train"]) == 28
    assert not set(after["train"]) & set(after["val"])


# --- names for Label Studio


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("/data/local-files/?d=photos/", "/data/local-files/?d=photos/more/a%20car.png"),
        ("https://example.org/", "https://example.org/more/a%20car.png"),
        ("s3://bucket/", "s3://bucket/more/a car.png"),
    ],
)
def test_image_prefix(prefix: str, name: str, server: Server, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    (photos / "more" / "a car.png").write_bytes(encoded(noise(10, 10)))
    flags = ["--format", "labelstudio", "--image-prefix", prefix]
    documents = []
    for out, more in (("local", []), ("remote", ["--server", server.url])):
        assert run(photos, "--out", tmp_path / out, *flags, *more).exit_code == 0
        documents.append((tmp_path / out / "labelstudio.json").read_bytes())
    assert documents[0] == documents[1]
    assert json.loads(documents[0])[0]["data"]["image"] == name
    (task,) = json.loads(run(photos / "more" / "a car.png", *flags).stdout_bytes)
    assert task["data"]["image"] == name.replace("more/", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "coco", "--image-prefix", "x"], "only with --format labelstudio"),
        (["--format", "labelstudio", "--image-prefix", "\n"], "must be printable"),
        (["--format", "yolo-dataset"], "yolo-dataset is a folder: use --out DIR"),
        (["--format", "overlay", "--normalized"], "normalized works only with json and geojson"),
    ],
)
def test_usage_errors(arguments: list[str], words: str) -> None:
    ended = run(SAMPLE, *arguments)
    assert ended.exit_code == 2
    assert words in ended.stderr
