"""The command `dreambooth`, also as `python -m dreambooth`."""

import sys

from dreambooth import __version__, cli


def main() -> int:
    """Run the command line; returns the exit status."""
    return cli.main(sys.argv[1:], __version__)


if __name__ == "__main__":
    sys.exit(main())
