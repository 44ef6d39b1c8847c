"""The first notebook through papermill, as people run it: on their own images, and with a typing error."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from segrepro import datasets
from segrepro.batch import NOTEBOOKS
from segrepro.datasets.synthetic import SyntheticScenes
from segrepro.files import ROOT

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "SEGREPRO_PROGRESS": "0"}


def papermill(output: Path, **parameters) -> subprocess.CompletedProcess:
    options = [text for name, value in parameters.items() for text in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS / "01_dropclass.ipynb"), str(output), *options]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


def written_texts(path: Path) -> list[str]:
    """What the cells of an executed notebook show, as text."""
    outputs = [out for cell in nbformat.read(path, as_version=4).cells for out in cell.get("outputs", [])]
    return [
        out["text"] if out.output_type == "stream" else out.get("data", {}).get("text/plain", "") for out in outputs
    ]


def test_trains_on_one_s_own_images_and_finds_the_runs_again(tmp_path):
    """Ten pictures with masks of five classes, two iterations: everything but the scores is as in earnest."""
    scenes = SyntheticScenes(count=10, size=(48, 96))
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for i in range(len(scenes)):
        image, labels = scenes[i]
        Image.fromarray(image).save(tmp_path / "data" / "images" / f"{i}.png")
        Image.fromarray((labels // 4).astype(np.uint8)).save(tmp_path / "data" / "masks" / f"{i}.png")
    parameters = {
        "dataset": "folder", "data_root": tmp_path / "data", "crop_size": "48x64", "batch_size": 2, "iterations": 2,
        "evaluations": 1, "seeds": "0", "train": True, "runs_dir": tmp_path / "runs", "device": "cpu",
    }  # fmt: skip

    first = papermill(tmp_path / "first.ipynb", **parameters)
    assert first.returncode == 0, first.stderr
    records = sorted((tmp_path / "runs").glob("*/record.json"))
    assert [path.parent.name.rpartition("-")[0] for path in records] == ["folder-dropclass-seed0", "folder-plain-seed0"]
    (verdicts,) = [text for text in written_texts(tmp_path / "first.ipynb") if "verdict" in text and "interval" in text]
    assert all(f"dropclass-C{number} " in verdicts for number in range(1, 18))
    assert "inconclusive (n = 1)" in verdicts

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.*")}
    again = papermill(tmp_path / "again.ipynb", **parameters)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.*")} == written
    assert verdicts in written_texts(tmp_path / "again.ipynb")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("alhpa", 5, "unknown parameter 'alhpa'. Did you mean 'alpha'? Valid: aligned_ratio, alpha, "),
        (
            "dataset",
            "cityscape",
            "dataset: there is no 'cityscape'. Choose one of: " + ", ".join(datasets.NAMES),
        ),
    ],
    ids=["name", "value"],
)
def test_a_typing_error_fails_and_lists_what_is_valid(name, value, says, tmp_path):
    failed = papermill(tmp_path / "out.ipynb", **{name: value}, train=True, runs_dir=tmp_path / "runs")
    assert failed.returncode != 0
    assert f"InputError: {says}" in failed.stderr
    assert not (tmp_path / "runs").exists()
