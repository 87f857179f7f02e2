"""The store of photos, in memory and in a file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from car_classification import CarType
from jobs.catalog import MOST_NAMES, Feedback, PhotoPage, Summary
from jobs.sqlite_store import SqliteStore
from jobs.store import PendingJob, Store, StoredOutcome, StoreError
from photo_result import Analysis, Result
from poligons_from_seg import label_map_to_outlines
from settings import REPOSITORY
from vision.labels import label_of

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
READY = StoredOutcome("Ready", "1 part was found.", b"packed", "1a2b")
SUMMARY = Summary(width=4, height=3, parts=("hood", "roof"), type="van", confidence=0.5)
MARKS = Feedback(["hood"], ["wheel", "trunk"], "van", "é \ud800 \x00", 1e9, "1a2b")
LISTED = replace(READY, summary=SUMMARY.pack())
ERROR = StoredOutcome("Error", "broken")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = SqliteStore(None if request.param == "memory" else tmp_path / "results.sqlite")
    yield made
    made.close()


def test_photo_is_pending_until_it_ends(store: Store) -> None:
    number = store.add(A, "")
    assert store.pending() == [PendingJob(A, number, 0)]
    store.count_attempt(number)
    assert store.pending() == [PendingJob(A, number, 1)]
    assert store.load(A) is None
    assert store.finish(number, READY)
    assert store.pending() == []
    assert store.load(A) == READY
    assert store.final_states() == {A: replace(READY, result=None)}


def test_ready_lists_in_order_of_posting(store: Store) -> None:
    numbers = {digest: store.add(digest, "") for digest in (B, A, C)}
    for digest in (C, B, A):
        store.finish(numbers[digest], ERROR if digest == A else READY)
    assert store.ready() == [B, C]
    assert [(digest, ending.state) for digest, ending in store.final_states().items()] == [
        (B, "Ready"), (A, "Error"), (C, "Ready")
    ]  # fmt: skip


def test_earlier_try_changes_nothing(store: Store) -> None:
    first = store.add(A, "")
    store.finish(first, ERROR)
    second = store.add(A, "")
    assert second != first
    assert store.load(A) is None
    assert not store.finish(first, READY)
    assert store.load(A) is None
    store.count_attempt(first)
    assert store.pending() == [PendingJob(A, second, 0)]


def test_deleted_photo_stays_deleted(store: Store) -> None:
    number = store.add(A, "")
    store.delete(A)
    assert not store.finish(number, READY)
    assert store.load(A) is None
    assert store.pending() == []
    assert store.add(A, "") > number


def test_summaries_have_no_results(store: Store) -> None:
    store.finish(store.add(A, "ann"), READY)
    store.finish(store.add(B, "bob"), ERROR)
    store.add_owner(A, "bob")
    store.add(C, "ann")
    ready = replace(READY, result=None)
    assert store.summaries([C, "d" * 64, B, A, A]) == {A: ready, B: ERROR, C: None}
    assert store.summaries([A, B, C, "d" * 64], "ann") == {A: ready, C: None}
    assert store.summaries([A, B, C], "bob") == {A: ready, B: ERROR}
    assert store.summaries([]) == store.summaries([A, B, C], "eve") == {}
    assert store.load(A) == READY


def test_each_result_has_version_of_its_models(store: Store) -> None:
    store.finish(store.add(A, ""), READY)
    store.finish(store.add(B, ""), replace(READY, model_version="3c4d"))
    store.finish(store.add(C, ""), ERROR)
    versions = {A: "1a2b", B: "3c4d", C: ""}
    for endings in (store.final_states(), store.summaries([A, B, C])):
        assert {
            name: ending and ending.model_version for name, ending in endings.items()
        } == versions
    number = store.add(A, "")
    assert store.load(A) is None
    assert A not in store.final_states()
    store.finish(number, replace(READY, model_version="3c4d"))
    assert store.load(A) == replace(READY, model_version="3c4d")


def test_owners(store: Store) -> None:
    number = store.add(A, "ann")
    store.add(B, "bob")
    assert store.has_owner(A, "ann")
    assert not store.has_owner(A, "bob")
    assert not store.has_owner(C, "ann")
    assert store.add_owner(A, "bob")
    assert not store.add_owner(A, "bob")
    assert not store.add_owner(C, "bob")
    store.finish(number, READY)
    assert store.ready("ann") == store.ready("bob") == store.ready() == [A]
    assert store.remove_owner(A, "ann") == 1
    assert not store.has_owner(A, "ann")
    assert store.ready("ann") == []
    assert store.remove_owner(A, "bob") == 0
    store.delete(A)
    assert not store.add_owner(A, "ann")


@pytest.mark.parametrize("ending", [READY, ERROR])
def test_new_try_keeps_its_owners(store: Store, ending: StoredOutcome) -> None:
    store.finish(store.add(A, "ann"), ending)
    store.add(A, "bob")
    assert store.has_owner(A, "ann")
    assert store.has_owner(A, "bob")
    assert store.ready() == []


def test_file_names_are_kept_for_each_owner(store: Store) -> None:
    number = store.add(A, "ann", "a.jpg")
    store.add_owner(A, "bob")
    assert store.catalog.file_names(A, "ann") == ["a.jpg"]
    assert store.catalog.file_names(A, "bob") == store.catalog.file_names(A) == []
    store.finish(number, READY)
    for name in ("b.jpg", "c.jpg", "a.jpg"):
        store.add_name(A, "ann", name)
    store.add_name(A, "", "d.jpg")
    store.add_name(B, "ann", "unknown.jpg")
    assert store.catalog.file_names(A, "ann") == ["a.jpg", "c.jpg", "b.jpg"]
    assert store.catalog.file_names(A) == ["d.jpg"]
    assert store.catalog.file_names(B, "ann") == []
    store.add(A, "bob", "e.jpg")  # a new try
    assert store.catalog.file_names(A, "ann") == ["a.jpg", "c.jpg", "b.jpg"]
    assert store.catalog.file_names(A, "bob") == ["e.jpg"]
    assert store.remove_owner(A, "ann") == 1
    assert store.catalog.file_names(A, "ann") == []
    store.delete(A)
    store.add(A, "ann")
    assert store.catalog.file_names(A, "bob") == store.catalog.file_names(A, "ann") == []


def test_only_newest_file_names_are_kept(store: Store) -> None:
    store.add(A, "", "0.jpg")
    names = [f"{number}.jpg" for number in range(1, 2 * MOST_NAMES)]
    for name in names:
        store.add_name(A, "", name)
    assert store.catalog.file_names(A) == names[: -MOST_NAMES - 1 : -1]


def hashes(store: Store, limit: int, after: str | None = None, owner: str = "") -> list[str]:
    """Return the hashes of a page."""
    page = store.catalog.page(limit, after, owner)
    assert page is not None
    return [entry.digest for entry in page.entries]


def test_pages(store: Store) -> None:
    digests = [f"{number:064x}" for number in range(9, 0, -1)]
    started = time.time()
    for number, digest in enumerate(digests):
        ended = ERROR if number == 4 else LISTED
        store.finish(store.add(digest, "ab"[number % 2], f"{number}.jpg"), ended)
    store.add(A, "a")
    ready = digests[:4] + digests[5:]
    assert hashes(store, 100) == ready == store.ready()
    for size in range(1, 10):
        found: list[str] = []
        after = None
        while page := store.catalog.page(size, after):
            found += [entry.digest for entry in page.entries]
            assert len(page.entries) == size or page.next is None
            if (after := page.next) is None:
                break
        assert found == ready
    of_a = [digest for digest in digests[::2] if digest != digests[4]]
    assert hashes(store, 100, owner="a") == of_a == store.ready("a")
    assert hashes(store, 1, of_a[0], "a") == of_a[1:2]
    assert hashes(store, 9, digests[4]) == digests[5:]  # after one that is not Ready
    assert hashes(store, 9, ready[-1]) == hashes(store, 9, owner="c") == []
    for after, owner in (("d" * 64, ""), (of_a[0], "b"), (of_a[0], "c")):
        assert store.catalog.page(9, after, owner) is None
    page = store.catalog.page(2, of_a[0], "a")
    assert page is not None
    assert page.next == of_a[2]
    entry = page.entries[0]
    assert (entry.digest, entry.summary, entry.file_names) == (of_a[1], SUMMARY, ["2.jpg"])
    assert started - 1 <= entry.ended <= time.time() + 1
    every = store.catalog.page(1)
    assert every is not None
    assert every.entries[0].file_names == []  # they are those of another owner


def test_feedback_is_kept_for_each_owner(store: Store) -> None:
    catalog = store.catalog
    for digest in (A, B, C):
        store.finish(store.add(digest, "ann", "a.jpg"), LISTED)
    store.add_owner(B, "bob")
    other = replace(MARKS, wrong=[], comment="other")
    for digest in (B, C):
        assert catalog.set_feedback(digest, MARKS, "ann")
    assert catalog.set_feedback(B, other, "bob")
    assert not catalog.set_feedback(A, MARKS, "bob")
    assert not catalog.set_feedback("d" * 64, MARKS)
    assert [catalog.feedback(B, owner) for owner in ("ann", "bob", "")] == [MARKS, other, None]
    page = catalog.page(1, None, "ann", marked=True)
    assert page is not None
    assert [(entry.digest, entry.feedback) for entry in page.entries] == [(B, MARKS)]
    assert (page.entries[0].file_names, page.next) == (["a.jpg"], B)
    rest = catalog.page(1, B, "ann", marked=True)
    assert rest is not None
    assert ([entry.digest for entry in rest.entries], rest.next) == ([C], None)
    store.finish(store.add(B, "bob"), LISTED)  # a new try
    assert [catalog.feedback(B, owner) for owner in ("ann", "bob")] == [MARKS, other]
    assert catalog.set_feedback(C, other, "ann")
    assert catalog.feedback(C, "ann") == other
    assert catalog.set_feedback(C, None, "ann")
    assert catalog.feedback(C, "ann") is None
    assert catalog.file_names(C, "ann") == ["a.jpg"]
    store.remove_owner(B, "ann")
    assert catalog.feedback(B, "ann") is None
    for owner in ("ann", ""):
        marked = catalog.page(9, None, owner, marked=True)
        assert marked == PhotoPage([], None)
    store.delete(B)
    store.add(B, "bob")
    assert catalog.feedback(B, "bob") is None


def test_old_and_surplus_photos_expire(store: Store) -> None:
    for digest in (C, A, B):
        store.finish(store.add(digest, "ann"), READY)
        time.sleep(0.01)
    waiting = store.add("d" * 64, "ann")
    assert store.expire(before=0, keep=3) == []
    assert store.expire(before=0, keep=2) == [C]
    assert not store.has_owner(C, "ann")
    assert sorted(store.expire(before=time.time() + 1, keep=100)) == [A, B]
    assert store.pending() == [PendingJob("d" * 64, waiting, 0)]


def test_threads_share_store(store: Store) -> None:
    def work(name: str) -> None:
        for i in range(30):
            number = store.add(f"{name}{i}", name)
            store.count_attempt(number)
            assert store.finish(number, StoredOutcome("Ready", name, name.encode()))

    threads = [threading.Thread(target=work, args=(name,)) for name in "wxyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.ready()) == 120
    assert len(store.ready("x")) == 30
    assert store.load("y7") == StoredOutcome("Ready", "y", b"y")


def test_summary_of_earlier_release_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    store = SqliteStore(path)
    labels = np.full((3, 4), label_of("hood"), np.uint8)
    analysis = Analysis(None, labels, {"hood": 0.9}, label_map_to_outlines(labels))
    old = replace(READY, result=Result.of(analysis, "1a2b").pack())
    store.finish(store.add(A, ""), old)
    store.finish(store.add(B, ""), LISTED)
    expected = Summary(width=4, height=3, parts=("hood",), type=None, confidence=None)
    for _ in range(2):
        page = store.catalog.page(10)
        assert page is not None
        assert [entry.summary for entry in page.entries] == [expected, SUMMARY]
    assert store.load(A) == old
    store.close()
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT summary FROM photos ORDER BY number").fetchall()
    db.close()
    assert [Summary.unpack(text) for (text,) in rows] == [expected, SUMMARY]


# --- the file


def test_file_keeps_results(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    first = SqliteStore(path)
    first.finish(first.add(A, "ann"), READY)
    number = first.add(B, "ann")
    first.count_attempt(number)
    first.close()
    second = SqliteStore(path)
    assert second.load(A) == READY
    assert second.has_owner(A, "ann")
    assert second.pending() == [PendingJob(B, number, 1)]
    assert second.add(C, "") > number
    second.close()


def test_kill_leaves_whole_transactions(tmp_path: Path) -> None:
    """Rows and owners of a writer that was killed are whole, as many as it said it had written."""
    path = tmp_path / "results.sqlite"
    script = (
        "import sys; from pathlib import Path; from jobs.sqlite_store import SqliteStore\n"
        "from jobs.store import StoredOutcome\n"
        "store = SqliteStore(Path(sys.argv[1]))\n"
        "i = 0\n"
        "while True:\n"
        "    number = store.add(f'{i:064x}', 'ann')\n"
        "    store.finish(number, StoredOutcome('Ready', str(i), bytes([i % 256]) * 20_000))\n"
        "    print(i, flush=True); i += 1\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert writer.stdout is not None
    said = [int(writer.stdout.readline()) for _ in range(200)]
    writer.kill()
    said += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    writer.stdout.close()
    store = SqliteStore(path)
    ready = store.ready("ann")
    assert ready[: len(said)] == [f"{i:064x}" for i in said]
    assert len(ready) <= len(said) + 1
    for i, digest in enumerate(ready):
        assert store.load(digest) == StoredOutcome("Ready", str(i), bytes([i % 256]) * 20_000)
    store.close()


def test_file_is_locked_by_one_service(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    first = SqliteStore(path)
    with pytest.raises(StoreError, match="another service uses it"):
        SqliteStore(path)
    first.check()
    first.close()
    SqliteStore(path).close()


def test_damaged_file_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match=r"results\.sqlite is damaged; move it away"):
        SqliteStore(path)
    assert path.read_bytes() == b"this is no database" * 1000


def test_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    SqliteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        SqliteStore(path)


FIRST_SCHEMA = """
CREATE TABLE photos (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT CHECK (state IN ('Ready', 'Error')),  -- NULL until it has ended
    ended REAL,
    message TEXT,
    result BLOB
);
CREATE INDEX photos_ended ON photos (ended) WHERE ended IS NOT NULL;
CREATE TABLE owners (
    owner TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES photos (digest) ON DELETE CASCADE,
    PRIMARY KEY (digest, owner)
) WITHOUT ROWID;
CREATE TABLE checks (id INTEGER PRIMARY KEY CHECK (id = 1), time REAL NOT NULL);
PRAGMA user_version = 1;
"""
LATER_VERSIONS = (
    """
    ALTER TABLE photos ADD COLUMN model_version TEXT NOT NULL DEFAULT '';
    PRAGMA user_version = 2;
    """,
    """
    CREATE TABLE notes (
        owner TEXT NOT NULL,
        digest TEXT NOT NULL REFERENCES photos (digest) ON DELETE CASCADE,
        names TEXT NOT NULL DEFAULT '[]',
        PRIMARY KEY (digest, owner)
    ) WITHOUT ROWID;
    PRAGMA user_version = 3;
    """,
    """
    ALTER TABLE photos ADD COLUMN summary TEXT;
    PRAGMA user_version = 4;
    """,
    """
    ALTER TABLE notes ADD COLUMN feedback TEXT;
    PRAGMA user_version = 5;
    """,
)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_file_of_earlier_version_is_migrated(tmp_path: Path, version: int) -> None:
    path = tmp_path / "results.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(FIRST_SCHEMA)
        db.executemany(
            "INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (3, A, 1, "Ready", 1e9, "1 part was found.", b"packed"),
                (5, B, 2, "Error", 1e9 + 1, "broken", None),
                (8, C, 1, None, None, None, None),
            ],
        )
        db.executemany("INSERT INTO owners VALUES (?, ?)", [("ann", A), ("bob", A), ("ann", C)])
    db.close()
    for changes in LATER_VERSIONS[: version - 1]:
        with sqlite3.connect(path) as db:
            db.executescript(changes)
        db.close()
    store = SqliteStore(path)
    old = StoredOutcome("Ready", "1 part was found.", b"packed")
    for _ in range(2):  # taken over once
        assert store.load(A) == old
        assert store.load(B) == ERROR
        assert store.final_states() == {A: replace(old, result=None), B: ERROR}
        assert store.pending() == [PendingJob(C, 8, 1)]
        assert store.ready("ann") == store.ready("bob") == [A]
        assert store.has_owner(C, "ann")
        assert store.catalog.file_names(A, "ann") in ([], ["a.jpg"])
        store.add_name(A, "ann", "a.jpg")
        assert store.catalog.feedback(A, "ann") in (None, MARKS)
        assert store.catalog.set_feedback(A, MARKS, "ann")
        assert store.examine(A, "ann") == 3
        assert store.pending() == [PendingJob(A, 3, 0, True, True), PendingJob(C, 8, 1)]
        store.end_examination(3)
        store.close()
        store = SqliteStore(path)
    assert store.catalog.file_names(A, "ann") == ["a.jpg"]
    assert store.finish(8, READY)
    assert store.load(C) == READY
    assert store.add("d" * 64, "") == 9
    assert store.expire(before=1e9 + 2, keep=10) == [A, B]
    store.close()


def test_closed_store_raises(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "results.sqlite")
    store.close()
    with pytest.raises(StoreError, match="stopping"):
        store.load(A)


def test_no_file_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        SqliteStore(tmp_path / "results.sqlite").close()
    (tmp_path / "bad.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(StoreError):
        SqliteStore(tmp_path / "bad.sqlite")
    assert len(os.listdir("/proc/self/fd")) == before


# --- what is stored


def test_result_round_trip() -> None:
    labels = np.zeros((61, 83), np.uint8)
    labels[10:50, 10:70] = label_of("hood")
    labels[25:35, 30:50] = 0
    labels[2:5, 2:6] = label_of("wheel")
    scores = {"sedan": 0.1 + 0.2, "van": 1 / 3}
    confidences = {"hood": 0.7, "wheel": 1 / 7}
    outlines = label_map_to_outlines(labels)
    analysis = Analysis(CarType("van", 1 / 3, scores), labels, confidences, outlines)
    result = Result.of(analysis, "é")
    back = Result.unpack(result.pack())
    assert back == result
    assert back.pack() == result.pack()
    assert np.array_equal(back.labels(), labels)
    empty = Result.of(Analysis(None, np.zeros((3, 4), np.uint8), {}, {}), "")
    assert Result.unpack(empty.pack()) == empty
    assert not empty.labels().any()


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_label_map_round_trip(labels: NDArray[np.uint8]) -> None:
    result = Result.of(Analysis(None, labels, {}, {}), "1")
    assert np.array_equal(result.labels(), labels)


@given(
    hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2)
    ),
    st.integers(2, 3),
)
def test_label_map_of_squares_round_trip(labels: NDArray[np.uint8], side: int) -> None:
    stored = Result.of(Analysis(None, labels, {}, {}, scale=side), "1")
    result = Result.unpack(stored.pack())
    assert result == stored
    assert (result.height, result.width) == (side * labels.shape[0], side * labels.shape[1])
    assert np.array_equal(result.labels(), labels.repeat(side, 0).repeat(side, 1))


def test_label_map_of_earlier_version() -> None:
    """Read a label map of all pixels in one zlib stream, not of runs."""
    labels = np.random.default_rng(0).integers(0, 19, (40, 50), np.uint8)
    result = Result.of(Analysis(None, labels, {}, {}), "1")
    stored = replace(result, packed_labels=zlib.compress(labels.tobytes()))
    assert np.array_equal(Result.unpack(stored.pack()).labels(), labels)
