"""`python -m madkit` is the `madkit` command."""

import sys

from madkit.cli.command import main

sys.exit(main())
