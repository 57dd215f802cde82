"""For `ray job submit`: `python jobs/build.py …` is the same as `imageref build …`."""

import sys

from imageref_ray.commands.cli import main

if __name__ == "__main__":
    sys.exit(main(["build", *sys.argv[1:]]))
