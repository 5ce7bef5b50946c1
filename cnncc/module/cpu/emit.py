"""Machine code of a program: objects from the cache, or kernels through TVM and the glue through llvmlite."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, current_process, get_context
from multiprocessing.process import BaseProcess
from threading import Timer

from cnncc.base.errors import CnnccError, warn
from cnncc.kernels.shared.spec import Kernel
from cnncc.machines.targets import Target, available_cores
from cnncc.module import cache
from cnncc.module.keys import glue_key, kernel_key
from cnncc.module.listener import Progress

_WORTH_A_WORKER = 4
"""Missing kernels from which starting worker processes pays."""

SLOW_SECONDS = 20.0
"""Time after which a kernel that is still being compiled is reported."""

Layers = Mapping[Kernel, tuple[str, ...]]
"""The nodes that a kernel is for, and what they do."""


def kernel_objects(
    kernels: tuple[Kernel, ...], target: Target, progress: Progress | None = None, layers: Layers | None = None
) -> list[bytes]:
    """The object file of every kernel, compiled only where the cache has none, on all cores. One that takes long is
    reported by the names in `layers`."""
    keys = {k: kernel_key(k, target) for k in kernels}
    found = {kernel: body for kernel, key in keys.items() if (body := cache.read(key)) is not None}
    missing = [k for k in kernels if k not in found]
    names = layers or {}

    def start(kernel: Kernel) -> Timer:
        if progress is not None:
            current = names.get(kernel, (kernel.name,))[0]
            progress(f"compiling kernels, {current}", sum(k in found for k in missing), len(missing))
        return _watch(kernel, names)

    for kernel, body in _compiled(missing, target, start):
        found[kernel] = body
        cache.write(keys[kernel], body)
    return [found[k] for k in kernels]


Start = Callable[[Kernel], Timer]
"""Tells that a kernel is being compiled from now on, and returns what is to be cancelled when it is done."""


def _compiled(kernels: list[Kernel], target: Target, start: Start) -> Iterator[tuple[Kernel, bytes]]:
    if not kernels:
        return
    from cnncc.module.cpu.objects import compile_kernel  # loads TVM: only where something must be compiled

    # A daemonic process, such as a worker of somebody's multiprocessing.Pool, may have no children.
    workers = 1 if current_process().daemon else min(available_cores(), len(kernels) // _WORTH_A_WORKER)
    if workers < 2:
        for kernel in kernels:
            timer = start(kernel)
            try:
                body = compile_kernel(kernel, target)
            finally:
                timer.cancel()
            yield kernel, body
        return
    # Forked workers have TVM loaded already; nothing else of this process is used there.
    others = set(active_children())
    with ProcessPoolExecutor(workers, get_context("fork"), initializer=_die_with, initargs=(os.getpid(),)) as pool:
        try:
            yield from _shared_out(lambda k: pool.submit(compile_kernel, k, target), kernels, workers, start)
        except BrokenProcessPool as error:
            hint = "most likely memory ran out; what is compiled is kept, so the next attempt has less to do"
            raise CnnccError("a process that compiled kernels was killed", hint=hint) from error
        except BaseException:  # nobody wants the rest: leaving the block would wait for it
            _kill(active_children(), others)
            raise


def _kill(children: Iterable[BaseProcess], spared: Set[BaseProcess]) -> None:
    for child in children:
        if child not in spared:
            child.kill()


def _shared_out(
    submit: Callable[[Kernel], Future[bytes]], kernels: list[Kernel], workers: int, start: Start
) -> Iterator[tuple[Kernel, bytes]]:
    """Each kernel and its object as it is done. No more are submitted than there are workers, so that each is being
    worked on from then on."""
    waiting, running = list(reversed(kernels)), dict[Future[bytes], tuple[Kernel, Timer]]()
    while waiting or running:
        while waiting and len(running) < workers:
            kernel = waiting.pop()
            running[submit(kernel)] = kernel, start(kernel)
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            kernel, timer = running.pop(future)
            timer.cancel()
            yield kernel, future.result()


def _watch(kernel: Kernel, layers: Layers) -> Timer:
    """Tells of a kernel if it is not done in time. To be cancelled when it is."""
    timer = Timer(SLOW_SECONDS, _tell_slow, [kernel, layers.get(kernel, ())])
    timer.daemon = True
    timer.start()
    return timer


def _tell_slow(kernel: Kernel, names: tuple[str, ...]) -> None:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    layer = f"layer {names[0]}{more}: " if names else ""
    hint = "once compiled it is kept for next time; Ctrl-C gives up, and keeps what is done"
    warn(f"{layer}compiling {kernel.name} takes more than {SLOW_SECONDS:.0f} s", hint=hint)


def _die_with(parent: int) -> None:
    """Makes a worker end when the compiler does, however that ends: otherwise it would wait for work for ever. An
    interrupt from the keyboard goes to all of them, and is the compiler's to follow."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def glue_object(text: str, target: Target) -> bytes:
    """The glue as an object file, assembled only where the cache has none."""

    def make() -> bytes:
        from cnncc.module.cpu.assemble import assembled  # loads LLVM: only where something must be assembled

        return assembled(text, target)

    return cache.fetch(glue_key(text, target), make)
