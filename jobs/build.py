"""What `ray job submit` runs: `python jobs/build.py …` is `imageref build …`."""

import sys

from imageref_ray.commands.cli import main

if __name__ == "__main__":
    sys.exit(main(["build", *sys.argv[1:]]))
