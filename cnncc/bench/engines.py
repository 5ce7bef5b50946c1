"""How each competitor makes a network ready: settings that are fair to it; 32-bit floats throughout, unless the job is
one on bytes or in bfloat16.

Each function here and in `torch_engines` runs in a process of its own, so what it imports disturbs nobody. Whatever a
competitor raises ends that process, which is reported with the text.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.bench.engine import Engine
from cnncc.bench.job import Job
from cnncc.bench.torch_engines import executorch, torch, torch_compile
from cnncc.options import DEFAULT

CONVERSION = 300
"""Seconds that a converter may take."""


def cnncc(job: Job) -> Engine:
    """cnncc, compiled into this process."""
    return _compiled(job, job.net, job.weights, job.options.dtype)


def float32(job: Job) -> Engine:
    """cnncc on the network in float32."""
    return _compiled(job, *job.exact, DEFAULT.dtype)


def _compiled(job: Job, net: Path, weights: Path, dtype: str) -> Engine:
    import cnncc

    model = cnncc.compile(
        net,
        target=job.options.targets,
        weights=weights,
        dtype=dtype,
        batch=job.options.batch,
        threads=job.threads,
        max_error=job.options.max_error,
    )

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        result = model(*arrays)
        return list(result) if isinstance(result, tuple) else [result]

    return Engine(f"cnncc {cnncc.__version__}", run)


def onnxruntime(job: Job) -> Engine:
    """ONNX Runtime with all its graph optimisations."""
    return _onnxruntime(job, "ORT_ENABLE_ALL")


def literal(job: Job) -> Engine:
    """ONNX Runtime with none of them."""
    return _onnxruntime(job, "ORT_DISABLE_ALL")


def _onnxruntime(job: Job, level: str) -> Engine:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(str(job.onnx), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(session.run(None, dict(zip(names, arrays, strict=True))))

    return Engine(f"ONNX Runtime {onnxruntime.__version__}", run)


def openvino(job: Job) -> Engine:
    """OpenVINO for latency. It would compute in bfloat16 where the processor can, so what is wanted is asked for."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": job.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if job.options.dtype == "bfloat16" else "f32",
    }
    request = openvino.Core().compile_model(str(job.onnx), "CPU", settings).create_infer_request()

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(request.infer(dict(enumerate(arrays)), share_inputs=True).values())

    return Engine(f"OpenVINO {version('openvino')}", run)


def mnn(job: Job) -> Engine:
    """MNN at high precision, which is float32, on the network as its own converter writes it."""
    converted = job.folder / "net.mnn"
    _mnn_convert(job.onnx, converted)
    from MNN import expr, nn

    settings = {"backend": "CPU", "numThread": job.threads, "precision": "high"}
    runtime = nn.create_runtime_manager((settings,))
    module = nn.load_module_from_file(str(converted), *job.ports, runtime_manager=runtime, shape_mutable=False)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        results = module.onForward([expr.const(array, list(array.shape), expr.NCHW) for array in arrays])
        return [np.array(expr.convert(result, expr.NCHW).read()) for result in results]

    return Engine(f"MNN {version('MNN')}", run)


def _mnn_convert(model: Path, converted: Path) -> None:
    """What the command `mnnconvert` calls. Not the command: importing it installs a package by pip into whatever
    Python is first on the PATH, and then sends the machine's id to a log server."""
    what = ["-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(converted), "--bizCode", "x"]
    import_module("_tools").mnnconvert(["mnnconvert", *what])
    if not converted.exists():
        raise CnnccError("its converter wrote no model")


def ncnn(job: Job) -> Engine:
    """ncnn without 16-bit floats, on the network as pnnx writes it."""
    param, weights = _pnnx(job)
    import ncnn

    refuse_unknown_layers(param, ncnn.layer_to_index)
    net = ncnn.Net()
    net.opt.num_threads = job.threads
    net.opt.use_vulkan_compute = False
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise CnnccError("it cannot load what pnnx wrote")

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        extractor = net.create_extractor()
        for index, array in enumerate(arrays):
            extractor.input(f"in{index}", ncnn.Mat(array, batch_index=0))
        return [_extract(extractor, f"out{index}") for index in range(len(job.output_shapes))]

    return Engine(f"ncnn {version('ncnn')}", run)


def _extract(extractor: object, name: str) -> np.ndarray:
    code, mat = extractor.extract(name)  # type: ignore[attr-defined]
    if code:
        raise CnnccError(f"its run failed with code {code}")
    return np.array(mat.numpy(batch_index=0))


def _pnnx(job: Job) -> tuple[Path, Path]:
    """Converts for ncnn. The package's binary alone: importing the package needs PyTorch."""
    spec = find_spec("pnnx")
    assert spec is not None
    assert spec.submodule_search_locations
    shapes = ",".join(f"[{','.join(map(str, shape))}]" for shape in job.input_shapes)
    binary = Path(spec.submodule_search_locations[0], "pnnx")
    command = [str(binary), job.onnx.name, f"inputshape={shapes}", "fp16=0"]
    done = subprocess.run(command, cwd=job.folder, timeout=CONVERSION, check=False)
    param, weights = job.folder / "net.ncnn.param", job.folder / "net.ncnn.bin"
    if done.returncode or not (param.exists() and weights.exists()):
        raise CnnccError(f"its converter pnnx failed with code {done.returncode}")
    return param, weights


def refuse_unknown_layers(param: Path, index_of: Callable[[str], int]) -> None:
    """CnnccError if the converter left layers that ncnn lacks: it would load them all the same and then crash."""
    kinds = {line.split()[0] for line in param.read_text().splitlines()[2:] if line.strip()}
    unknown = sorted(kind for kind in kinds if index_of(kind) < 0)
    if unknown:
        raise CnnccError(f"its conversion by pnnx has layers that ncnn lacks: {', '.join(unknown)}")


ENGINES: Mapping[str, Callable[[Job], Engine]] = {
    "cnncc": cnncc,
    "float32": float32,
    "literal": literal,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "mnn": mnn,
    "ncnn": ncnn,
    "torch": torch,
    "torch_compile": torch_compile,
    "executorch": executorch,
}
