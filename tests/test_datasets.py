import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segrepro import datasets
from segrepro.datasets.base import IGNORE
from segrepro.datasets.batches import training_batches
from segrepro.datasets.statistics import class_statistics
from segrepro.errors import InputError
from segrepro.files import ROOT

CAMVID = Path(os.environ.get("SEGREPRO_DATA", ROOT.parent / "shared" / "data")) / "camvid"
needs_camvid = pytest.mark.skipif(not CAMVID.is_dir(), reason=f"no CamVid at {CAMVID}; set SEGREPRO_DATA to its parent")


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)


def grey(*values, size=(6, 8)):
    """A mask (6, 8) with these values in turn."""
    return np.resize(np.array(values, dtype=np.uint8), size)


def picture(seed=0, size=(6, 8)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def camvid(tmp_path):
    for name, count in (("train", 3), ("val", 2)):
        for i in range(count):
            write(tmp_path / name / f"{name}{i}.png", picture(i))
            write(tmp_path / f"{name}annot" / f"{name}{i}.png", grey(i, 10, 11))
    return tmp_path


@pytest.fixture
def folder(tmp_path):
    for i in range(10):
        write(tmp_path / "images" / f"{i}.png", picture(i))
        write(tmp_path / "masks" / f"{i}.png", grey(0, 2, 255))
    return tmp_path


def test_unknown_names_and_parameters_list_the_valid_ones():
    with pytest.raises(InputError, match="'camvit'.*synthetic, many_classes, camvid, cityscapes, folder"):
        datasets.load("camvit")
    with pytest.raises(InputError, match="val_share.*'folder'.*val_fraction, split_seed"):
        datasets.load("folder", "anywhere", val_share=0.5)
    with pytest.raises(InputError, match="'camvid'.*none"):
        datasets.load("camvid", "anywhere", size=3)


# CamVid


def test_camvid_reads_images_and_labels(camvid):
    data = datasets.load("camvid", str(camvid))
    assert (len(data.train), len(data.val), len(data.classes)) == (3, 2, 11)
    image, labels = data.train[1]
    assert np.array_equal(image, picture(1))
    assert labels.dtype == np.int16
    assert labels.shape == (6, 8)
    assert labels.ravel()[:4].tolist() == [1, 10, IGNORE, 1]
    assert np.array_equal(data.train.labels(1), labels)
    assert data.train.source(1) == str(camvid / "train" / "train1.png")
    assert data.classes.indices(data.classes.rare) == [2, 6, 7, 9, 10]
    assert data.defaults["crop_size"] == (192, 256)


def test_fingerprint_follows_content_and_not_place(camvid, tmp_path_factory):
    before = datasets.load("camvid", camvid)
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(camvid, copy, copy_function=shutil.copyfile)  # without the times
    assert datasets.load("camvid", copy).train.fingerprint == before.train.fingerprint
    assert before.train.fingerprint != before.val.fingerprint
    write(copy / "trainannot" / "train1.png", picture(3)[..., 0] % 11)
    assert datasets.load("camvid", copy).train.fingerprint != before.train.fingerprint
    (copy / "val" / "val0.png").rename(copy / "val" / "renamed.png")
    (copy / "valannot" / "val0.png").rename(copy / "valannot" / "renamed.png")
    assert datasets.load("camvid", copy).val.fingerprint != before.val.fingerprint


@pytest.mark.parametrize("unset", [None, ""])
def test_data_root_unset(unset):
    with pytest.raises(InputError, match="data_root is not set.*train/, trainannot/, val/, valannot/"):
        datasets.load("camvid", unset)


def test_data_root_missing_empty_or_of_another_layout(tmp_path, folder):
    with pytest.raises(InputError, match="nowhere is not a folder.*trainannot/"):
        datasets.load("camvid", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="another layout.*missing: train, trainannot, val, valannot; found: nothing"):
        datasets.load("camvid", tmp_path / "empty")
    with pytest.raises(InputError, match="another layout.*found: .*images/, masks/"):
        datasets.load("camvid", folder)


def test_no_image_at_all(camvid):
    for path in (camvid / "val").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(InputError, match="val holds no image"):
        datasets.load("camvid", camvid)


def test_image_without_mask_and_mask_without_image(camvid):
    (camvid / "trainannot" / "train1.png").rename(camvid / "trainannot" / "trian1.png")
    with pytest.raises(
        InputError, match=r"train1.png has no mask: .*trainannot.train1.png does not exist \(1 such of 3"
    ):
        datasets.load("camvid", camvid)
    (camvid / "train" / "train1.png").unlink()
    with pytest.raises(InputError, match=r"trian1.png has no image: .*train.trian1.*\(1 such of 3 masks\)"):
        datasets.load("camvid", camvid)


def test_two_images_of_one_name(camvid):
    write(camvid / "train" / "train1.jpg", picture())
    with pytest.raises(InputError, match="train1.jpg and .*train1.png have the same name"):
        datasets.load("camvid", camvid)


def test_hidden_and_other_files_do_not_matter(camvid):
    for name in (".DS_Store", "._train0.png", "Thumbs.db"):
        (camvid / "train" / name).write_bytes(b"not an image")
    assert len(datasets.load("camvid", camvid).train) == 3


def test_sizes_that_differ(camvid):
    write(camvid / "valannot" / "val1.png", grey(0, size=(5, 6)))
    with pytest.raises(InputError, match=r"val1.png is 8 x 6 pixels.*valannot.val1.png 6 x 5.*nearest"):
        datasets.load("camvid", camvid)


@pytest.mark.parametrize("name", ["train/train1.png", "trainannot/train1.png"])
def test_empty_or_unreadable_files(camvid, name):
    (camvid / name).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name} is empty \(0 bytes\)"):
        datasets.load("camvid", camvid)
    (camvid / name).write_text("<html>not found</html>")
    with pytest.raises(InputError, match=f"{name} is damaged, truncated or no image"):
        datasets.load("camvid", camvid)


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_truncated_images(camvid, ending, kept):
    (camvid / "train" / "train1.png").unlink()
    path = camvid / "train" / f"train1{ending}"
    write(path, picture(1, size=(60, 80)))
    write(camvid / "trainannot" / "train1.png", grey(1, size=(60, 80)))
    assert datasets.load("camvid", camvid).train[1][0].shape == (60, 80, 3)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=f"train1{ending} is damaged, truncated"):
        datasets.load("camvid", camvid).train[1]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: Image.fromarray(picture()), "several channels.*RGB"),
        (lambda: Image.fromarray(grey(0, 1)).convert("RGBA"), "several channels.*RGBA"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_colour_masks_are_no_labels(folder, make, kind, listed):
    if listed:
        (folder / "classes.csv").write_text("name\na\nb\nc\n")
    make().save(folder / "masks" / "3.png")
    with pytest.raises(InputError, match=f"3.png is a mask with {kind}.*grey channel"):
        datasets.load("folder", folder)


def test_truncated_mask(camvid):
    path = camvid / "trainannot" / "train1.png"
    write(path, picture()[..., 0] % 11)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="trainannot/train1.png is damaged, truncated"):
        datasets.load("camvid", camvid).train.labels(1)


