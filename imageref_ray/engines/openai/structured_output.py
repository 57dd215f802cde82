"""Guides for endpoints that may not follow them: a reply in, the part that fits the guide out, or one more request.

reply ─▶ fit ─▶ the text that fits
            └─▶ Misfit ─▶ correction ─▶ a request that shows the model what was wrong
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
from jsonschema.validators import validator_for

from imageref_ray.core import lenient_json
from imageref_ray.core.json_files import BrokenJson
from imageref_ray.core.text import json_text
from imageref_ray.engines.base import Guide, Message, Request, RequestError

SHOWN = 4000
"""Most characters of a guide that a correction repeats: a longer one would crowd out the task."""


class Misfit(ValueError):
    """A text does not fit its guide; the message says where, to the model as well as to the user."""


def check(guide: Guide) -> None:
    """Raise RequestError for a guide that no reply can be checked against."""
    try:
        if guide.kind == "json":
            _validator(guide.value).check_schema(guide.value)
        elif guide.kind == "regex":
            re.compile(guide.value)
    except (jsonschema.SchemaError, re.error) as error:
        reason = error.message if isinstance(error, jsonschema.SchemaError) else str(error)
        raise RequestError(f"the {guide.kind} guide is invalid ({reason}); fix it") from None


def fit(text: str, guide: Guide) -> str:
    """The part of `text` that fits: without the white space, code fence or preface around it, and JSON as the standard
    has it. Raises Misfit."""
    if guide.kind == "json":
        return _json(text, guide.value)
    bare = text.strip()
    candidates = (text, bare, bare + "\n")
    for candidate in candidates:
        if candidate in guide.value if guide.kind == "choice" else re.fullmatch(guide.value, candidate):
            return candidate
    raise Misfit(f"{_beginning(text)} is not what may be written here")


def _json(text: str, schema: Any) -> str:
    validator = _validator(schema)(schema)
    try:
        value = lenient_json.find(text, validator.is_valid)
    except BrokenJson as error:
        raise Misfit(f"it is no JSON ({error})") from None
    breach = jsonschema.exceptions.best_match(validator.iter_errors(value))
    if breach is None:
        return json_text(value)
    raise Misfit(f"it breaks the schema at {breach.json_path}: {_beginning(breach.message, 300)}")


def correction(request: Request, text: str, misfit: Misfit) -> Request:
    """A request that shows the model its reply and what is wrong with it, and asks for the whole reply again."""
    assert request.guide is not None
    demand = f"Your last reply cannot be used: {misfit}.{_demand(request.guide)}\n"
    demand += "Write the whole reply again so that it fits. Write nothing before it and nothing after it."
    turns = (Message("assistant", (request.prefix + text or "…",)), Message("user", (demand,)))
    return replace(request, messages=(*request.messages, *turns), prefix="", n=1)


def _demand(guide: Guide) -> str:
    if guide.kind == "json":
        shown = f"\nThe reply is JSON that fits this schema:\n{json.dumps(guide.value, ensure_ascii=False)}"
    elif guide.kind == "choice":
        shown = "\nThe reply is exactly one of these lines:\n" + "\n".join(guide.value)
    else:
        shown = f"\nThe whole reply matches this regular expression:\n{guide.value}"
    return shown if len(shown) <= SHOWN else ""


def _validator(schema: Any) -> Any:
    return validator_for(schema, default=jsonschema.Draft202012Validator)


def _beginning(text: str, length: int = 80) -> str:
    return repr(text if len(text) <= length else text[:length] + "…")
