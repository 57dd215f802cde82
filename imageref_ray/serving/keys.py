"""Bearer keys: who may ask. The endpoint knows SHA-256 sums only; a key has 256 random bits, which nobody can try out.

Keys come from the setting `keys`, the file `keys_file` and the environment variable IMAGEREF_KEYS, which holds what
such a file holds. They are read where the endpoint is started and travel to its replicas with the settings.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from imageref_ray.core.config import Config, ConfigError, KeyConfig, ServeConfig, check
from imageref_ray.core.durable import write_atomically
from imageref_ray.core.files import read_text
from imageref_ray.serving.errors import WireError

VARIABLE = "IMAGEREF_KEYS"
PREFIX = "irk-"
"""What every key begins with, so that scanners for secrets find one that went where it should not be."""


class KeyFile(Config):
    """A file of keys."""

    keys: tuple[KeyConfig, ...]


def make_key() -> tuple[str, str]:
    """A new key and its SHA-256 sum."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, digest(key.encode())


def digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def with_keys(settings: ServeConfig, environment: Mapping[str, str] = os.environ) -> ServeConfig:
    """The settings with the keys of the file and of the environment too. Raises ConfigError."""
    keys = list(settings.keys)
    if settings.keys_file:
        keys += parse_keys(read_text(settings.keys_file), f"keys_file {settings.keys_file}")
    if text := environment.get(VARIABLE, ""):
        keys += parse_keys(text, f"${VARIABLE}")
    if settings.keys_file and not keys:
        raise ConfigError(f"keys_file {settings.keys_file} has no keys; imageref serve key makes one")
    keys = list(dict.fromkeys(keys))  # read in the process that starts the endpoint, and in its replicas again
    names = [key.name for key in keys]
    if repeated := next((name for name in names if names.count(name) > 1), ""):
        raise ConfigError(f"two keys have the name {repeated}; give each its own")
    return settings.model_copy(update={"keys": tuple(keys), "keys_file": None})


def parse_keys(text: str, where: str) -> tuple[KeyConfig, ...]:
    """The keys of a YAML text. Raises ConfigError, which shows nothing of the text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{where} is not YAML; expected what imageref serve key prints") from None
    return check(KeyFile, value if isinstance(value, dict) else {"keys": value or []}, where).keys


def holder(keys: Sequence[KeyConfig], headers: Iterable[tuple[bytes, bytes]]) -> KeyConfig:
    """Whose key a request carries; compared in constant time. Raises WireError (401)."""
    given = [value for name, value in headers if name == b"authorization"]
    scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
    sum_ = digest(token.strip()).encode()
    found = [key for key in keys if hmac.compare_digest(key.sha256.encode(), sum_)]
    if scheme.lower() != b"bearer" or not found:
        message = "no valid key; send one in the header `Authorization: Bearer KEY`"
        raise WireError(message, status=401, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
    return found[0]


def check_neighbour(client: Sequence[Any] | None) -> None:
    """Raise WireError (403) for a request from another machine, where there are no keys and `insecure` is not set."""
    host = str(client[0]) if client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # no address of a network: a socket file, a test
        return
    mapped = getattr(address, "ipv4_mapped", None)
    if not (mapped or address).is_loopback:
        message = (
            "this endpoint has no keys and answers its own machine only; its operator can set `keys` or `insecure`"
        )
        raise WireError(message, status=403, code="no_keys")


def check_exposed(host: str, settings: ServeConfig) -> None:
    """Raise ConfigError for an address that other machines reach, without keys and without `insecure`."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not (local or settings.keys or settings.insecure):
        raise ConfigError(
            f"--host {host} answers other machines, and the endpoint has no keys: anybody who reaches it could use it. "
            "Make a key with imageref serve key and set keys_file, or say --insecure"
        )


def new_key(name: str, out: Path | None, concurrency: int | None, per_minute: int | None) -> str:
    """A new key, whose sum is written to the file `out`. Raises ConfigError for a name that the file has."""
    key, sum_ = make_key()
    limits = {"concurrency": concurrency, "per_minute": per_minute}
    entry = {"name": name, "sha256": sum_, **{limit: most for limit, most in limits.items() if most is not None}}
    check(KeyFile, {"keys": [entry]}, "the key")
    if out is None:
        return f"{key}\n\n{_yaml([entry])}"
    known = parse_keys(read_text(out), str(out)) if out.exists() else ()
    if name in {one.name for one in known}:
        raise ConfigError(f"{out} has a key of {name} already; choose another name, or take its lines out first")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, _yaml([*(one.model_dump(exclude_none=True) for one in known), entry]))
    return key


def _yaml(entries: list[dict[str, Any]]) -> str:
    return str(yaml.safe_dump({"keys": entries}, sort_keys=False, allow_unicode=True))
