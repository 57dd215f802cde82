"""Record + what input files have for it → the record as the left out stages would have made it; or why it cannot be.

What does not fit fails the record (`Unusable`: no line, no caption of an image, a placement made for another response);
what is in a file and is not needed is a failure of that part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from imageref_ray.commands.annotation.input_files import STAGE
from imageref_ray.core import markdown
from imageref_ray.core.files import first_names
from imageref_ray.core.records import Caption, Failure, Image, Placement, Record, Sample
from imageref_ray.sources.entries import Unusable
from imageref_ray.stages import parsing


def attach(
    record: Record, listed: Sample, found: Mapping[str, Any], left_out: Sequence[str]
) -> tuple[Record, tuple[Failure, ...]]:
    """`record`, whose images are verified, with the results of the stages `left_out`, and its failures.

    `listed` is the sample with all images that its source lists, `found` is from `Inputs.find`.
    """
    parts: list[Failure] = []
    try:
        if "respond" in left_out:
            record = dataclasses.replace(record, response=_response(record, found))
        if "caption" in left_out:
            parts += _unknown_captions(listed, found["captions"])
            record = dataclasses.replace(record, captions=_captions(record.sample, found["captions"]))
        if "place" in left_out:
            record = dataclasses.replace(record, placements=_placements(record, listed, found["insertions"], parts))
    except Unusable as problem:
        parts.append(Failure(record.id, STAGE, problem.error, str(problem)))
    return record, tuple(parts)


def read_response(text: str, own: str = "") -> str:
    """The response in a file's text. One that begins with a header, or is the source's `own`, is taken as it stands;
    any other is read as a model's reply, without its preface and code fence. Raises ParseError."""
    stripped = markdown.strip_images(text)
    if not stripped:
        raise parsing.ParseError("the response is empty")
    if stripped != own and not markdown.is_header(stripped):
        stripped = parsing.response(text)
    if not markdown.slots(stripped, "before") or not markdown.slots(stripped, "after"):
        raise parsing.ParseError("the response needs a header line (`# …`) with text below it")
    return stripped


def _response(record: Record, found: Mapping[str, Any]) -> str:
    """The file's response; the source's own where the file, or the build, has none."""
    text = found.get("responses")
    if text is None and record.response:
        return record.response
    if text is None:
        where = "inputs.responses has no line for" if "responses" in found else "the source has no response for"
        raise Unusable("MissingResponse", f"{where} sample {record.id}")
    try:
        return read_response(text, record.response)
    except parsing.ParseError as error:
        raise Unusable("UnusableResponse", f"inputs.responses, sample {record.id}: {error}") from None


def _captions(sample: Sample, found: Mapping[str, Any]) -> tuple[Caption, ...]:
    captions, missing = [], []
    for document in sample.documents:
        texts = found[document.id]
        for image in document.images:
            caption, description = (" ".join(text.split()) for text in texts.get(image.id, ("", "")))
            captions.append(Caption(image.id, description, caption))
            missing += [] if any(char.isalnum() for char in caption) else [image.id]
    if missing:
        raise Unusable(
            "MissingCaption",
            f"inputs.captions has no caption for {len(missing)} of {len(captions)} images ({first_names(missing)}) "
            f"of sample {sample.id}",
        )
    return tuple(captions)


def _unknown_captions(listed: Sample, found: Mapping[str, Any]) -> list[Failure]:
    """A failure for every caption of an image that its document does not have."""
    known = _image_ids(listed)
    return [
        _unknown(listed.id, image, f"inputs.captions has a caption of {image}, which is not an image of sample")
        for texts in found.values()
        for image in texts
        if image not in known
    ]


def _placements(
    record: Record, listed: Sample, line: Mapping[str, Any] | None, parts: list[Failure]
) -> tuple[Placement, ...]:
    """One placement per slot of the response. Failures of parts of the line are appended to `parts`."""
    where = f"inputs.insertions, sample {record.id}:"
    if line is None:
        raise Unusable("MissingInsertion", f"inputs.insertions has no line for sample {record.id}")
    slots = len(markdown.slots(record.response, "before"))
    try:
        read = parsing.predictions(line["result"], line["images"])
    except parsing.ParseError as error:
        raise Unusable("UnusableInsertion", f"{where} {error}") from None
    if max(read.by_slot, default=0) > slots:
        raise Unusable(
            "UnusableInsertion",
            f"{where} it names <Position {max(read.by_slot)}>, but the response has {slots} positions; it was made for "
            "another response",
        )
    usable = {image.id for image in record.sample.images}
    if gone := [placed.image_id for placed in read.by_slot.values() if placed.image_id not in {None, *usable}]:
        raise Unusable(
            "UnknownImage", f"{where} it places {first_names(gone)}, which the sample has no usable image for"
        )
    known = _image_ids(listed)
    parts += [
        _unknown(record.id, image, f"inputs.insertions lists {image}, which is not an image of sample")
        for image in dict.fromkeys(line["images"])
        if image not in known
    ]
    if read.told:
        parts.append(Failure(record.id, STAGE, "UnreadPredictions", f"{where} {read.told}", item="insertion"))
    return tuple(read.by_slot.get(slot, Placement(slot)) for slot in range(1, slots + 1))


def _image_ids(sample: Sample) -> set[str]:
    images: list[Image] = [image for document in sample.documents for image in document.images]
    return {image.id for image in images} | {copy.image.id for doc in sample.documents for copy in doc.duplicates}


def _unknown(sample: str, image: str, message: str) -> Failure:
    return Failure(sample, STAGE, "UnknownImage", f"{message} {sample}", item=image)
