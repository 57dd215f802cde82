"""For `ray job submit`: `python jobs/train.py …` is the same as `imageref train …`."""

import sys

from imageref_ray.commands.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
