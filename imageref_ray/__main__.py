"""`python -m imageref_ray …` is `imageref …`."""

import sys

from imageref_ray.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
