"""`python -m moca_core`: the `moca` command."""

import sys

from moca_core.cli import main

sys.exit(main())
