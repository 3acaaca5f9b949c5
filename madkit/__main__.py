"""`python -m madkit` is the `madkit` command."""

import sys

from madkit.cli import main

sys.exit(main())
