"""``python -m trip_core``: see ``cli``."""

import sys

if __name__ == "__main__":
    try:
        from .cli import main

        code = main()
    except KeyboardInterrupt:  # before the command line heard of it, or once more after
        sys.stderr.write("interrupted\n")
        code = 130
    sys.exit(code)
