"""What has to stand beside any measured figure: the machine, the date, the load and the command."""

from __future__ import annotations

import os
import sys
from typing import Any


def moment() -> dict[str, Any]:
    """The machine, the date, the load and the command, as plain data."""
    import shlex
    from datetime import datetime
    from pathlib import Path

    from cnncc.machines import targets

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "machine": {"cpu": models[0] if models else "unknown", "cores": targets.available_cores()},
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "load": os.getloadavg()[0],
        "command": shlex.join(["cnncc", *sys.argv[1:]]),
    }


def show(about: dict[str, Any]) -> None:
    """The same for people."""
    machine = about["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {about['date']}, load before {about['load']:.2f}")
    print(about["command"])
