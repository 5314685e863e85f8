"""``python -m mock_api``."""

import sys

from mock_api.cli import main

if __name__ == "__main__":
    sys.exit(main())
