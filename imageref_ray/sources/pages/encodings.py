"""The bytes of a page → its text, as browsers decode it.

A byte order mark wins; then what the page declares (`<meta charset>`, `<meta http-equiv>`, `<?xml encoding?>`) under
the labels of the WHATWG Encoding Standard; then UTF-8 if it is; then Windows-1252. Bytes that mean nothing in the
encoding become U+FFFD, one at a time, and cost nothing else.

Source: HTML Standard, "determining the character encoding"; Encoding Standard, "names and labels".
"""

from __future__ import annotations

import codecs
import re

import webencodings

from imageref_ray.core.text import well_formed

PRESCAN = 4096
"""Bytes at the beginning of a page in which it may declare its encoding; the standard asks for 1,024 at least."""

META = re.compile(rb"<meta[\s/]([^>]*)", re.IGNORECASE)
ATTRIBUTE = re.compile(rb"""([^\s=/>"']+)\s*(?:=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+)))?""")
CONTENT = re.compile(rb"""charset\s*=\s*["']?\s*([^\s;"']+)""", re.IGNORECASE)
XML = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([^"']+)["']""")

LITTLE, BIG = re.compile(rb"(?:[\t\n\r -~]\0){4}"), re.compile(rb"(?:\0[\t\n\r -~]){4}")
"""How UTF-16 begins without a mark; no other text has NUL at every other place."""

BETTER = {
    "gbk": "gb18030",
    "iso-2022-jp": "iso2022_jp_ext",
    "x-user-defined": "cp1252",
    "utf-16le": "utf-8",
    "utf-16be": "utf-8",
}
"""Python's codecs that read more of an encoding than those of its name; a page whose declaration can be read as ASCII
is not UTF-16."""

REFUSED = {b"iso-2022-kr": "iso2022_kr", b"csiso2022kr": "iso2022_kr", b"hz-gb-2312": "hz"}
"""Encodings that browsers refuse for the sake of scripts, which are not run here."""


def decode(data: bytes) -> str:
    """The text of a page; never fails."""
    for mark, codec in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return well_formed(data[len(mark) :].decode(codec, "replace"))
    codec = _declared(data[:PRESCAN]) or ("utf-8" if _is_utf8(data) else "cp1252")
    return well_formed(data.decode(codec, "imageref_whatwg"))


def _declared(head: bytes) -> str:
    """Python's codec for the encoding that the beginning of a page declares; empty if it declares none that exists."""
    for begin, codec in ((LITTLE, "utf-16-le"), (BIG, "utf-16-be")):
        if begin.match(head):
            return codec
    shown = re.sub(rb"<!--.*?-->", b"", head, flags=re.DOTALL)
    labels = [label for match in META.finditer(shown) if (label := _label(match[1]))]
    if xml := XML.match(head):
        labels.append(xml[1])
    for label in labels:
        if codec := _codec(label):
            return codec
    return ""


def _label(tag: bytes) -> bytes:
    """The label in the attributes of a `meta` element."""
    own: dict[bytes, bytes] = {name.lower(): a or b or c for name, a, b, c in ATTRIBUTE.findall(tag)}
    if own.get(b"charset"):
        return own[b"charset"]
    found = CONTENT.search(own.get(b"content", b"")) if own.get(b"http-equiv", b"").lower() == b"content-type" else None
    return found[1] if found else b""


def _codec(label: bytes) -> str:
    label = label.strip().lower()
    if label in REFUSED:
        return REFUSED[label]
    found = webencodings.lookup(label.decode("ascii", "replace"))
    return "" if found is None or found.name == "replacement" else BETTER.get(found.name, found.codec_info.name)


def _is_utf8(data: bytes) -> bool:
    """Whether undeclared bytes are UTF-8: all of them, or most of those beyond ASCII."""
    text = data.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    return wrong == 0 or sum(character > "\x7f" for character in text) > 2 * wrong


def _replace(error: UnicodeError) -> tuple[str, int]:
    """What browsers read where Python's codec reads nothing: characters that vendors added, the control code of a byte
    in encodings of one byte, else U+FFFD for one byte (for one broken sequence in UTF-8 and UTF-16)."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    pair, codec = error.object[error.start : error.start + 2], error.encoding
    added = _big5(pair) if codec == "big5hkscs" else _jis(pair) if codec in ("euc_jp", "iso2022_jp_ext") else ""
    if added:
        return added, error.start + 2
    if codec == "gb18030" and pair[0] == 0x80:
        return "€", error.start + 1
    if codec in ("charmap", "cp1252") and 0x80 <= pair[0] <= 0x9F:
        return chr(pair[0]), error.start + 1
    return "\ufffd", error.end if codec.startswith("utf") else error.start + 1


def _big5(pair: bytes) -> str:
    return pair.decode("cp950", "ignore") if len(pair) == 2 else ""


def _jis(pair: bytes) -> str:
    """A character of JIS X 0208 with NEC's and IBM's additions, by its row and cell, as Shift_JIS of Windows has it."""
    row, cell = ((byte & 0x7F) - 0x20 for byte in pair) if len(pair) == 2 else (0, 0)
    if not (1 <= row <= 94 and 1 <= cell <= 94):
        return ""
    first = (row - 1) // 2 + (0x81 if row <= 62 else 0xC1)
    second = cell + (0x9E if row % 2 == 0 else 0x3F if cell <= 63 else 0x40)
    return bytes((first, second)).decode("cp932", "ignore")


codecs.register_error("imageref_whatwg", _replace)
