"""For `ray job submit`: `python jobs/instruct.py …` is the same as `imageref instruct …`."""

import sys

from imageref_ray.commands.cli import main

if __name__ == "__main__":
    sys.exit(main(["instruct", *sys.argv[1:]]))
