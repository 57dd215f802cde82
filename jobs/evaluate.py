"""For `ray job submit`: `python jobs/evaluate.py …` is the same as `imageref evaluate …`."""

import sys

from imageref_ray.commands.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
