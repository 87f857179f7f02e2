"""`client.py` and damage, against a real service."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import pytest
from PIL import Image

from client import CarSeg, CarSegError, Options
from settings import REPOSITORY
from tests.support.pictures import encoded, noise
from tests.support.server import Server

DAMAGED = REPOSITORY / "tests" / "pictures" / "damaged.jpg"
EXAMINED = Options(damage=True)


@pytest.fixture(scope="module")
def service(server: Server) -> Iterator[CarSeg]:
    with CarSeg(server.url) as client:
        yield client


def other(size: int) -> bytes:
    """Return the damaged car in another size, so that the service does not know it."""
    picture = Image.open(BytesIO(DAMAGED.read_bytes()))
    return encoded(picture.resize((size, size * 2 // 3)), "JPEG")


def test_damage_of_photo(service: CarSeg) -> None:
    result = service.segment(DAMAGED, EXAMINED)
    assert result.damages
    assert result.damage_version
    (dent,) = [damage for damage in result.damages if damage.kind == "dent"]
    assert dent.parts[0].name == "front_left_door"
    assert 0 < dent.parts[0].share < 1
    assert dent.polygons
    parts = {part.name: part.damaged for part in result.parts}
    assert parts["front_left_door"] == ["dent"]
    assert parts["wheel"] == []
    assert service.result(result.image_hash) == result
    plain = service.result(result.image_hash, Options(damage=False))
    assert plain.damages is None
    assert {part.damaged for part in plain.parts if part.damaged is None} == {None}
    picture = Image.open(BytesIO(service.picture(result.image_hash, "damage")))
    assert picture.size == (result.width, result.height)


def test_damage_of_ready_photo(service: CarSeg) -> None:
    photo = other(603)
    first = service.segment(photo)
    assert first.damages is None
    with pytest.raises(CarSegError, match=r"post it again with damage=true\.") as caught:
        service.result(first.image_hash, EXAMINED)
    assert caught.value.status == 404
    assert service.submit(photo, damage=True) == first.image_hash
    assert service.status(first.image_hash).status == "Ready"
    service.wait(first.image_hash)
    assert service.result(first.image_hash, EXAMINED).damages
    assert service.result(first.image_hash, Options(damage=False)) == first


def test_damage_of_many_photos(service: CarSeg) -> None:
    photos = [other(606), encoded(noise(90, 120)), other(609)]
    service.segment(photos[0])
    outcomes = {one.number: one for one in service.segment_many(photos, EXAMINED)}
    for number in range(3):
        result = outcomes[number].result
        assert result is not None
        assert result.damages is not None
        assert bool(result.damages) == (number != 1)
