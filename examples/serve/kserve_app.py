"""A module as a model of KServe. Settings come from the environment, see service.py; the rest are KServe's own:

CNNCC_MODULE=lenet5.so python examples/serve/kserve_app.py --http_port 8080 --enable_grpc false
"""

from __future__ import annotations

import os

import kserve

from cnncc.contrib.kserve import CnnccKServeModel

if __name__ == "__main__":
    model = CnnccKServeModel(
        "classifier",
        os.environ["CNNCC_MODULE"],
        threads=int(os.environ.get("CNNCC_THREADS", "1")),
        max_delay_ms=float(os.environ.get("CNNCC_MAX_DELAY_MS", "0")),
        workers=int(os.environ.get("CNNCC_WORKERS", "1")),
    )
    kserve.ModelServer().start([model])
