"""Writes the request of the example in docs/guides/serve.md: a test event's articles (request.json) and its pictures.

python docs/example/make.py
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from imageref_ray.picturenews import corpus
from imageref_ray.picturenews.events import make_event

HERE = Path(__file__).parent


def main() -> None:
    """Pictures are named after their article and number, as the request names them."""
    event = make_event(corpus.SEEDS["test"], 0)
    documents = []
    with TemporaryDirectory() as folder:
        corpus.write_images(Path(folder), [event])
        sample = corpus.sample(event, Path(folder))
        for number, document in enumerate(sample.documents, start=1):
            names = [f"{number}-{Path(image.uri).name}" for image in document.images]
            for image, name in zip(document.images, names, strict=True):
                shutil.copyfile(image.uri, HERE / name)
            documents.append({"id": document.id, "title": document.title, "text": document.text, "images": names})
    request = {"question": sample.instruction, "documents": documents}
    (HERE / "request.json").write_text(json.dumps(request, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
