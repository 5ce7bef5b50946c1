"""Asks a server of a module for results, measures how long they take, and holds every one to a direct call:

    python examples/serve/load.py lenet5.so http://127.0.0.1:8000/predict --concurrency 8
    python examples/serve/load.py lenet5.so http://127.0.0.1:8000/predict --rate 200 --json

With `--concurrency` so many clients ask, each again as soon as it has its answer. With `--rate` questions come at
random moments, so many a second on average, whether or not earlier ones are answered; times count from the moment a
question was due. It exits with 1 if an answer differs in a bit from that of a direct call, or if none came.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from itertools import cycle

import aiohttp
import numpy as np

import cnncc
from cnncc import CnnccError

DIFFERENT = 16
"""Images of a test, asked for in turn."""
WARM_UP = 0.5
"""Seconds before times count."""


@dataclass(frozen=True)
class Case:
    """An image as the body of a question, and the body of the right answer."""

    body: bytes
    answer: bytes


@dataclass(frozen=True)
class Reply:
    """What came back for one question."""

    seconds: float
    what: str
    """`right`, `wrong`, `refused` (503) or `failed`."""


@dataclass(frozen=True)
class Load:
    """How questions come: from so many clients in turn, or, with a rate, so many a second."""

    concurrency: int = 1
    rate: float = 0.0
    seconds: float = 5.0


@dataclass(frozen=True)
class Report:
    """The figures of one run. Milliseconds are of the right answers, and None if there were none."""

    right: int
    wrong: int
    refused: int
    failed: int
    per_second: float
    """Right answers a second."""
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None


def make_cases(module: str, seed: int = 0) -> list[Case]:
    """Random images, and what the module says of each in a direct call."""
    model = cnncc.load(module, threads=1)
    rng, port = np.random.default_rng(seed), model.inputs[0]
    shape = (DIFFERENT, *port.shape[1:])
    numbers = rng.random(shape) if port.numpy.kind == "f" else rng.integers(0, 128, shape)
    images = numbers.astype(port.numpy)
    return [Case(i.tobytes(), a.tobytes()) for i, a in zip(images, model.run_many(images), strict=True)]


class Client:
    """Asks one server, and remembers the replies. aiohttp's client takes a fraction of the time that others take, and
    here it runs on the processor of the server."""

    def __init__(self, http: aiohttp.ClientSession, url: str, cases: Sequence[Case]) -> None:
        self._http, self._url = http, url
        self._cases: Iterator[Case] = cycle(cases)
        self.replies: list[Reply] = []

    async def ask(self, due: float) -> None:
        """Asks for the next image. `due` is when the question should have been asked."""
        case = next(self._cases)
        try:
            async with self._http.post(self._url, data=case.body) as response:
                what = judged(response.status, await response.read(), case)
        except (aiohttp.ClientError, TimeoutError):
            what = "failed"
        self.replies.append(Reply(time.perf_counter() - due, what))

    async def ask_again_and_again(self, end: float) -> None:
        """One client of several."""
        while (now := time.perf_counter()) < end:
            await self.ask(now)

    async def ask_at_random(self, rate: float, end: float) -> None:
        """Questions at random moments, `rate` a second on average."""
        rng, due = np.random.default_rng(1), time.perf_counter()
        async with asyncio.TaskGroup() as questions:
            while (due := due + rng.exponential(1 / rate)) < end:
                await asyncio.sleep(due - time.perf_counter())
                questions.create_task(self.ask(due))


def judged(status: int, body: bytes, case: Case) -> str:
    """What a response with this status and body is."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "refused"
    if status != HTTPStatus.OK:
        return "failed"
    return "right" if body == case.answer else "wrong"


async def run(url: str, cases: Sequence[Case], load: Load) -> Report:
    """Asks for `load.seconds`, after a warm-up."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        client = Client(http, url, cases)
        await _ask(client, load, WARM_UP)
        client.replies.clear()
        start = time.perf_counter()
        await _ask(client, load, load.seconds)
        return report(client.replies, time.perf_counter() - start)


async def _ask(client: Client, load: Load, seconds: float) -> None:
    end = time.perf_counter() + seconds
    if load.rate:
        await client.ask_at_random(load.rate, end)
    else:
        await asyncio.gather(*(client.ask_again_and_again(end) for _ in range(load.concurrency)))


def report(replies: Sequence[Reply], seconds: float) -> Report:
    """The figures of replies that came in so many seconds."""
    count = Counter(reply.what for reply in replies)
    times = [1e3 * reply.seconds for reply in replies if reply.what == "right"]
    p50, p90, p99 = np.percentile(times, (50, 90, 99)).tolist() if times else (None, None, None)
    kinds = {what: count[what] for what in ("right", "wrong", "refused", "failed")}
    return Report(**kinds, per_second=count["right"] / seconds, p50_ms=p50, p90_ms=p90, p99_ms=p99)


HEAD = f"{'right':>7} {'wrong':>6} {'refused':>8} {'failed':>7} {'/s':>8} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8}"


def line(r: Report) -> str:
    """One line of the table."""
    counts = f"{r.right:>7} {r.wrong:>6} {r.refused:>8} {r.failed:>7}"
    times = " ".join(f"{'-' if ms is None else f'{ms:.2f}':>8}" for ms in (r.p50_ms, r.p90_ms, r.p99_ms))
    return f"{counts} {r.per_second:>8.1f} {times}"


def main() -> int:
    parser = argparse.ArgumentParser(description="asks a server of a module, measures and checks the answers")
    parser.add_argument("module", help="the module that the server runs, for the direct calls")
    parser.add_argument("url", help="where to POST the bytes of an image")
    parser.add_argument("--concurrency", type=int, default=8, help="clients that ask at the same time")
    parser.add_argument("--rate", type=float, default=0.0, help="questions a second, instead of --concurrency")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    load = Load(given.concurrency, given.rate, given.seconds)
    found = asyncio.run(run(given.url, make_cases(given.module), load))
    print(json.dumps(asdict(found)) if given.json else f"{HEAD}\n{line(found)}")
    return int(found.wrong > 0 or found.right == 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CnnccError as error:
        sys.exit(str(error))
