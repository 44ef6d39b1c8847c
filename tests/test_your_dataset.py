"""One's own data: every problem planted and found, data written as a folder, rare classes, the recommendation."""

import re
import shutil

import numpy as np
import pytest
from factories import make_run
from PIL import ExifTags, Image

from segrepro import datasets, plots
from segrepro.analysis import delta, imbalance
from segrepro.analysis.recommendation import MARGIN, recommend
from segrepro.datasets import folder, inspection
from segrepro.datasets.base import IGNORE, Classes, Dataset, Images
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.parameters import Setup
from segrepro.runs import all_runs
from segrepro.verdict import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Evidence, decide, decide_each

# inspection


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)


def mask(*values, size=(24, 32)):
    return np.resize(np.array(values, dtype=np.uint8), size)


def picture(seed, size=(24, 32)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def data(tmp_path):
    """Three pairs for training (seeds 0 to 2) and two for validation (3, 4), each with the classes a, b, c."""
    for split, seeds in (("train", range(3)), ("val", range(3, 5))):
        for seed in seeds:
            save(tmp_path / "images" / split / f"{seed}.png", picture(seed))
            save(tmp_path / "masks" / split / f"{seed}.png", mask(0, 1, 2, 255))
    (tmp_path / "classes.csv").write_text("name\na\nb\nc\n")
    return tmp_path


def oriented(value):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return exif


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def relabel(root, split, *values):
    for path in (root / "masks" / split).iterdir():
        save(path, mask(*values))


def read_all(root):
    data = datasets.load("folder", root)
    return [split[i] for split in (data.train, data.val) for i in range(len(split))]


PLANTED = {
    "image without mask": (
        lambda root: (root / "masks/train/1.png").unlink(),
        ("error", "images/train/1.png", r"has no mask: masks/train/1.png does not exist \(1 such", "Add the mask"),
    ),
    "mask of another format": (
        lambda root: (root / "masks/train/1.png").rename(root / "masks/train/1.jpg"),
        ("error", "images/train/1.png", r"masks/train/1.png does not exist, but 1.jpg does \(1", "as a .png file"),
    ),
    "mask without image": (
        lambda root: (root / "images/val/4.png").unlink(),
        ("error", "masks/val/4.png", r"has no image: images/val/4 \(.*\) does not exist", "Add the image"),
    ),
    "one name twice": (
        lambda root: save(root / "images/train/1.jpg", picture(9)),
        ("error", "images/train/1.png", "images/train/1.jpg and images/train/1.png have the same name", "Rename"),
    ),
    "empty image": (
        lambda root: (root / "images/train/0.png").write_bytes(b""),
        ("error", "images/train/0.png", r"is empty \(0 bytes\)", "Copy it again"),
    ),
    "truncated image": (
        lambda root: truncate(root / "images/val/3.png"),
        ("error", "images/val/3.png", "is damaged, truncated", "Copy it again"),
    ),
    "truncated mask": (
        lambda root: (root / "masks/val/3.png").write_bytes((root / "masks/val/3.png").read_bytes()[:60]),
        ("error", "masks/val/3.png", "is damaged, truncated", "Copy it again"),
    ),
    "16-bit image": (
        lambda root: save(root / "images/train/2.png", np.zeros((24, 32), dtype=np.uint16)),
        ("error", "images/train/2.png", "more than 8 bits", "8-bit RGB"),
    ),
    "colour mask": (
        lambda root: save(root / "masks/train/2.png", picture(2)),
        ("error", "masks/train/2.png", "several channels", "one 8- or 16-bit grey channel"),
    ),
    "mask with a palette": (
        lambda root: Image.fromarray(picture(2)).quantize(8).save(root / "masks/train/2.png"),
        ("error", "masks/train/2.png", "a palette: its labels may be the places in .* Pascal VOC", "numpy.array"),
    ),
    "mask on its side": (
        lambda root: save(root / "masks/train/0.png", mask(0, 1, 2, size=(32, 24))),
        ("error", "images/train/0.png", "is 32 x 24 pixels, its mask masks/train/0.png 24 x 32", "Turn one of them"),
    ),
    "different sizes": (
        lambda root: save(root / "masks/train/0.png", mask(0, 1, 2, size=(12, 16))),
        ("error", "images/train/0.png", "is 32 x 24 pixels, its mask masks/train/0.png 16 x 12", "the same size"),
    ),
    "values outside the classes": (
        lambda root: save(root / "masks/val/4.png", mask(0, 1, 2, 3, 77)),
        ("error", "masks/val/4.png", r"the values 3, 77, .* 3 classes \(valid: 0-2, 255, 65535\)", "Correct the mask"),
    ),
    "damaged list of classes": (
        lambda root: (root / "classes.csv").write_text("name\na\na\nc\n"),
        ("error", "classes.csv", "^class 1: the name 'a' is given twice", "Give each its own"),
    ),
    "class in no image": (
        lambda root: (root / "classes.csv").write_text("name\na\nb\nc\nd\n"),
        ("warning", "masks", "class 'd' occurs in no image", "Add images with it"),
    ),
    "class only in validation": (
        lambda root: relabel(root, "train", 0, 1, 255),
        ("warning", "masks", "class 'c' occurs in 2 for validation, but in none for training", "never learned"),
    ),
    "class only in training": (
        lambda root: relabel(root, "val", 0, 2),
        ("warning", "masks", "class 'b' occurs in 3 images for training, but in none for validation", "measured"),
    ),
    "no labelled pixel": (
        lambda root: save(root / "masks/train/1.png", mask(255)),
        ("warning", "masks/train/1.png", "has no labelled pixel", "Label it"),
    ),
    "image that viewers turn": (  # 3: upside down, so that the size does not tell
        lambda root: save(root / "images/train/0.png", picture(0), exif=oriented(3)),
        ("warning", "images/train/0.png", "shown turned or mirrored by its EXIF orientation", "its mask lies on"),
    ),
    "split beside the two": (
        lambda root: save(root / "images/test/0.png", picture(7)),
        ("warning", "images/test", "is in neither train/ nor val/, and is left out", "Nothing need be done"),
    ),
    "picture in both splits": (  # in a file of other bytes
        lambda root: save(root / "images/val/3.png", picture(1), compress_level=0),
        ("warning", "images/val/3.png", "is the same picture as images/train/1.png", "Remove one"),
    ),
}


def test_the_split_that_is_inspected_is_the_one_that_is_trained(tmp_path):
    """Only one image has the class tree; on which side it is depends on split_seed."""
    for i in range(6):
        save(tmp_path / f"images/{i}.png", picture(i))
        save(tmp_path / f"masks/{i}.png", mask(0, 1, 2) if i == 5 else mask(0, 1))
    sides = set()
    for seed in range(4):
        options = {"split_seed": seed, "val_fraction": 0.5}
        val = folder.load(tmp_path, **options).val
        side = "validation" if any(val.source(i).endswith("5.png") for i in range(len(val))) else "training"
        (problem,) = inspection.inspect(tmp_path, **options)["problem"]
        assert re.search(f"for {side}, but in none for", problem)
        sides.add(side)
    assert sides == {"training", "validation"}


@pytest.mark.parametrize("name", ["training", "Validation", "test", "Train"])
def test_folders_that_look_like_splits_are_not_mixed(tmp_path, name):
    for i, folder_name in enumerate(["a", "a", name]):
        save(tmp_path / f"images/{folder_name}/{i}.png", picture(i))
        save(tmp_path / f"masks/{folder_name}/{i}.png", mask(0, 1))
    with pytest.raises(InputError, match=f"images/{name} looks like a split, but splits are .*train/ and val/"):
        folder.load(tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / kind / name).rename(tmp_path / kind / "b")
    assert len(folder.load(tmp_path).train) == 2


@pytest.mark.parametrize("exif", [oriented(0), oriented(1), b"Exif\0\0II*\0", b"Exif\0\0no TIFF"])
def test_only_an_orientation_that_turns_is_told_of(data, exif):
    save(data / "images/train/0.png", picture(0), exif=exif)
    assert inspection.inspect(data).empty


def test_nothing_is_found_where_nothing_is_wrong(data):
    problems = inspection.inspect(data)
    assert problems.empty
    assert list(problems.columns) == ["severity", "file", "problem", "what to do"]
    inspection.require_readable(problems)
    assert len(read_all(data)) == 5


@pytest.mark.parametrize("name", PLANTED)
def test_each_problem_is_found_alone(data, name):
    plant, (severity, file, problem, cure) = PLANTED[name]
    plant(data)
    problems = inspection.inspect(data)
    assert len(problems) == 1, problems
    row = problems.iloc[0]
    assert (row["severity"], row["file"]) == (severity, file)
    assert re.search(problem, row["problem"])
    assert cure in row["what to do"]
    assert str(data) not in problems.to_string()
    if severity == "error":
        with pytest.raises(InputError, match=r"cannot be read \(errors: 1\)"):
            inspection.require_readable(problems)
        with pytest.raises(InputError):  # what is called an error is one for those who use the data
            read_all(data)
    else:
        inspection.require_readable(problems)
        assert len(read_all(data)) == 5


def test_all_problems_are_listed_and_errors_come_first(data):
    (data / "masks/train/0.png").unlink()
    truncate(data / "images/train/1.png")
    save(data / "masks/train/1.png", picture(0))
    save(data / "masks/train/2.png", mask(255))
    save(data / "masks/val/3.png", mask(0, 1, 9))
    save(data / "images/val/4.png", picture(2))
    problems = inspection.inspect(data)
    found = list(zip(problems["severity"], problems["file"], strict=True))
    assert found == [
        ("error", "images/train/0.png"), ("error", "images/train/1.png"), ("error", "masks/train/1.png"),
        ("error", "masks/val/3.png"), ("warning", "masks/train/2.png"), ("warning", "images/val/4.png"),
    ]  # fmt: skip
    with pytest.raises(InputError, match="errors: 4"):
        inspection.require_readable(problems)


def test_without_folders_of_splits_and_without_a_list(tmp_path):
    for i in range(5):
        save(tmp_path / "images" / f"{i}.jpg", picture(i))
        save(tmp_path / "masks" / f"{i}.png", mask(0, 1, 255))
    assert inspection.inspect(tmp_path).empty
    save(tmp_path / "masks" / "2.png", mask(0, 1, 3))  # without a list, 3 makes four classes
    problems = inspection.inspect(tmp_path)["problem"].to_list()
    assert [text.split(" occurs")[0] for text in problems] == ["class 'class 2'", "class 'class 3'"]
    for i in range(5):
        save(tmp_path / "masks" / f"{i}.png", mask(255))
    (problem,) = inspection.inspect(tmp_path)["problem"]
    assert problem == "no mask has a value other than 255 and 65535"
    for i in range(5):  # whoever saves two classes as 0 and 255
        save(tmp_path / "masks" / f"{i}.png", mask(0, 255))
    for cause in ("values", "list"):
        (row,) = inspection.inspect(tmp_path).query("severity == 'error'").to_dict("records")
        assert "255 means unlabelled" in row["problem"], cause
        assert row["what to do"] == "Save every class as a value of its own: 0, 1, 2 and so on."
        (tmp_path / "classes.csv").write_text("name\nbackground\nlesion\n")
    for i in range(4):
        (tmp_path / "masks" / f"{i}.png").unlink()
    assert inspection.inspect(tmp_path)["problem"].str.contains("has no mask").sum() == 4


def test_a_mask_of_another_name_is_pointed_at(data):
    (data / "masks/train/1.png").rename(data / "masks/train/1_mask.png")
    first, _ = inspection.inspect(data).to_dict("records")
    assert "masks/train/1.png does not exist, but 1_mask.png does" in first["problem"]
    assert first["what to do"] == "Give it the image's name, as a .png file."


def test_a_split_without_a_label(data):
    relabel(data, "train", 255)
    (row,) = inspection.inspect(data).query("severity == 'error'").to_dict("records")
    assert (row["problem"], row["what to do"]) == ("no pixel for training is labelled", "Label some.")
    relabel(data, "val", 255)
    assert len(inspection.inspect(data).query("severity == 'error'")) == 2


def test_there_must_be_something_to_inspect(data):
    with pytest.raises(InputError, match="data_root is not set"):
        inspection.inspect(None)
    shutil.rmtree(data / "images" / "val")
    with pytest.raises(InputError, match="missing: images/val"):
        inspection.inspect(data)


# the example


def tiny(classes):
    """A data set of 2 and 1 images (1, 1) with these many classes; the last image is not labelled."""
    names = tuple(f"c {i}" for i in range(classes))
    kind = Classes(names, tuple((i % 256, i // 256, 7) for i in range(classes)), background=names[:1], rare=names[1:])

    def split(labels):
        images = np.full((len(labels), 1, 1, 3), 9, dtype=np.uint8)
        return Images(kind, images, np.array(labels), f"{classes}: {labels}", str)

    return Dataset("tiny", kind, split([0, classes - 1]), split([IGNORE]))


@pytest.mark.parametrize("classes", [2, 255, 256, 300])
def test_data_written_as_a_folder_are_the_same(tmp_path, classes):
    data = tiny(classes)
    root = folder.write(data, tmp_path)
    again = datasets.load("folder", root)
    assert again.classes == data.classes
    for written, given in ((again.train, data.train), (again.val, data.val)):
        assert len(written) == len(given)
        for i in range(len(given)):
            assert all(np.array_equal(a, b) for a, b in zip(written[i], given[i], strict=True))


def test_a_folder_is_written_once_and_finished_after_an_interruption(tmp_path):
    root = folder.write(tiny(3), tmp_path)
    path = root / "masks" / "train" / "00001.png"
    path.unlink()
    assert folder.write(tiny(3), tmp_path) == root
    assert not path.exists()
    (root / "classes.csv").unlink()  # written last: without it the folder is not complete
    folder.write(tiny(3), tmp_path)
    assert path.exists()
    assert folder.write(tiny(4), tmp_path) != root


def test_which_folder_is_inspected(tmp_path):
    assert inspection.folder_of(Setup(dataset="folder", data_root=tmp_path)) == tmp_path
    assert inspection.folder_of(Setup(dataset="folder")) is None
    for wrong in ({"dataset": "camvid"}, {"dataset": "synthetic", "data_root": tmp_path}):
        with pytest.raises(InputError, match="set dataset=folder and data_root"):
            inspection.folder_of(Setup(**wrong))


def test_the_example_is_the_embedded_data_in_order(tmp_path):
    root = inspection.folder_of(Setup(runs_dir=tmp_path))
    assert inspection.inspect(root).empty
    scenes = datasets.load("synthetic", train_scenes=60, val_scenes=30)
    assert np.array_equal(datasets.load("folder", root).val[29][1], scenes.val[29][1])


# rare classes


def test_rare_classes_are_those_named_else_the_rarer_half():
    names, counts = ("a", "b", "c", "d", "e"), [50, 0, 7, 900, 8]
    assert imbalance.rare_labels(names, ("d", "c", "b"), counts) == [2, 3]  # b is never seen
    assert imbalance.rare_labels(names, (), counts) == [2, 4]
    assert imbalance.rare_labels(names, ("b",), counts) == [2, 4]
    assert imbalance.rare_labels(("a", "b"), (), [3, 0]) == [0]


@pytest.mark.parametrize("dataset", ["synthetic", "camvid"])
def test_the_rarer_half_is_what_the_recorded_data_sets_name(dataset):
    records = [run.record for run in all_runs() if run.record.parameters["dataset"] == dataset]
    assert records
    for record in records:
        half = imbalance.rare_labels(record.class_names, (), record.pixel_counts)
        assert {record.class_names[label] for label in half} == set(record.rare_classes)


def test_crops_are_around_the_largest_part(monkeypatch):
    """One image of 40 x 60 with a part of 2 x 3 pixels at the left and one of 1 x 1 at the right edge."""
    monkeypatch.setattr(imbalance, "CROP", 10)
    labels = np.zeros((40, 60), dtype=np.int16)
    labels[20:22, 1:4] = labels[30, 59] = 1
    image = np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3)
    samples = [(image, labels), (image, np.zeros_like(labels)), (image, labels[:, ::-1])]
    statistics = Statistics(np.array([9, 9]), np.array([[1, 1], [1, 0], [1, 1]], dtype=bool))
    first, last = imbalance.crops(samples, statistics, 1, 5)
    assert np.array_equal(first[0], image[16:26, :10])
    assert np.argwhere(first[1]).tolist() == [[4, 1], [4, 2], [4, 3], [5, 1], [5, 2], [5, 3]]
    assert np.array_equal(last[0], image[16:26, 50:])
    assert len(imbalance.crops(samples, statistics, 0, 2)) == 2
    assert imbalance.crops(samples, statistics, 0, 2)[0][0].shape == (40, 40, 3)  # the class fills the image


def test_the_figure_outlines_also_what_fills_a_crop():
    whole, part = np.ones((6, 6), bool), np.eye(6, dtype=bool)
    image = np.zeros((6, 6, 3), np.uint8)
    figure = plots.rare_class_crops({"an animal of the woods": [(image, whole), (image, part)], "car": [(image, part)]})
    assert [axes.get_title() for axes in figure.axes[:2]] == ["an animal of\nthe woods", "car"]
    outlines = [len(axes.collections) for axes in figure.axes]
    assert outlines == [1, 1, 1, 0]


# the recommendation

ROAD, CAR, TRAIN = 0.8, 0.4, 0.2  # IoU of plain training; car and train are rare


def runs_of(folder, seeds=3, **remedies):
    """Plain runs, and by method's name runs whose rare classes gain `rare` points plus -s, 0, s; road gains `road`."""
    plain = [make_run(folder, seed=seed, ious=[ROAD, CAR, TRAIN]) for seed in range(seeds)]
    runs = {"plain": plain}
    for name, (rare, road, spread) in remedies.items():
        gains = [rare + spread * (seed % 3 - 1) for seed in range(seeds)]
        runs[name] = [
            make_run(folder, methods=[name], seed=seed, ious=[ROAD + road / 100, CAR + gain / 100, TRAIN + gain / 100])
            for seed, gain in enumerate(gains)
        ]
    return runs


def test_a_remedy_that_helps_is_recommended_with_its_interval(tmp_path):
    """Rare: 4 with standard error 0.1 / sqrt(3), times t = 4.303; of all classes two thirds of both."""
    advice = recommend(runs_of(tmp_path, fbnet=(4, 0, 0.1), dice=(6, 0, 0.1), balanced_softmax=(-2, 0, 0.1)))
    assert advice.table["verdict"].to_dict() == {
        "fbnet": "helps", "dice": "helps", "balanced_softmax": "does not help",
    }  # fmt: skip
    assert str(advice) == (
        "Use Dice: +6.0 [+5.8, +6.2] points of mean IoU on the rare classes, +4.0 [+3.8, +4.2] on all, over 3 paired "
        "seeds.\nAlso helping, and not tested against it: FBNet."
    )
    half = 4.302653 * 0.1 / np.sqrt(3)
    row = advice.table.loc["fbnet", ["Δ rare mIoU", "rare low", "rare high", "ΔmIoU", "low", "high"]].astype(float)
    np.testing.assert_allclose(row[:3], [4, 4 - half, 4 + half], atol=1e-3)
    np.testing.assert_allclose(row[3:], 2 / 3 * row[:3], atol=1e-3)
    assert advice.table.loc["fbnet", "seeds"] == 3
    assert advice.rare == ("train", "car")


def test_no_remedy_may_beat_plain_training(tmp_path):
    advice = recommend(runs_of(tmp_path, fbnet=(0.1, 0, 0.05), dice=(-3, 0, 0.1)))
    assert str(advice) == "No remedy beats Plain training here, of FBNet, Dice."


def test_nothing_is_useless_while_rare_classes_are_not_found(tmp_path):
    """Of 40 points on road but 2 on the rare classes; a remedy that lifts these clearly helps all the same."""
    plain, same, better = (
        [make_run(tmp_path, methods=[name], seed=seed, ious=[0.4, rare, rare]) for seed in range(3)]
        for name, rare in (("plain", 0.02), ("dice", 0.02), ("fbnet", 0.09))
    )
    advice = recommend({"plain": plain, "dice": same})
    assert advice.table["verdict"].to_list() == ["cannot tell"]
    assert str(advice).startswith("Too early to call Dice useless: Plain has 2.0 points on the rare classes")
    advice = recommend({"plain": plain, "dice": same, "fbnet": better})
    assert advice.table["verdict"].to_dict() == {"dice": "cannot tell", "fbnet": "helps"}
    assert str(advice).startswith("Use FBNet")
    assert "Too early to call Dice useless" in str(advice)


def test_too_few_seeds_to_tell(tmp_path):
    advice = recommend(runs_of(tmp_path, seeds=1, fbnet=(30, 10, 0)))
    assert str(advice) == "Too few seeds to tell: FBNet (1). Train more of them (parameter seeds)."
    assert np.isnan(advice.table.loc["fbnet", "low"])
    undecided = recommend(runs_of(tmp_path, fbnet=(1, 0, 3), dice=(-9, 0, 0.1)))
    assert str(undecided) == "Too few seeds to tell: FBNet (3). Train more of them (parameter seeds)."
    assert undecided.table.loc["dice", "verdict"] == "does not help"


def test_rare_classes_at_the_cost_of_the_others_are_a_trade(tmp_path):
    """Road loses 15 points, car and train gain 4: the mean loses 7 / 3."""
    advice = recommend(runs_of(tmp_path, dice=(4, -15, 0.1)) | {"fbnet": []})
    assert advice.table["verdict"].to_dict() == {"dice": "does not help"}
    assert str(advice) == (
        "No remedy beats Plain training here, of Dice.\nA trade, not a gain: Dice, +4.0 [+3.8, +4.2] points of mean "
        "IoU on the rare classes, -2.3 [-2.5, -2.2] on all."
    )


def test_who_tries_more_remedies_needs_stronger_evidence(tmp_path):
    """4 points with a standard deviation of 1 over 3 seeds: t = 6.93, p = 0.0202, of both comparisons."""
    alone = runs_of(tmp_path, fbnet=(4, 0, 1))
    assert recommend(alone).table.loc["fbnet", "verdict"] == "helps"  # 2 p = 0.04
    among = recommend(alone | {"dice": runs_of(tmp_path, dice=(0.2, 0, 9))["dice"]})
    assert among.table["verdict"].to_list() == ["cannot tell"] * 2  # 4 p = 0.08
    assert among.table.loc["fbnet", "low"] > 0  # though its own interval lies above 0


def test_only_common_seeds_count(tmp_path):
    runs = runs_of(tmp_path, fbnet=(4, 0, 0.1))
    runs["plain"] = [*runs["plain"][:2], make_run(tmp_path, seed=7, ious=[0.1, 0.1, 0.1])]
    assert recommend(runs).table.loc["fbnet", "seeds"] == 2
    runs["plain"] = runs["plain"][2:]
    assert str(recommend(runs)).startswith("Nothing to compare yet: this takes runs of Plain and of a remedy")
    assert recommend({}).table.empty


def test_nothing_is_told_of_networks_that_learned_nothing(tmp_path):
    plain = [make_run(tmp_path, seed=seed, ious=[0.1, 0.02, 0.01]) for seed in range(3)]
    better = [make_run(tmp_path, methods=["fbnet"], seed=seed, ious=[0.9, 0.9, 0.9]) for seed in range(3)]
    advice = recommend({"plain": plain, "fbnet": better})
    assert str(advice).startswith("Too early to tell: Plain has a mean IoU of 4.3 points, and below 5 no")
    assert list(advice.table["verdict"]) == ["cannot tell"]


def test_figure_of_gains_by_class(tmp_path):
    """Standard deviations of 0.3 and 1 over 3 seeds: the intervals reach 4.303 / sqrt(3) times as far."""
    table = delta.class_gains(runs_of(tmp_path, fbnet=(4, -1, 0.3), dice=(0.1, 0, 1)))
    table.loc[(table["class"] == "car") & (table["configuration"] == "dice"), "value"] = (
        np.nan
    )  # never seen or predicted
    axes = plots.remedy_gains(table, ("train", "car")).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["FBNet", "Dice"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["train †", "car †", "road"]
    assert [(text.get_text(), text.get_weight()) for text in axes.texts] == [
        ("+4.0 ± 0.7", "bold"), ("+0.1 ± 2.5", "normal"), ("+4.0 ± 0.7", "bold"), ("-1.0 ± 0.0", "bold"),
        ("+0.0 ± 0.0", "normal"),
    ]  # fmt: skip


def test_figure_of_the_recommendation(tmp_path):
    table = recommend(runs_of(tmp_path, fbnet=(4, 0, 0.1), dice=(0.1, 0, 1))).table
    figure = plots.remedies(table, MARGIN)
    assert [axes.get_title() for axes in figure.axes] == ["all classes", "rare classes"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["FBNet\nhelps (n = 3)", "Dice\ncannot tell (n = 3)"]
    for axes, column in zip(figure.axes, ("ΔmIoU", "Δ rare mIoU"), strict=True):
        points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(points, table[column].astype(float))


# the rule for several claims at once


def test_claims_that_are_read_together_are_corrected_together():
    """t = 6.93, p = 0.0202 for each: 2 p passes, 4 p does not; one claim alone is as `decide` has it."""
    gain = Evidence("", np.array([3.0, 4.0, 5.0]), "greater", 0.5)
    loss = Evidence("", np.array([-9.9, -10.0, -10.1]), "greater", 0.5)
    assert decide([gain, gain])[0] == REPRODUCED
    assert decide_each([[gain, gain]]) == [decide([gain, gain])]
    outcomes = decide_each([[gain], [gain], [loss], [gain, gain]])
    assert [outcome for outcome, _ in outcomes] == [INCONCLUSIVE, INCONCLUSIVE, NOT_REPRODUCED, INCONCLUSIVE]
    assert outcomes[2][1] is loss