def test_labels_outside_the_classes(camvid):
    write(camvid / "trainannot" / "train2.png", grey(3, 12, 13, 200))
    train = datasets.load("camvid", camvid).train
    for read in (train.__getitem__, train.labels):
        with pytest.raises(InputError, match=r"train2.png holds the values 12, 13, 200,.*11 classes \(valid: 0-11\)"):
            read(2)
    with pytest.raises(InputError, match="train2.png"):
        class_statistics(train)


def test_images_with_more_than_8_bits(camvid):
    write(camvid / "train" / "train0.png", np.zeros((6, 8), dtype=np.uint16))
    with pytest.raises(InputError, match="train0.png has more than 8 bits"):
        datasets.load("camvid", camvid)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_images_become_rgb(camvid, mode):
    Image.fromarray(picture()).convert(mode).save(camvid / "train" / "train0.png")
    assert datasets.load("camvid", camvid).train[0][0].shape == (6, 8, 3)


# Cityscapes


def test_cityscapes_maps_label_ids(tmp_path):
    for split in ("train", "val"):
        for city, frame in (("aachen", "000001"), ("bochum", "000000")):
            name = f"{city}_{frame}_000019"
            write(tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", picture())
            write(tmp_path / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", grey(*range(34), size=(6, 8)))
            write(tmp_path / "gtFine" / split / city / f"{name}_gtFine_color.png", picture())
    data = datasets.load("cityscapes", tmp_path)
    assert len(data.train) == len(data.val) == 2
    assert data.train.source(0).endswith("aachen_000001_000019_leftImg8bit.png")
    labels = data.train[0][1].ravel()[:34].tolist()
    evaluated = {7: "road", 8: "sidewalk", 11: "building", 19: "traffic light", 26: "car", 31: "train", 33: "bicycle"}
    for label_id, name in evaluated.items():
        assert data.classes.names[labels[label_id]] == name
    assert [i for i in range(34) if labels[i] == IGNORE] == [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30]
    assert sorted(set(labels)) == list(range(-1, 19))
    (tmp_path / "gtFine" / "val" / "bochum" / "bochum_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(InputError, match="bochum_000000_000019_leftImg8bit.png has no mask: .*gtFine_labelIds.png"):
        datasets.load("cityscapes", tmp_path)


def test_cityscapes_of_another_layout(camvid):
    with pytest.raises(InputError, match="leftImg8bit/train/, .*gtFine/val/.*found: train/"):
        datasets.load("cityscapes", camvid)


# One's own folder


def test_folder_splits_by_a_seeded_fraction(folder):
    def names(**options):
        data = datasets.load("folder", folder, **options)
        return [[Path(split.source(i)).stem for i in range(len(split))] for split in (data.train, data.val)]

    train, val = names()
    assert (len(train), len(val)) == (8, 2)
    assert sorted(train + val) == [str(i) for i in range(10)]
    assert names() == [train, val]
    assert any(names(split_seed=seed) != [train, val] for seed in (1, 2, 3))
    assert len(names(val_fraction=0.5)[1]) == 5
    assert len(names(val_fraction=0.01)[1]) == 1
    assert len(names(val_fraction=0.99)[0]) == 1
    for wrong in (0, 1, -0.1):
        with pytest.raises(InputError, match="val_fraction"):
            datasets.load("folder", folder, val_fraction=wrong)
    with pytest.raises(InputError, match="split_seed"):
        datasets.load("folder", folder, split_seed=-1)


def test_folder_splits_by_sub_folders(folder):
    for kind in ("images", "masks"):
        for i in range(10):
            target = folder / kind / ("train" if i < 7 else "val") / f"{i}.png"
            target.parent.mkdir(exist_ok=True)
            (folder / kind / f"{i}.png").rename(target)
    data = datasets.load("folder", folder)
    assert (len(data.train), len(data.val)) == (7, 3)
    shutil.rmtree(folder / "masks" / "val")
    with pytest.raises(InputError, match="missing: masks/val"):
        datasets.load("folder", folder)


def test_folder_of_one_image(tmp_path):
    write(tmp_path / "images" / "only.png", picture())
    write(tmp_path / "masks" / "only.png", grey(0, 1))
    with pytest.raises(InputError, match="only.png is the only image"):
        datasets.load("folder", tmp_path)


def test_folder_finds_its_classes_in_the_masks(folder):
    data = datasets.load("folder", folder)
    assert data.classes.names == ("class 0", "class 1", "class 2")
    assert len(set(data.classes.colours)) == 3
    assert set(np.unique(data.train[0][1])) == {0, 2, IGNORE}
    for path in (folder / "masks").iterdir():
        write(path, grey(255))
    with pytest.raises(InputError, match="masks: no mask has a value other than 255"):
        datasets.load("folder", folder)


def test_folder_with_16_bit_and_1_bit_masks(folder):
    write(folder / "masks" / "0.png", np.resize(np.array([0, 300, 65535], dtype=np.uint16), (6, 8)))
    Image.fromarray(np.resize([True, False], (6, 8))).save(folder / "masks" / "1.png")
    data = datasets.load("folder", folder)
    assert len(data.classes) == 301
    samples = {Path(split.source(i)).stem: split[i][1] for split in (data.train, data.val) for i in range(len(split))}
    assert set(np.unique(samples["0"])) == {0, 300, IGNORE}
    assert set(np.unique(samples["1"])) == {0, 1}
    assert set(np.unique(samples["2"])) == {0, 2, 255}  # a label where there are so many classes
    write(folder / "masks" / "0.png", np.full((6, 8), 40_000, dtype=np.uint16))
    with pytest.raises(InputError, match="0.png holds the value 40000"):
        datasets.load("folder", folder)


def test_classes_from_a_list(folder):
    (folder / "classes.csv").write_text(
        '\ufeffname,colour,background,rare\nground,#00ff00,TRUE,\nbird,255 0 16,,yes\n"cat, big",,no,1\n',
        encoding="utf-8",
    )
    classes = datasets.load("folder", folder).classes
    assert classes.names == ("ground", "bird", "cat, big")
    assert classes.colours[:2] == ((0, 255, 0), (255, 0, 16))
    assert classes.background == ("ground",)
    assert classes.rare == ("bird", "cat, big")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns none.*needs name"),
        ("name,colour\n", "lists no class"),
        ("name,color\na,red\n", "columns name, color.*name and may have colour, background, rare"),
        ("name;colour\na;red\n", "columns name;colour"),
        ("name\na\nb\na\n", "class 2: the name 'a' is given twice"),
        ("name,colour\na,red\n,red\n", "class 1: the name '' is empty"),
        ("name,colour\na,255 0\n", "class 0: colour is '255 0'"),
        ("name,colour\na,256 0 0\n", "class 0: colour is '256 0 0'"),
        ("name,colour\na,reddish\n", "class 0: colour is 'reddish'"),
        ("name,colour\na,255,0,0\n", "class 0 has more values than there are columns"),
        ("name,background\na,maybe\n", "class 0: background is 'maybe'"),
    ],
)
def test_faults_in_the_list_of_classes(folder, text, message):
    (folder / "classes.csv").write_text(text)
    with pytest.raises(InputError, match=f"classes.csv.*{message}"):
        datasets.load("folder", folder)


def test_list_of_classes_in_another_encoding(folder):
    (folder / "classes.csv").write_bytes("name\nstraße\n".encode("latin-1"))
    with pytest.raises(InputError, match="classes.csv cannot be read.*UTF-8"):
        datasets.load("folder", folder)


def test_masks_beyond_the_list_of_classes(folder):
    (folder / "classes.csv").write_text("name\na\nb\n")
    with pytest.raises(InputError, match=r"\d.png holds the values 2, .*2 classes \(valid: 0-1, 255, 65535\)"):
        datasets.load("folder", folder).train[0]


# The real CamVid


@needs_camvid
def test_real_camvid():
    data = datasets.load("camvid", CAMVID)
    assert (len(data.train), len(data.val)) == (367, 101)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every class occurs, no crop is padded
        statistics = class_statistics(data.train)
        (batch,) = training_batches(
            data.train, augmentation="resized_crop", crop_size=(192, 256), batch_size=8, seed=0, start=9, stop=10
        )
    assert statistics.images == 367
    assert statistics.image_counts[data.classes.names.index("road")] == 367
    assert statistics.pixel_frequency.argmax() == data.classes.names.index("road")
    assert statistics.pixel_frequency.argmin() == data.classes.names.index("bicyclist")
    assert statistics.pif > 50 > statistics.rif  # regions are far less imbalanced than pixels
    assert batch.images.shape == (8, 3, 192, 256)
    assert len(batch.labels.unique()) > 8
