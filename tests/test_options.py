"""Options: the same from an address, the command line and Python."""

from __future__ import annotations

import ast
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from options import (
    DEFAULT_CONFIDENCE,
    OF_MASKS,
    OF_OVERLAYS,
    OPTION_SPECS,
    OptionError,
    Options,
    parse,
)
from settings import REPOSITORY

ANY = st.builds(
    Options,
    tolerance=st.none() | st.floats(0, 1000),
    max_vertices=st.none() | st.integers(3, 100_000),
    min_area=st.floats(0, 10_000),
    min_confidence=st.floats(0, 1),
    parts=st.none() | st.sampled_from([("basic",), ("all", "roof")]),
    normalized=st.booleans(),
    topology=st.sampled_from(["independent", "shared"]),
    file_name=st.none() | st.sampled_from(["car.png", "a/ü 1.jpg"]),
)


@given(ANY)
def test_options_round_trip(some: Options) -> None:
    assert parse({name: [text] for name, text in some.query().items()}) == some


def test_only_confidence_is_always_sent() -> None:
    assert Options().query() == {"min_confidence": str(DEFAULT_CONFIDENCE)}
    assert Options(tolerance=3, min_confidence=0).query() == {
        "tolerance": "3",
        "min_confidence": "0",
    }
    assert parse({}) == Options()
    assert OPTION_SPECS["min_confidence"].schema["default"] == DEFAULT_CONFIDENCE


def test_options_that_change_outlines() -> None:
    for same in (Options(normalized=True, file_name="car.png"), Options(min_confidence=1)):
        assert not same.changes_outlines
    for other in (Options(tolerance=1), Options(min_area=2), Options(topology="shared")):
        assert other.changes_outlines


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"parts": "hood,,roof"}, "parts must be all, basic, panels or names of parts"),
        ({"parts": "hood," * 50 + "roof"}, "parts must be all, basic"),
        ({"tolerance": "-1"}, "tolerance must be a number of pixels from 0 to 1000, not '-1'"),
        ({"tolerance": "1001"}, "from 0 to 1000"),
        ({"tolerance": "nan"}, "not 'nan'"),
        ({"tolerance": "inf"}, "from 0 to 1000"),
        ({"tolerance": "1_0"}, "not '1_0'"),
        ({"tolerance": " 1"}, "not ' 1'"),
        ({"tolerance": "٣"}, "number of pixels"),
        ({"tolerance": ""}, "not ''"),
        ({"max_vertices": "2"}, "from 3 to 100000"),
        ({"max_vertices": "4.5"}, "whole number"),
        ({"max_vertices": "9" * 5000}, "whole number"),
        ({"min_area": "1e99"}, "from 0 to 89000000"),
        ({"min_confidence": "1.01"}, "from 0 to 1"),
        ({"normalized": "yes"}, "true or false"),
        ({"topology": "none"}, "independent or shared"),
        ({"file_name": ""}, "printable"),
        ({"file_name": "a\nb"}, "printable"),
        ({"file_name": "a" * 1025}, "1 to 1024"),
        (
            {"tolerence": "1"},
            "There is no option 'tolerence'; the options are tolerance, max_vertices",
        ),
    ],
)
def test_bad_values_are_named_with_allowed_ones(query: dict[str, str], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse({name: [text] for name, text in query.items()})
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250


def test_option_given_twice() -> None:
    with pytest.raises(OptionError, match="more than once"):
        parse({"tolerance": ["1", "2"]})


@pytest.mark.parametrize("names", [OF_MASKS, OF_OVERLAYS])
def test_pictures_have_some_of_options(names: tuple[str, ...]) -> None:
    assert parse({"min_confidence": ["0"], "min_area": ["3"]}, names) == Options(
        min_confidence=0, min_area=3
    )
    with pytest.raises(OptionError) as caught:
        parse({"normalized": ["true"]}, names)
    offered = ", ".join(name for name in OPTION_SPECS if name in names)
    assert str(caught.value) == f"There is no option 'normalized'; the options are {offered}."


def test_values_from_python_are_checked_as_well() -> None:
    with pytest.raises(OptionError, match="from 0 to 1000"):
        Options(tolerance=float("nan"))


def test_every_option_is_described() -> None:
    assert list(OPTION_SPECS) == list(Options.__dataclass_fields__)
    for spec in OPTION_SPECS.values():
        assert spec.description
        assert spec.schema["type"]


def test_options_need_only_standard_library() -> None:
    tree = ast.parse((REPOSITORY / "options.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(name.name in sys.stdlib_module_names for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] in sys.stdlib_module_names
