"""`python -m agent` is the command `decode-agent`."""

import sys

from agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
