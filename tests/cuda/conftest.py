"""What the tests of GPU code share: the emulated driver, and skips with their reason."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cuda.small import written

from cnncc.base.errors import CnnccError
from cnncc.runtime.cuda.driver import emulated_driver


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for compiled kernels."""
    if not (shutil.which("c++") and shutil.which("cc")):
        pytest.skip("no C++ compiler to run kernels on the CPU")
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """GPU modules open the driver in software, as no test has left it."""
    monkeypatch.setenv("CNNCC_CUDA_DRIVER", "emulated")
    ctypes.CDLL(str(emulated_driver())).cnncc_emulator_restart()


def or_skip(find: Callable[[], object]) -> None:
    """Skips where what is looked for is not installed: looking does nothing else that could fail."""
    try:
        find()
    except CnnccError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cuda_compiler() -> None:
    """Whichever there is."""
    from cnncc.module.gpu import compilers

    or_skip(compilers.cuda_compiler)


@pytest.fixture(scope="session")
def nvrtc() -> None:
    """The one from its wheel."""
    from cnncc.module.gpu import nvrtc as compiler

    or_skip(compiler.folders)


@pytest.fixture
def path(emulated: None, tmp_path: Path) -> Path:
    for name, body in written().items():
        (tmp_path / name).write_bytes(body)  # files of its own: what a library did to itself stays in there
    return tmp_path / "small.so"


@pytest.fixture
def driver(emulated: None) -> ctypes.CDLL:
    library = ctypes.CDLL(str(emulated_driver()))
    library.before = library.cnncc_emulator_live()
    return library
