"""``python -m tfbs_shift COMMAND --flag=value ...``: the same as ``tfbs-shift``."""

import sys

from tfbs_shift.commands import main

if __name__ == "__main__":
    sys.exit(main())
