"""`imageref publish`: a finished build → its data set, with card and images, on the Hugging Face hub.

records ─▶ the images' names in the repository ─▶ the configured files, as a build writes them ─▶ upload
"""

from __future__ import annotations

import dataclasses
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console

from imageref_ray.batch import manifest, store
from imageref_ray.commands.build import DATASET
from imageref_ray.core.config import BuildConfig, ConfigError, check
from imageref_ray.core.durable import writing
from imageref_ray.core.records import Document, Duplicate, Image, Record, from_row
from imageref_ray.dataset import hub
from imageref_ray.dataset.export import export, license_sentence, make_target
from imageref_ray.stages import prompts

IMAGES = "images"
"""The images' folder in the repository."""


def publish(
    run: Path,
    to: str,
    public: bool = False,
    replace: bool = False,
    dry_run: bool = False,
    console: Console | None = None,
) -> None:
    """Upload the data set of a finished build to the repository `to` (`user/name`), private unless `public`.

    Raises ConfigError where the run is no finished build, an image file is missing, and as `hub.connect` and
    `hub.upload`; RunFailed where the upload stops.
    """
    say = partial((console or Console()).print, highlight=False, markup=False, soft_wrap=True)
    config = _finished_build(run)
    api = None if dry_run else hub.connect(to)
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=run) as temporary:
        folder = Path(temporary) / DATASET
        with writing(folder):
            _write(folder, run, config)
        _list_files(folder, say)
        say(f"licence: {license_sentence(config.export.license)}")
        if api is None:
            say(f"nothing was uploaded; without --dry-run these files go to {to} ({'public' if public else 'private'})")
        else:
            say(f"published: {hub.upload(api, folder, to, public, replace, say)}")


def _finished_build(run: Path) -> BuildConfig:
    job, values = manifest.job_and_config(run)
    if job != "build":
        raise ConfigError(f"{run} is a run of {job}; give the output of a build")
    if manifest.summary(run) is None:
        raise ConfigError(f"{run} is not finished; run the build again to resume it")
    config = check(BuildConfig, values, str(run / "fingerprint.json"))
    if config.missing():
        raise ConfigError(f"{run} has no data set, as its stages were {', '.join(config.stages)}; give a whole build")
    return config


def _write(folder: Path, run: Path, config: BuildConfig) -> None:
    """The files of the run's data set, with images named by their place in the repository, and the run's own card."""
    card = run / DATASET / hub.CARD
    if not card.is_file():
        raise ConfigError(f"{card} is missing; run the build again to write it")
    target = make_target(folder, prompts.load_pack(config.prompts), config.export)
    export(folder, lambda: (_published(from_row(Record, row.row), folder) for row in store.results(run)), target, None)
    (folder / hub.CARD).write_bytes(card.read_bytes())


def _published(record: Record, folder: Path) -> Record:
    """The record with its images at their places in the repository; the folder gets links to the files."""
    documents = tuple(_with_links(document, folder) for document in record.sample.documents)
    return dataclasses.replace(record, sample=dataclasses.replace(record.sample, documents=documents))


def _with_links(document: Document, folder: Path) -> Document:
    images = tuple(_linked(image, folder) for image in document.images)
    duplicates = tuple(Duplicate(_linked(found.image, folder), found.of) for found in document.duplicates)
    return dataclasses.replace(document, images=images, duplicates=duplicates)


def _linked(image: Image, folder: Path) -> Image:
    """The image under the hash of its content: equal ones are one file, and no folder has too many for the hub."""
    name = f"{IMAGES}/{image.sha256[:2]}/{image.sha256}{Path(image.uri).suffix.lower()}"
    link, file = folder / name, Path(image.uri).absolute()
    if not link.is_symlink():
        if not file.is_file():
            raise ConfigError(f"the image file {file} of {image.id} is missing; put it back")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return dataclasses.replace(image, uri=name)


def _list_files(folder: Path, say: partial[None]) -> None:
    """One line a file, and one for all images."""
    sizes = {name: path.stat().st_size for name, path in hub.local_files(folder).items()}
    images = [size for name, size in sizes.items() if name.startswith(f"{IMAGES}/")]
    lines = {name: size for name, size in sizes.items() if not name.startswith(f"{IMAGES}/")}
    for name, size in (lines | {f"{IMAGES}/ ({len(images):,} files)": sum(images)}).items():
        say(f"{size / 1e6:12,.3f} MB  {name}")
    say(f"{sum(sizes.values()) / 1e6:12,.3f} MB  in all")
