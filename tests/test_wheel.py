"""The wheel, installed into an empty environment outside the tree, compiles a network that it carries."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from cnncc.base import extras

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("cnncc", "grammars", "models", "targets", "pyproject.toml", "README.md", "LICENSE")
QUIET_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def call(*command: object, cwd: Path) -> str:
    """Standard output of a command that finds no cnncc but an installed one."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, so that nothing is left in it."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    call(*QUIET_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", copy / "dist", ".", cwd=copy)
    (built,) = (copy / "dist").glob("cnncc_inference-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of a new environment with the wheel; its dependencies are lent by this one, to stay offline."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    call(*QUIET_PIP, "--python", home / "bin/python", "install", "--no-deps", "--no-index", wheel, cwd=home)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of a new environment with what pip installs without extras: the wheel and NumPy, no more."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False)
    call(*QUIET_PIP, "--python", home / "bin/python", "install", "--no-deps", "--no-index", wheel, cwd=home)
    (packages,) = home.glob("lib/python*/site-packages")
    for lent in Path(sysconfig.get_path("purelib")).glob("numpy*"):
        (packages / lent.name).symlink_to(lent)
    return home / "bin"


@pytest.fixture(scope="module")
def module(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 as a module, compiled where the compiler is."""
    folder = tmp_path_factory.mktemp("module")
    call(installed / "cnncc", "compile", "lenet5", "-o", "lenet5.so", cwd=folder)
    return folder / "lenet5.so"


def test_the_source_distribution_has_the_pages_and_the_tests(tmp_path):
    copy = tmp_path / "source"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "data", "build", "dist", "*.egg-info")
    )
    call(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, cwd=copy)
    (built,) = tmp_path.glob("cnncc_inference-*.tar.gz")
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    pages = {p.name for p in ROOT.glob("*.md")} | {f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")}
    others = {"LICENSE", "CITATION.cff", "Makefile", "tools/api_page.py", "tests/test_wheel.py", "examples/demo.py"}
    assert pages | others | {"targets/x86-64-v3.toml", "models/lenet5.safetensors", "cnncc/runtime/pool.c"} <= names


def test_numpy_is_all_that_everybody_gets(wheel):
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA"))
    required = re.findall(r"^Requires-Dist: (.*)$", zipfile.ZipFile(wheel).read(metadata).decode(), re.MULTILINE)
    assert [line for line in required if "extra ==" not in line] == ["numpy<3,>=2.0"]
    lists = {**extras.PACKAGES[extras.COMPILER], **extras.PACKAGES[extras.IMAGES]}
    compiler = {re.split(r"[<>=]", line)[0] for line in required if re.search(r"extra == .compiler.", line)}
    assert compiler == set(lists.values())


def test_numpy_is_enough_to_run_a_module(bare, module, tmp_path):
    script = (
        "import pickle, sys, numpy as np, cnncc\n"
        f"model = cnncc.load({str(module)!r}, threads=1)\n"
        "x = np.random.default_rng(0).random((3, 1, 32, 32), 'float32')\n"
        "np.testing.assert_allclose(model.run_many(x).sum(1), 1, rtol=1e-5)\n"
        "assert pickle.loads(pickle.dumps(model))(x[:1]).tobytes() == model(x[:1]).tobytes()\n"
        "np.save('x.npy', x[:1])\n"
        "assert not {'tvm', 'llvmlite', 'lark', 'networkx', 'safetensors', 'rich', 'PIL'} & set(sys.modules)\n"
    )
    call(bare / "python", "-c", script, cwd=tmp_path)
    (result,) = json.loads(call(bare / "cnncc", "run", module, "x.npy", "--json", cwd=tmp_path))
    assert len(result["outputs"][0]["top"]) == 5
    assert "runs here" in call(bare / "cnncc", "info", module, cwd=tmp_path)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("compile", "lenet5"), "reading and compiling networks needs apache-tvm, apache-tvm-ffi, llvmlite, lark, "),
        (("summary", "lenet5"), "reading and compiling networks needs apache-tvm, "),
        (("check", "lenet5"), "pip install 'WHEEL[compiler]'"),
        (
            ("run", "MODULE", "image.png"),
            "reading image files needs pillow, which is not installed hint: pip install",
        ),
    ],
)
def test_without_the_extra_the_command_names_it(wheel, bare, module, tmp_path, command, message):
    """And how to get it from where this installation came from."""
    (tmp_path / "image.png").touch()
    words = [module if word == "MODULE" else word for word in command]
    done = subprocess.run([bare / "cnncc", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert message.replace("WHEEL", str(wheel)) in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_without_the_extra_python_names_it(wheel, bare, tmp_path):
    script = "import cnncc\ntry: cnncc.compile('lenet5')\nexcept cnncc.CnnccError as e: print(e)"
    told = call(bare / "python", "-c", script, cwd=tmp_path)
    assert f"pip install '{wheel}[compiler]'" in " ".join(told.split())


def test_the_wheel_carries_code_and_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for data in ("grammars", "models", "targets"):
        here = {f"cnncc/_data/{data}/{p.name}" for p in (ROOT / data).iterdir() if p.suffix in _DATA}
        assert here, data
        assert here <= names
    assert {str(p.relative_to(ROOT)) for p in (ROOT / "cnncc").rglob("*.py")} <= names
    assert not [name for name in names if name.startswith(("tests/", "models/"))]


def test_every_other_file_of_the_package_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [p for p in (ROOT / "cnncc").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert {str(p.relative_to(ROOT)) for p in files} <= names


def test_the_installed_package_is_the_one_that_runs(installed, tmp_path):
    home = installed.parent
    where = call(installed / "python", "-c", "import cnncc; print(cnncc.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(home)


def test_the_installed_command_compiles_a_network_of_the_zoo(installed, tmp_path):
    figures = json.loads(call(installed / "cnncc", "summary", "lenet5", "--json", cwd=tmp_path))
    assert (figures["params"], figures["macs"]) == (61_706, 416_520)
    call(installed / "cnncc", "compile", "lenet5", "-o", "lenet5.so", cwd=tmp_path)
    assert (tmp_path / "lenet5.h").is_file()
    info = json.loads(call(installed / "cnncc", "info", "lenet5.so", "--json", cwd=tmp_path))
    assert info["name"] == "lenet5"


_DATA = {".lark", ".net", ".toml", ".safetensors"}
