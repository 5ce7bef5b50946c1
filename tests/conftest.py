"""Settings of hypothesis for all tests.

`make test` tries the same examples each time, so that a failure is of the change at hand. `make test-all` tries new
ones: HYPOTHESIS_PROFILE=new.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("new", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
