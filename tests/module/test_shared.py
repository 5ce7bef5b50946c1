"""The shared object: what it exports and needs, that it loads without TVM, and that C and threads can use it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from written import write_shared

import cnncc
from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.runtime.load import load, read_info
from cnncc.runtime.model import InputError

NET = """net small
input 3x17x19
stem: conv 3x3 24 /2 bn relu
add { conv 3x3 24 bn | }; relu
concat { conv 1x1 16 relu | conv 3x3 32 relu }
gap
fc 10 softmax
"""
INTERFACE = {
    "run",
    "run_with",
    "model_get",
    "arena_bytes",
    "arena_bytes_for",
    "inputs",
    "outputs",
    "version",
    "info",
    "error",
}
ALLOWED_UNDEFINED = {
    "sched_yield", "sched_getaffinity", "__sched_cpucount", "syscall", "sigfillset", "pthread_sigmask",
    "pthread_create", "pthread_detach", "pthread_atfork", "__register_atfork", "memset", "memcpy", "memmove",
    "open", "read", "close", "memcmp", "strlen", "strcspn", "madvise", "sysconf",
    "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__cxa_finalize", "__gmon_start__",
}  # fmt: skip


@pytest.fixture(scope="module")
def build():
    return api.build(weights.bind(lang.parse(NET)), Options(threads=2))


@pytest.fixture(scope="module")
def module(build, tmp_path_factory) -> Path:
    path, header = write_shared(build, tmp_path_factory.mktemp("module") / "small.so")
    assert header.name == "small.h"
    return path


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, 3, 17, 19)).astype(np.float32)


def test_loaded_equals_in_process(build, module, image) -> None:
    """Both forms run the same machine code: every bit agrees, and the reference agrees within its tolerance."""
    loaded, compiled = load(module), build.model()
    assert loaded(image).tobytes() == compiled(image).tobytes()
    (wanted,) = reference.run(build.program.source, [image]).values()
    np.testing.assert_allclose(loaded(image), wanted, rtol=1e-4)


def test_needs_libc_and_pthread_only(module) -> None:
    listed = subprocess.run(["nm", "-D", "-u", module], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].split("@")[0] for line in listed.splitlines()}
    assert names <= ALLOWED_UNDEFINED


def exports(module: Path) -> set[str]:
    listed = subprocess.run(["nm", "-D", "--defined-only", module], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listed.splitlines()}


def test_exports_only_its_interface(module) -> None:
    assert exports(module) == {f"small_{n}" for n in INTERFACE}


def test_exports_no_kernel_that_begins_with_its_name(tmp_path) -> None:
    build = api.build(weights.bind(lang.parse("net conv\ninput 3x8x8\nconv 3x3 8 relu\n")))
    module, _ = write_shared(build, tmp_path / "x.so")
    assert exports(module) == {f"conv_{n}" for n in INTERFACE}


def test_replaced_file_is_loaded_anew(tmp_path) -> None:
    """The system's loader knows files by name; a second module under the same one must not get the first one's code."""
    image = np.random.default_rng(2).standard_normal((1, 3, 8, 8)).astype(np.float32)
    loaded, fresh = [], []
    for name, ops in (("a", "conv 3x3 4"), ("a", "conv 3x3 4 relu"), ("b", "relu")):
        build = api.build(weights.bind(lang.parse(f"net {name}\ninput 3x8x8\n{ops}\n")))
        path, _ = write_shared(build, tmp_path / "same.so")
        loaded.append(load(path))
        fresh.append(build.model()(image).tobytes())
        assert loaded[-1](image).tobytes() == fresh[-1]
    assert len(set(fresh)) == 3
    assert [model(image).tobytes() for model in loaded] == fresh, "the earlier ones stay what they were"


def test_closed_library_leaves_its_threads_their_code(module, image) -> None:
    script = (
        "import ctypes, _ctypes, time, numpy as np\n"
        f"library = ctypes.CDLL({str(module)!r})\n"
        "library.small_model_get.restype = ctypes.c_void_p\n"
        "library.small_arena_bytes.restype = ctypes.c_size_t\n"
        "buffers = [np.zeros((1, 3, 17, 19), 'float32'), np.zeros(10, 'float32'),\n"
        "           np.zeros(library.small_arena_bytes() + 64, 'uint8')]\n"
        "buffers[2] = buffers[2][-buffers[2].ctypes.data % 64:]\n"
        "pointers = [ctypes.c_void_p(b.ctypes.data) for b in buffers]\n"
        "model = ctypes.c_void_p(library.small_model_get())\n"
        "assert [library.small_run(model, 1, *pointers) for _ in range(50)] == [0] * 50\n"
        "_ctypes.dlclose(library._handle)\n"
        "time.sleep(0.1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_any_name_makes_a_header_that_compiles(tmp_path) -> None:
    """Names of the network that C keeps for itself, that the header uses, that agree, or that are no ASCII."""
    names = ["int", "model", "arena", "output", "a.b", "a_b", "A_b"]
    inputs = "".join(f"{name}: input 2x4x4\n" for name in names)
    net = f'net "réseau 1"\n{inputs}add {{ {" | ".join(f"from {name}" for name in names)} }}\n'
    write_shared(api.build(weights.bind(lang.parse(net)), Options(threads=1)), tmp_path / "x.so")
    (tmp_path / "use.c").write_text('#include "x.h"\nint main(void) { return r_seau_1_arena_bytes() == 0; }\n')
    for language in ("c", "c++"):
        command = [shutil.which("cc") or "gcc", "-x", language, "-Werror", "-Wall", "use.c", "-x", "none", "./x.so"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("net t\ninput 3x40000x40000\nconv 1x1 64\n", "input: the result would be 3x40000x40000"),
        ("net t\ninput 3x10000x10000\nconv 1x1 64\n", "conv: the result would be 64x10000x10000"),
        ("net t\ninput 30000\nfc 100000\n", r"fc needs an array of \d+ numbers, more than 2147483647"),
    ],
)
def test_arrays_beyond_32_bit_indices_are_refused(net, message) -> None:
    """Values by the language already, weights when they are laid out."""
    with pytest.raises(CnnccError, match=message):
        api.build(weights.bind(lang.parse(net)))


def test_loads_without_tvm(module) -> None:
    """A fresh interpreter loads and runs the module with neither TVM nor llvmlite, lark or networkx."""
    script = (
        "import sys, numpy, cnncc\n"
        f"model = cnncc.load({str(module)!r})\n"
        "print(model(numpy.zeros((1, 3, 17, 19), 'float32')).sum())\n"
        "assert not {'tvm', 'llvmlite', 'lark', 'networkx'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert abs(float(done.stdout) - 1) < 1e-5


def test_same_bits_for_every_thread_count(module, image) -> None:
    model = load(module)
    results = set()
    for threads in (1, 2):
        assert model.set_threads(threads) == threads
        results |= {model(image).tobytes() for _ in range(20)}
    assert len(results) == 1
    assert model.set_threads(99) == 2
    assert model.set_threads(-3) == 1


def test_threads_share_one_model(module) -> None:
    model = load(module)
    rng = np.random.default_rng(1)
    images = [rng.standard_normal((1, 3, 17, 19)).astype(np.float32) for _ in range(8)]
    alone = [model(i).tobytes() for i in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            assert [r.tobytes() for r in pool.map(model, images)] == alone


def test_works_after_fork(module, image) -> None:
    model = load(module)
    wanted = model(image).tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if model(image).tobytes() == wanted else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("flags", [["-std=c99", "-Wall", "-Werror", "-pedantic"], ["-x", "c++", "-Wall", "-Werror"]])
def test_c_program(module, tmp_path, flags) -> None:
    """A caller in C (or C++) with its own arena; wrong pointers get error codes with a text."""
    (tmp_path / "use.c").write_text(
        '#include "small.h"\n#include <stdio.h>\n#include <string.h>\n'
        "static float in[SMALL_INPUT_FLOATS], out[SMALL_OUTPUT_FLOATS];\n"
        "static char room[SMALL_ARENA_BYTES + 2 * SMALL_ARENA_ALIGN];\n"
        "int main(void) {\n"
        "  char *arena = room + (SMALL_ARENA_ALIGN - (size_t)room % SMALL_ARENA_ALIGN);\n"
        "  float sum = 0; int i;\n"
        "  if (small_run(0, 1, in, out, arena) != 1) return 1;\n"
        "  if (small_run(small_model_get(), 1, in, out, arena + 4) != 2) return 1;\n"
        '  if (small_run(small_model_get(), 1, in, out, 0) != 1 || !strstr(small_error(1), "null")) return 2;\n'
        "  if (small_run(small_model_get(), 1, in, out, arena) || small_arena_bytes() != SMALL_ARENA_BYTES) return 3;\n"
        "  for (i = 0; i < SMALL_OUTPUT_FLOATS; ++i) sum += out[i];\n"
        '  printf("%.4f %s\\n", sum, small_info());\n'
        "  return 0;\n}\n"
    )
    compiler = shutil.which("cc") or "gcc"
    command = [compiler, *flags, "use.c", "-I", module.parent, "-x", "none", module, "-o", "use"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ran = subprocess.run([tmp_path / "use"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    total, info = ran.stdout.split(" ", 1)
    assert total == "1.0000"
    assert json.loads(info) == read_info(module)


def test_info(module, build) -> None:
    info = read_info(module)
    assert info["name"] == "small"
    assert info["inputs"][0]["shape"] == [1, 3, 17, 19]
    assert info["memory"]["arena_bytes"] == build.arena.total_bytes
    assert {k["node"] for k in info["kernels"]} >= {"stem.relu"}
    assert all(re.match(r"[a-z0-9_]+$", k["kernel"]) for k in info["kernels"])


def test_target_without_the_features_is_refused(tmp_path, monkeypatch, module) -> None:
    from cnncc.runtime import cpu

    monkeypatch.setattr(cpu, "features", lambda: frozenset({"sse4.2"}))
    with pytest.raises(CnnccError, match=r"compiled for host; this processor lacks .*avx2"):
        load(module)
    with pytest.raises(CnnccError, match=r"target x86-64-v3: this processor lacks avx, avx2, bmi"):
        cnncc.compile(NET, target="x86-64-v3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello", "not a module compiled by cnncc"),
        (b"\x7fELF\x02\x01" + bytes(10), "damaged or truncated"),
    ],
)
def test_not_a_module(tmp_path, content, message) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(content)
    with pytest.raises(CnnccError, match=message):
        load(path)
    with pytest.raises(CnnccError, match="no such file"):
        load(tmp_path / "missing.so")


def test_truncated_module(tmp_path, module) -> None:
    """Every cut of a module is refused with an error, never a crash."""
    data = module.read_bytes()
    for keep in (10, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.so").write_bytes(data[:keep])
        with pytest.raises(CnnccError, match=r"damaged|not a module"):
            load(tmp_path / "cut.so")


def test_wrong_arrays_are_refused(build) -> None:
    model = build.model()
    good = np.zeros((1, 3, 17, 19), np.float32)
    with pytest.raises(InputError, match=r"takes 1 array .*got 2"):
        model(good, good)
    with pytest.raises(InputError, match="must be a NumPy array or an object with __dlpack__, got list"):
        model([1.0])
    with pytest.raises(InputError, match="must be float32, got float64"):
        model(good.astype(np.float64))
    with pytest.raises(InputError, match="must be 1x3x17x19, got 1x3x19x17"):
        model(good.transpose(0, 1, 3, 2))
    with pytest.raises(InputError, match="a call of small takes 1 image, got 2"):
        model(np.concatenate([good, good]))


def test_non_contiguous_arrays(build, image) -> None:
    model = build.model()
    stored = np.ascontiguousarray(image.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not stored.flags.c_contiguous
    assert model(stored).tobytes() == model(image).tobytes()


def test_unwritable_output(build, tmp_path) -> None:
    with pytest.raises(CnnccError, match="does not exist"):
        write_shared(build, tmp_path / "no" / "x.so")
    with pytest.raises(CnnccError, match="is a folder"):
        write_shared(build, tmp_path)


def test_failed_link_leaves_the_old_file(build, tmp_path, monkeypatch) -> None:
    out = tmp_path / "x.so"
    out.write_bytes(b"old")
    monkeypatch.setenv("CC", "false")
    with pytest.raises(CnnccError, match="the C compiler failed"):
        write_shared(build, out)
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with pytest.raises(CnnccError, match="cannot run the C compiler"):
        write_shared(build, out)
    assert out.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.so"]


def test_same_source_same_bytes(tmp_path) -> None:
    files = [tmp_path / "a.so", tmp_path / "b.so"]
    for file in files:
        write_shared(api.build(weights.bind(lang.parse(NET)), Options(threads=2)), file)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(("threads", "message"), [(0, "at least 1, got 0"), (257, "at most 256, got 257")])
def test_number_of_threads(threads: int, message: str) -> None:
    with pytest.raises(CnnccError, match=message):
        api.build(weights.bind(lang.parse("net t\ninput 1x2x2\nrelu\n")), Options(threads=threads))
