"""Which photograph goes with which background."""

from __future__ import annotations

import pytest

from bgm.data import find_pairs, list_images
from bgm.errors import DataError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.fixture
def src(tmp_path):
    return touch(tmp_path / "src", "a/1.JPG", "a/2.tiff", "b.c/1.webp", "1.Png")


@pytest.fixture
def bgr(tmp_path):
    return touch(tmp_path / "bgr", "a/1.png", "a/2.bmp", "b.c/1.jpeg", "1.TIF")


def test_pairs_match_by_relative_path_whatever_the_extension(src, bgr):
    pairs = find_pairs(src, bgr).pairs
    assert [(p.name, p.src.name, p.bgr.name) for p in pairs] == [
        ("1", "1.Png", "1.TIF"),
        ("a/1", "1.JPG", "1.png"),
        ("a/2", "2.tiff", "2.bmp"),
        ("b.c/1", "1.webp", "1.jpeg"),
    ]


def test_every_unmatched_file_is_listed_in_one_error(src, bgr):
    touch(src, "only.jpg", "a/twice.jpg", "a/twice.png", "a/twin.jpg")
    touch(bgr, "plate.jpg", "a/twice.jpg", "a/twin.jpg", "a/twin.png")
    with pytest.raises(DataError) as error:
        find_pairs(src, bgr)
    message = str(error.value)
    assert "only: source without a background" in message
    assert "plate: background without a source" in message
    assert "a/twice: more than one source of that name: twice.jpg, twice.png" in message
    assert "a/twin: more than one background of that name: twin.jpg, twin.png" in message
    assert "data.unmatched=skip" in message


def test_unmatched_files_can_be_skipped(src, bgr):
    touch(src, "only.jpg")
    touch(bgr, "plate.jpg")
    pairing = find_pairs(src, bgr, skip_unmatched=True)
    assert len(pairing.pairs) == 4
    assert list(pairing.leftovers) == ["only", "plate"]


def test_a_long_list_of_unmatched_files_is_cut(src, bgr):
    touch(src, *(f"x{i}.jpg" for i in range(30)))
    with pytest.raises(DataError, match="30 x file without partner") as error:
        find_pairs(src, bgr)
    assert "and 20 more" in str(error.value)


def test_one_background_serves_every_source(src, tmp_path):
    plate = touch(tmp_path, "plate.jpg") / "plate.jpg"
    assert {pair.bgr for pair in find_pairs(src, plate).pairs} == {plate}


def test_one_source_and_one_background(src, bgr):
    (pair,) = find_pairs(src / "a/1.JPG", bgr / "1.TIF").pairs
    assert (pair.name, pair.bgr.name) == ("1", "1.TIF")


def test_one_source_finds_its_background_in_a_directory(src, bgr):
    (pair,) = find_pairs(src / "1.Png", bgr).pairs
    assert pair.bgr == bgr / "1.TIF"


def test_a_directory_without_images_is_refused(tmp_path, bgr):
    with pytest.raises(DataError, match="no images in"):
        find_pairs(touch(tmp_path / "empty", "notes.txt"), bgr)


def test_metadata_of_macos_is_no_image(src, bgr):
    touch(src, "a/._1.JPG")
    assert len(find_pairs(src, bgr).pairs) == 4


def test_links_are_followed_but_not_in_circles(src, bgr, tmp_path):
    (src / "a" / "loop").symlink_to(src)
    assert len(find_pairs(src, bgr).pairs) == 4
    elsewhere = touch(tmp_path / "elsewhere", "9.jpg")
    (src / "linked").symlink_to(elsewhere)
    (bgr / "linked").symlink_to(elsewhere)
    assert "linked/9" in [pair.name for pair in find_pairs(src, bgr).pairs]


def test_the_output_of_a_run_is_never_taken_for_sources(src, bgr):
    touch(src, "outputs/run/images.jsonl", "outputs/run/run.json", "outputs/run/com/a/1.png")
    assert len(find_pairs(src, bgr).pairs) == 4


def test_two_images_of_one_name_cannot_be_listed(src):
    touch(src, "a/1.png")
    with pytest.raises(DataError, match=r"1\.JPG, 1\.png"):
        list_images(src)
