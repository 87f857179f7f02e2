"""The validation photos, and their halves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2

from tests.training.tiny import SIZE, VALIDATION, annotated_names, write_data
from training.validation import (
    Kind,
    ValidationPhoto,
    in_half,
    list_annotated_photos,
    list_car_photos,
    list_empty_photos,
    list_street_photos,
    some_of,
)


def test_photos_of_each_kind(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    annotated = list_annotated_photos(data, tmp_path / "cache")
    assert [photo.path.name for photo in annotated] == annotated_names(8)[:VALIDATION]
    assert {(photo.type, photo.doors) for photo in annotated} == {("sedan", 4)}
    assert annotated[0].pixels().shape == (SIZE, SIZE * 4 // 3, 3)  # it was squashed
    cars = {photo.path.name: photo for photo in list_car_photos(data)}
    assert set(cars) == {"valsedan0.jpg", "valsuv0.jpg", "valsedan0.webp"}
    crop, context = cars["valsedan0.jpg"], cars["valsedan0.webp"]
    assert (crop.key, crop.type, crop.doors) == (context.key, "sedan", 2)
    assert cars["valsuv0.jpg"].doors is None
    assert crop.read().size == (SIZE, SIZE)
    assert [(p.key, p.type, p.doors) for p in list_street_photos(data)] == [
        ("street_1", "coupe", 2), ("street_2", "sedan", None)
    ]  # fmt: skip
    assert [(p.path.name, p.kind) for p in list_empty_photos(data)] == [
        ("0.webp", "empty"), ("motorcycle_1.webp", "others")
    ]  # fmt: skip


def test_similar_street_photos_share_key(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    images = data / "street" / "images"
    photo = cv2.imread(str(images / "street_1.webp"))
    assert photo is not None
    cv2.imwrite(str(images / "street_2.webp"), photo[:, ::-1])
    assert [photo.key for photo in list_street_photos(data)] == ["street_1", "street_1"]


def test_halves_cover_all_photos_and_split_no_car() -> None:
    sources: tuple[tuple[Kind, str], ...] = (("cars", "a"), ("street", "b"), ("street", "c"))
    photos = [
        ValidationPhoto(Path(f"{source}_{number}.jpg"), kind, f"{source}{number // 2}", car_type)
        for kind, source in sources
        for number, car_type in enumerate(["sedan"] * 20 + ["suv"] * 12 + ["van"] * 8)
    ]
    first, second = in_half(photos, "A"), in_half(photos, "B")
    assert in_half(photos, None) == photos
    assert set(first) | set(second) == set(photos)
    cars = [{(photo.kind, photo.key) for photo in half} for half in (first, second)]
    assert cars[0].isdisjoint(cars[1])
    for half in (first, second):  # each has half of each kind, source and type
        counts = Counter((photo.path.name[0], photo.type) for photo in half)
        assert counts == {
            (source, car_type): count
            for source in "abc"
            for car_type, count in (("sedan", 10), ("suv", 6), ("van", 4))
        }
    assert in_half(photos[::-1], "A")[::-1] == first  # the order is no matter
    street = [photo for photo in photos if photo.kind == "street"]
    assert in_half(street, "A") == [photo for photo in first if photo.kind == "street"]


def test_sampling_is_deterministic() -> None:
    chosen = some_of(range(100), 10)
    assert chosen == some_of(range(100), 10)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 10
    assert some_of("abc", 10) == ["a", "b", "c"]
