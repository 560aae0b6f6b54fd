"""Which photograph goes with which background."""

from __future__ import annotations

import unicodedata

import pytest
from PIL import Image

from bgm.data import find_pairs, find_truths, list_images, read_image
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
    assert [pair.name for pair in find_pairs(src, bgr).pairs] == [
        *("1", "a/1", "a/2", "b.c/1", "linked/9")
    ]


@pytest.mark.parametrize("link", ["0-first", "a-deeper/link", "z-last"])
def test_a_link_never_hides_the_real_folder(src, bgr, link):
    """Whatever the order of their names, every photograph is found once, where it really is."""
    touch(src, "a-deeper/3.jpg")
    touch(bgr, "a-deeper/3.jpg")
    (src / link).symlink_to(src / "a")
    assert [pair.name for pair in find_pairs(src, bgr).pairs] == [
        *("1", "a-deeper/3", "a/1", "a/2", "b.c/1")
    ]


def test_the_output_of_a_run_is_never_taken_for_sources(src, bgr):
    touch(src, "outputs/run/images.jsonl", "outputs/run/run.json", "outputs/run/com/a/1.png")
    assert len(find_pairs(src, bgr).pairs) == 4


def test_two_images_of_one_name_cannot_be_listed(src):
    touch(src, "a/1.png")
    with pytest.raises(DataError, match=r"1\.JPG, 1\.png"):
        list_images(src)


@pytest.mark.parametrize("extension", ["jfif", "JPE", "mpo", "avif", "jp2", "dib", "ppm", "tga"])
def test_what_pillow_reads_is_a_photograph(src, bgr, extension):
    path = src / f"new.{extension}"
    try:
        Image.new("RGB", (32, 16), (200, 100, 50)).save(path)
    except (KeyError, ValueError, OSError):
        pytest.skip(f"the Pillow installed here has no {extension}")
    touch(bgr, "new.png")
    pair = next(pair for pair in find_pairs(src, bgr).pairs if pair.name == "new")
    assert abs(read_image(pair.src).astype(int) - (200, 100, 50)).max() < 6


def test_what_looks_like_a_photograph_is_named_once_with_what_helps(src, bgr, caplog):
    touch(src, "a/3.HEIC", "a/4.heic", "b.c/5.CR2", "6.nef", "7.dpx", "8.psd", "Thumbs.db", "x.txt")
    touch(src, "1.CR2", "a/1.psd")  # beside the picture made from them
    assert len(find_pairs(src, bgr).pairs) == 4
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert sorted(said) == [
        "left out: 3.HEIC, 4.heic (a HEIC photograph, which is not read here; save it as JPEG or "
        "PNG)",
        "left out: 6.nef, 5.CR2 (a raw photograph; develop it first, to TIFF, PNG or JPEG)",
        "left out: 7.dpx (a picture of a film pipeline; save it as EXR, or PNG or TIFF of 16 bits)",
        "left out: 8.psd (a document with layers; export it as TIFF or PNG)",
    ]


def test_a_partner_that_cannot_be_read_is_named(src, bgr):
    touch(src, "3.jpg", "4.HEIC")
    touch(bgr, "3.DNG", "4.jpg")
    with pytest.raises(DataError) as error:
        find_pairs(src, bgr)
    assert "3.jpg (3.DNG is a raw photograph; develop it first" in str(error.value)
    assert "4.jpg (4.HEIC is a HEIC photograph" in str(error.value)


def test_a_folder_without_readable_photographs_says_what_it_holds(tmp_path, bgr):
    folder = touch(tmp_path / "telephone", "1.HEIC", "2.MOV", "3.RAF")
    with pytest.raises(DataError) as error:
        find_pairs(folder, bgr)
    assert "1.HEIC: a HEIC photograph" in str(error.value)
    assert "2.MOV: a video" in str(error.value)
    assert "3.RAF: a raw photograph" in str(error.value)


@pytest.mark.parametrize("name", ["a.mp4", "a.heic", "a.arw"])
def test_a_file_that_is_no_photograph_says_what_it_is(src, bgr, tmp_path, name):
    path = touch(tmp_path, name) / name
    what = {"mp4": "a video, not a picture", "heic": "a HEIC", "arw": "a raw"}[name[2:]]
    for find in (
        lambda: find_pairs(path, bgr),
        lambda: find_pairs(src, path),
        lambda: find_truths(["1"], {"pha": path}),
    ):
        with pytest.raises(DataError, match=f"{name} is {what}"):
            find()


def test_accents_match_however_they_are_spelled(src, bgr):
    """macOS stores them apart from their letters, other systems with them."""
    composed, apart = (unicodedata.normalize(form, "Zoë/é") for form in ("NFC", "NFD"))
    assert composed != apart
    before = {pair.name for pair in find_pairs(src, bgr).pairs}
    touch(src, f"{apart}.jpg")
    touch(bgr, f"{composed}.jpg")
    pair = next(pair for pair in find_pairs(src, bgr).pairs if pair.name not in before)
    assert (pair.name, pair.src.exists(), pair.bgr.exists()) == (composed, True, True)
    truths = find_truths([pair.name], {"pha": src})
    assert truths[composed]["pha"] == pair.src


def test_names_that_differ_only_in_case_never_share_an_output(src, bgr):
    """They would be one file on the disks of Windows and macOS; no such disk is needed here."""
    names = ["shot/IMG_9.jpg", "Shot/img_9.jpg"]
    touch(src, *names)
    touch(bgr, *names)
    if len(list_images(src)) == 5:
        pytest.skip("this disk ignores letter case itself")
    with pytest.raises(DataError) as error:
        find_pairs(src, bgr)
    assert "shot/IMG_9: source whose name differs only in letter case from" in str(error.value)
    assert "Shot/img_9: source whose name differs only in letter case from" in str(error.value)
    pairing = find_pairs(src, bgr, skip_unmatched=True)
    assert len(pairing.pairs) == 4
    assert sorted(pairing.leftovers) == ["Shot/img_9", "shot/IMG_9"]


def test_one_true_matte_is_not_that_of_every_image(tmp_path):
    path = touch(tmp_path, "pha.png") / "pha.png"
    assert find_truths(["1"], {"pha": path}) == {"1": {"pha": path}}
    for skip in (False, True):
        with pytest.raises(DataError, match="but there are 2 images to compare"):
            find_truths(["1", "2"], {"pha": path}, skip_unmatched=skip)


@pytest.mark.parametrize("pattern", ["%04d.png", "a.####.exr", "*.png", "[0-9].png", "{1..9}.png"])
def test_a_pattern_of_frames_is_named_as_one(bgm, tmp_path, src, bgr, pattern):
    outcome = bgm("data=folders", f"data.src='{src / pattern}'", f"data.bgr={bgr}")
    assert outcome.code == 2
    assert "a pattern of frames, not a file; add data=video, or give their folder" in outcome.err
    assert str(src) in outcome.err


def test_a_video_says_what_it_is(bgm, tmp_path, bgr):
    film = touch(tmp_path, "clip.mp4") / "clip.mp4"
    outcome = bgm("data=folders", f"data.src={film}", f"data.bgr={bgr}", "output_dir=out")
    assert outcome.code == 2
    assert (
        "clip.mp4 is a video, not a picture; data=video outputs=video mattes clips" in outcome.err
    )
