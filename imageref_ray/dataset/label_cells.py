"""A cell of a label CSV → the dict that it is, as Python or JSON writes it.

A key that it gives twice is an error, as no rule says which one counts. `ast.literal_eval` never runs code.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.core.files import shown
from imageref_ray.core.json_files import BrokenJson, parse_json
from imageref_ray.core.text import repaired


def read_cell(row: Mapping[str, Any], column: str, where: str) -> dict[Any, Any]:
    """The dict of a row's cell. Raises ConfigError."""
    cell = row[column].strip()
    try:
        value = parse_json(cell)
    except BrokenJson:
        value = _python_literal(cell, column, where)
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: column {column} contains {type(value).__name__}, not a dict; fix the cell")
    return value


def _python_literal(cell: str, column: str, where: str) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # of paths with backslashes
            tree = ast.parse(cell, mode="eval")
            value = repaired(ast.literal_eval(tree))
        str(value)  # fails for a number of more digits than Python writes
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        reason = shown(getattr(error, "msg", None) or str(error) or type(error).__name__)
        reason = "it has names or calls" if reason.startswith("malformed node") else reason
        raise ConfigError(
            f"{where}: column {column} is not a Python literal ({reason}); write a dict: {{'a': 'b'}}"
        ) from None
    for node in ast.walk(tree):
        listed = node.keys if isinstance(node, ast.Dict) else []
        keys = [str(key.value) for key in listed if isinstance(key, ast.Constant)]
        if len(set(keys)) < len(keys):
            key = next(key for key, count in Counter(keys).items() if count > 1)
            raise ConfigError(f"{where}: column {column} gives the key {shown(repr(key))} twice; keep one of them")
    return value
