"""The command `cnncc`, also as `python -m cnncc`. What it needs is imported where an interrupt is told in a line."""

from __future__ import annotations

import atexit
import gc
import sys

EXIT_INTERRUPTED = 130


def main() -> int:
    """Run the command line; returns the exit code."""
    atexit.register(gc.freeze)  # else Python looks through all objects once more before it ends: 0.3 s after a compile
    try:
        from cnncc.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("cnncc: interrupted", file=sys.stderr)
        exec("")  # see cnncc.cli.interrupt.tell, which may not have been imported yet
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
