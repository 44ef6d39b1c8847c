"""What holds the repository together: versions, commands, documents."""

import importlib.metadata
import os
import re
import stat
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from segrepro import report
from segrepro.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]]
LOCK = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]


def pins(requirements):
    """{name: version} of requirements, each of which must be an exact version that exists on every machine."""
    found = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        assert "+" not in specifier.version, f"{requirement}: a local version exists on one machine only"
        found[canonicalize_name(requirement.name)] = specifier.version
    return found


def test_the_supported_versions_are_python_3_11_and_3_12_with_torch_2_11_to_2_13():
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert [minor for minor in range(9, 16) if f"3.{minor}.5" in supported] == [11, 12]
    torch = next(requirement.specifier for requirement in DIRECT if requirement.name == "torch")
    assert [minor for minor in range(8, 18) if f"2.{minor}.1" in torch] == [11, 12, 13]


def test_the_lock_pins_every_direct_dependency_within_its_range():
    locked = pins(LOCK)
    for requirement in DIRECT:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_the_lock_holds_all_that_its_packages_need():
    """As far as the machine at hand tells: CUDA's libraries come with torch and are nobody's to pin."""
    locked = {canonicalize_name(requirement.name) for requirement in LOCK}
    for name in locked - {"torch"}:
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another Python version
        for requirement in map(Requirement, needed):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in locked, f"{name} needs {requirement}"


def test_the_conda_environment_has_the_direct_dependencies_at_the_lock_s_versions_and_faiss_for_gpus():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pinned = pins(Requirement(line) for line in pip if not line.startswith("--"))
    locked = pins(LOCK)
    direct = {canonicalize_name(requirement.name) for requirement in DIRECT}
    assert pinned == {name: locked[name] for name in direct} | {"faiss-gpu": locked["faiss-cpu"]}
    assert "--editable ." in pip


def test_faiss_for_cpus_and_for_gpus_are_extras_that_exclude_each_other():
    extras = {name: PROJECT["optional-dependencies"][name] for name in ("faiss-cpu", "faiss-gpu")}
    assert [Requirement(line).name for (line,) in extras.values()] == list(extras)
    assert not [requirement for requirement in DIRECT if "faiss" in requirement.name]


def test_every_package_that_the_code_imports_is_a_direct_dependency():
    imported = set()
    for path in (ROOT / "segrepro").rglob("*.py"):
        imported |= set(re.findall(r"^\s*(?:import|from)\s+([A-Za-z_]\w*)", path.read_text(), re.M))
    providers = importlib.metadata.packages_distributions()
    imported -= {"segrepro", "faiss", *sys.stdlib_module_names}  # faiss is an extra: the search does without it
    needed = {canonicalize_name(distribution) for module in imported for distribution in set(providers[module])}
    assert needed <= {canonicalize_name(requirement.name) for requirement in DIRECT}


def test_the_wheels_for_a_gpu_machine_and_what_it_has_are_all_that_recording_imports():
    listed = (ROOT / "scripts" / "gpu_wheels.txt").read_text().splitlines()
    wheels = {canonicalize_name(line) for line in listed if line and not line.startswith("#")}
    locked = {canonicalize_name(requirement.name) for requirement in LOCK}
    assert wheels <= locked
    assert not {"torch", "torchvision", "faiss-cpu"} & wheels
    code = "import sys, segrepro.records; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    providers = importlib.metadata.packages_distributions()
    needed = {canonicalize_name(d) for module in run.stdout.split() for d in providers.get(module, ())} & locked
    there = closure("torch", "torchvision", "numpy", "pillow", "pyyaml", "scipy", "scikit-learn", "pandas")
    there |= {"charset-normalizer", "defusedxml"}  # imported by others where they happen to be installed
    assert needed - there <= wheels


def closure(*names):
    """The named distributions and all that they need."""
    found = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            needed = map(Requirement, importlib.metadata.requires(name) or [])
            waiting += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def test_make_help_lists_the_targets():
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"reproduce", "test", "lab", "records", "lint", "help"} <= set(re.findall(r"^make (\w+) +\S", text, re.M))


@pytest.mark.parametrize("script", [".ci/run", "scripts/pack_for_gpu.sh"])
def test_scripts_are_executable_and_valid(script):
    assert os.stat(ROOT / script).st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_continuous_integration_runs_the_test_command_and_pre_commit_the_same_ruff():
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test"
    plan = subprocess.run(["make", "-n", "lint"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local"
    assert "-m ruff check" in plan
    assert hook["entry"].startswith(".venv/bin/ruff check")
    assert "jupyter" in hook["types_or"]


def test_the_citation_names_the_five_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert [paper["notes"].split(";")[0] for paper in citation["references"]] == [
        "DropClass", "Region Rebalance", "LfF", "FBNet", "ESSNet",
    ]  # fmt: skip
    assert all(paper["authors"] and paper["year"] and paper["title"] for paper in citation["references"])


def test_the_readme_s_scoreboard_is_that_of_the_committed_records():
    assert report.README.read_text() == report.readme_with_scoreboard(), "stale: run `make scoreboard`"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_files_named_in_the_documents_exist(document):
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\((?!http)([^)]+)\)", text)
    named = re.findall(r"`((?:segrepro|scripts|data|notebooks)/[\w./]+)`", text)
    assert links + named
    assert not [path for path in links + named if not (ROOT / path).exists()]


def test_the_example_of_contributing_runs_as_it_stands(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    code = code.replace('"train": True', f'"train": True, "runs_dir": {str(tmp_path / "runs")!r}')
    (tmp_path / "example.py").write_text(code)
    environment = {**os.environ, "SEGREPRO_PROGRESS": "0", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert 0 < float(run.stdout) < 10
    assert list(tmp_path.glob("runs/synthetic-label_smoothing-*/record.json"))
