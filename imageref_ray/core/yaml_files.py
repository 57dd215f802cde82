"""Every YAML file that people write (configs, packs, rubrics) → plain values; what cannot be read is one sentence.

As in JSON files: encodings by their byte order mark, half characters in escapes become U+FFFD, and a key that is given
twice is an error, as no rule says which one counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import yaml

from imageref_ray.core.config_error import ConfigError
from imageref_ray.core.files import read_text, shown
from imageref_ray.core.text import repaired

MERGE, NULL = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:null"


class BrokenYaml(ValueError):
    """Not YAML; the message says why and where, for `{file} is not valid YAML: {error}`."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Texts that are text, and no key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if key.value in seen:
                    raise BrokenYaml(f"line {key.start_mark.line + 1}: the key {shown(key.value)} is given twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def text(self, node: yaml.ScalarNode) -> Any:
        return repaired(self.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.text)


class _Texts(_Loader):
    """Every value as it is written: what reads like a number, a date or yes and no is text."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in known if tag in (NULL, MERGE)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse_yaml(text: str, as_text: bool = False) -> Any:
    """The value of a YAML text; with `as_text` no value is a number, a date, true or false. Raises BrokenYaml."""
    try:
        return yaml.load(text, _Texts if as_text else _Loader)
    except BrokenYaml:
        raise
    except RecursionError:
        raise BrokenYaml("nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise BrokenYaml(f"{where}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise BrokenYaml(shown(str(error)) or type(error).__name__) from None


def read_yaml(path: Path) -> Any:
    """The value of a file. Raises ConfigError for what is not YAML, and as `read_text`."""
    try:
        return parse_yaml(read_text(path))
    except BrokenYaml as error:
        raise ConfigError(f"{path} is not valid YAML: {error}; fix the file") from None
