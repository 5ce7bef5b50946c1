"""Compiles a network, serves it in several ways, and measures each with load.py: `make bench-serve`.

    python examples/serve/measure.py lenet5 --concurrency 1 16

The table is Markdown. Every answer is held to a direct call; it exits with 1 if one is wrong, or none comes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import load

import cnncc
from cnncc import CnnccError

HERE = Path(__file__).resolve().parent
PATIENCE = 90.0
"""Seconds that a server may take to start."""
BATCH = 8


@dataclass(frozen=True)
class Way:
    """One way to serve a network."""

    name: str
    program: str
    """`fastapi` or `ray`."""
    batch: int
    """Of the module."""
    settings: Mapping[str, str]
    processes: int = 1


WAYS = (
    Way("FastAPI, one by one, 2 workers", "fastapi", 1, {"CNNCC_WORKERS": "2"}),
    Way("FastAPI, one by one, 2 processes", "fastapi", 1, {}, processes=2),
    Way("FastAPI, batches, 2 threads", "fastapi", BATCH, {"CNNCC_THREADS": "2"}),
    Way("FastAPI, batches, 2 threads, 2 ms", "fastapi", BATCH, {"CNNCC_THREADS": "2", "CNNCC_MAX_DELAY_MS": "2"}),
    Way("FastAPI, batches, 2 workers", "fastapi", BATCH, {"CNNCC_WORKERS": "2"}),
    Way("Ray Serve, batches, 2 threads", "ray", BATCH, {"CNNCC_THREADS": "2"}),
)


def command(way: Way, port: int) -> tuple[list[str], str]:
    """What starts the server, and the address that answers when it is up."""
    address = f"http://127.0.0.1:{port}"
    if way.program == "ray":
        ray = [sys.executable, str(HERE / "ray_app.py"), "--port", str(port), "--replicas", str(way.processes)]
        return ray, f"{address}/"
    uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "fastapi_app:app", "--log-level", "warning"]
    return [*uvicorn, "--port", str(port), "--workers", str(way.processes)], f"{address}/health"


@contextmanager
def served(way: Way, module: Path) -> Iterator[str]:
    """Runs a server; gives the address to ask. SystemExit with its words if it does not come up."""
    port = free_port()
    words, health = command(way, port)
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **way.settings, "CNNCC_MODULE": str(module)}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            if not is_up(process, health):
                log.seek(0)
                raise SystemExit(f"{' '.join(words)} did not come up:\n{log.read()}")
            yield f"http://127.0.0.1:{port}/predict"
        finally:
            stop(process)


def is_up(process: subprocess.Popen[bytes], health: str) -> bool:
    """Waits until the server answers; False if it ends, or takes too long."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(health, timeout=PATIENCE):
                return True
        except OSError:  # not yet
            time.sleep(0.1)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def compile_modules(net: str, folder: Path) -> dict[int, Path]:
    """The network for each batch that a way asks for."""
    modules = {}
    for batch in sorted({way.batch for way in WAYS}):
        modules[batch] = folder / f"batch{batch}.so"
        cnncc.compile(net, batch=batch, threads=2, seed=0).save(modules[batch])
    return modules


def row(way: Way, concurrency: int, r: load.Report) -> str:
    times = " | ".join("-" if ms is None else f"{ms:.1f}" for ms in (r.p50_ms, r.p90_ms, r.p99_ms))
    return f"| {way.name} | {concurrency} | {r.per_second:.0f} | {times} | {r.wrong} | {r.refused + r.failed} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="measures several ways to serve a network")
    parser.add_argument("net", nargs="?", default="lenet5")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", default="", help="ways whose name contains this")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cnncc-serve-") as folder:
        modules = compile_modules(given.net, Path(folder))
        return measure([way for way in WAYS if given.only in way.name], modules, given.concurrency, given.seconds)


def measure(ways: Sequence[Way], modules: Mapping[int, Path], concurrencies: Sequence[int], seconds: float) -> int:
    """Prints the table. 1 if an answer was wrong, or none came."""
    print("| server | clients | /s | p50 ms | p90 ms | p99 ms | wrong | refused, failed |\n|" + "---|" * 8)
    failed = False
    for way in ways:
        cases = load.make_cases(str(modules[way.batch]))
        with served(way, modules[way.batch]) as url:
            for concurrency in concurrencies:
                found = asyncio.run(load.run(url, cases, load.Load(concurrency, seconds=seconds)))
                print(row(way, concurrency, found), flush=True)
                failed = failed or bool(found.wrong) or not found.right
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CnnccError as error:
        sys.exit(str(error))
