"""Run the command line: ``python -m lmstudio_provider``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
