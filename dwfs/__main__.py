"""`python -m dwfs`."""

import sys

from dwfs.cli import main

sys.exit(main())
