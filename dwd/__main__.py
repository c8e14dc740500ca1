"""`python -m dwd`."""

import sys

from dwd.cli import main

sys.exit(main())
