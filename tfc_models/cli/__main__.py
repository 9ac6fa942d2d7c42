"""Entry point of `python -m tfc_models.cli`."""

import sys

from tfc_models.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
