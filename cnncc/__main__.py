"""`python -m cnncc` is the command `cnncc`."""

import sys

from cnncc.cli import main

sys.exit(main())
