"""`python -m ckptstore.cli`."""

import sys

from ckptstore.cli import main

sys.exit(main())
