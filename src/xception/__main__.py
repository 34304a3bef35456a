"""``python -m xception`` is the command ``xception``."""

import sys

from xception.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
