"""Weights in a file of their own: mapped, compared with the hash, refused in every way they can be wrong."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from module.c_programs import NET, SETUP, build, compile_and_run, run, write

import cnncc
from cnncc.base.errors import CnnccError
from cnncc.module import toolchain

HEADER = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The network with its weights beside it, and once more with them inside."""
    place = tmp_path_factory.mktemp("external")
    built = build()
    write(built, place, "so", "h", "hpp", "weights")
    write(built, place, "so", name="inside")
    return place


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, 3, 17, 19)).astype(np.float32)


def altered(data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


DAMAGED = {
    "weights_truncated": (10, lambda d: d[:-1]),
    "too_long": (10, lambda d: d + b"x"),
    "half_a_header": (10, lambda d: d[:40]),
    "empty": (10, lambda d: b""),
    "altered": (11, altered),
    "last_byte": (11, lambda d: d[:-1] + bytes([d[-1] ^ 128])),
    "other_magic": (9, lambda d: b"x" + d[1:]),
    "other_hash": (9, lambda d: d[:40] + b"\0" + d[41:]),
    "other_size": (9, lambda d: d[:16] + b"\0" + d[17:]),
}


def test_the_module_is_the_code_alone(folder, image):
    inside, outside = folder / "inside.so", folder / "small.so"
    packed = (folder / "small.weights").read_bytes()
    info = cnncc.load(outside).info
    assert info["weights"] == {
        "bytes": len(packed) - HEADER,
        "blake2b": hashlib.blake2b(packed[HEADER:], digest_size=32).hexdigest(),
        "file": "small.weights",
        "from": "",
    }
    saved = inside.stat().st_size - outside.stat().st_size
    assert 0.8 * info["weights"]["bytes"] < saved <= info["weights"]["bytes"] + 4096
    assert cnncc.load(outside)(image).tobytes() == cnncc.load(inside)(image).tobytes()


def test_the_file_may_be_elsewhere(folder, image, tmp_path):
    other = tmp_path / "other.name"
    other.write_bytes((folder / "small.weights").read_bytes())
    assert cnncc.load(folder / "small.so", weights=other)(image).sum() == pytest.approx(1, abs=1e-5)


def test_a_name_that_leads_out_of_the_folder_is_refused(folder, tmp_path):
    module = tmp_path / "small.so"
    data = (folder / "small.so").read_bytes()
    assert b'"small.weights"' in data
    module.write_bytes(data.replace(b'"small.weights"', b'"../ll.weights"'))
    (tmp_path.parent / "ll.weights").write_bytes((folder / "small.weights").read_bytes())
    with pytest.raises(CnnccError, match=r"small.so: its weights would lie outside its folder, in '../ll.weights'"):
        cnncc.load(module)


def test_the_mapping_is_given_back(folder, image):
    model = cnncc.load(folder / "small.so")
    assert "small.weights" in Path("/proc/self/maps").read_text()
    model(image)
    del model
    assert "small.weights" not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_weights_are_refused_in_python(folder, damage, tmp_path):
    code, change = DAMAGED[damage]
    bad = tmp_path / "bad.weights"
    bad.write_bytes(change((folder / "small.weights").read_bytes()))
    messages = {9: "not a weights file of this module", 10: "not the size they must have", 11: "were altered"}
    with pytest.raises(CnnccError, match=rf"bad\.weights: .*{messages[code]}"):
        cnncc.load(folder / "small.so", weights=bad)


def test_missing_weights_are_refused_in_python(folder, tmp_path):
    with pytest.raises(CnnccError, match=r"none: cannot read the weights: no such file"):
        cnncc.load(folder / "small.so", weights=tmp_path / "none")
    with pytest.raises(CnnccError, match=r"cannot read the weights: it is a folder"):
        cnncc.load(folder / "small.so", weights=tmp_path)


def test_weights_of_another_compilation_are_refused(folder, tmp_path):
    other = write(build(NET.replace("24 bn |", "24 |")), tmp_path, "so", "weights", name="other")
    with pytest.raises(CnnccError, match="not a weights file of this module"):
        cnncc.load(folder / "small.so", weights=other["weights"])


def test_c_opens_closes_and_refuses(folder):
    data = (folder / "small.weights").read_bytes()
    for name, (_, change) in DAMAGED.items():
        (folder / f"{name}.bad").write_bytes(change(data))
    checks = "".join(f'    CHECK(small_open(&model, "{name}.bad") == {code});\n' for name, (code, _) in DAMAGED.items())
    source = (
        SETUP
        + """
#include <errno.h>
int main(void) {
    small_model model, second;
    void *arena = memory(SMALL_ARENA_BYTES);
    fill();
    CHECK(small_open(NULL, "x") == CNNCC_NULL_POINTER && small_open(&model, NULL) == CNNCC_NULL_POINTER);
    CHECK(small_open(&model, "none") == CNNCC_WEIGHTS_UNREADABLE && errno == ENOENT);
    CHECK(small_open(&model, ".") == CNNCC_WEIGHTS_UNREADABLE && errno == EISDIR);
    CHECK(small_open(&model, "/dev/null") == CNNCC_WEIGHTS_UNREADABLE);
"""
        + checks
        + """
    CHECK(small_run(&model, 1, in, out, arena) == CNNCC_NOT_OPEN);
    CHECK(!small_open(&model, "small.weights") && !small_open(&second, "small.weights"));
    CHECK(!small_run(&model, 1, in, out, arena) && !small_run(&second, 1, in, wanted, arena));
    CHECK(!memcmp(out, wanted, sizeof out));
    small_close(&second);
    small_close(&second);
    CHECK(small_run(&second, 1, in, out, arena) == CNNCC_NOT_OPEN);
    CHECK(!small_run(&model, 1, in, out, arena));
    FILE *file = fopen("small.weights", "rb");
    char *bytes = memory(1 << 20);
    const size_t size = fread(bytes, 1, 1 << 20, file);
    CHECK(small_open_memory(&second, bytes + 4, size) == CNNCC_MISALIGNED);
    CHECK(small_open_memory(&second, NULL, size) == CNNCC_NULL_POINTER);
    CHECK(small_open_memory(&second, bytes, size - 1) == CNNCC_WEIGHTS_TRUNCATED);
    CHECK(!small_open_memory(&second, bytes, size));
    CHECK(!small_run(&second, 1, in, out, arena) && !memcmp(out, wanted, sizeof out));
    small_close(&second);
    small_close(&model);
    return 0;
}
"""
    )
    compile_and_run(folder, source, "./small.so")


def test_out_of_memory_is_a_code(folder):
    """With an address space too small for the mapping."""
    source = (
        SETUP
        + """
#include <sys/resource.h>
int main(void) {
    small_model model;
    struct rlimit least = {1, 1};
    CHECK(!setrlimit(RLIMIT_AS, &least));
    const int code = small_open(&model, "small.weights");
    return code == CNNCC_OUT_OF_MEMORY ? 0 : code + 1;
}
"""
    )
    compile_and_run(folder, source, "./small.so")


def test_the_cpp_class_opens_a_file(folder):
    source = """
#include "small.hpp"
#include <cstdio>
int main(int, char **arguments) {
    try {
        cnncc::small_network network(arguments[1]), copy = network;
        const std::vector<float> image(SMALL_INPUT_FLOATS, 0.5f), first = network(image);
        network = cnncc::small_network(arguments[1]);
        std::printf("%d", first == copy(image) && first == network(image));
    } catch (const cnncc::error &error) { std::printf("%d %s", error.code, error.what()); }
}
"""
    assert compile_and_run(folder, source, "./small.so", arguments=("small.weights",)) == "1"
    assert run(folder, "small.so") == "9 small.so: not a weights file of this module"
    assert run(folder, "none").startswith("8 none: the weights file cannot be opened")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 255, 256, 257, 100_003])
def test_the_hash_is_blake2b(tmp_path, size):
    """Against hashlib, at sizes around its blocks."""
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "data").write_bytes(data)
    source = """
#include <stdint.h>
#include <stdio.h>
void cnncc_blake2b(const uint8_t *data, size_t bytes, uint8_t *digest);
static uint8_t data[1 << 17], digest[32];
int main(void) {
    FILE *file = fopen("data", "rb");
    cnncc_blake2b(data, fread(data, 1, sizeof data, file), digest);
    for (int i = 0; i < 32; ++i) printf("%02x", digest[i]);
    return 0;
}
"""
    printed = compile_and_run(tmp_path, source, "-x", "c", os.fspath(toolchain.RUNTIME / "weights.c"))
    assert printed == hashlib.blake2b(data, digest_size=32).hexdigest()
