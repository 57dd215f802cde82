"""MDX (Markdown with JSX: Docusaurus, Mintlify, …) → Markdown with HTML: imports, components, expressions; code stays.

import logo from "./logo.png"  ·  <Image src={logo} alt="Logo" />   ─▶   <img src="./logo.png" alt="Logo">
"""

from __future__ import annotations

import re
from collections.abc import Callable

from imageref_ray.sources.entries import Unusable

IMPORT = re.compile(
    r"^import\s+(?:(?P<name>\w+)\s+from\s+|[\w*{][^;'\"]{0,2000}?\sfrom\s+)?['\"](?P<path>[^'\"\n]+)['\"];?[ \t]*$",
    re.M,
)
EXPORT = re.compile(r"^export\s+(?:const|let|var|default|function|async|class)\b.*?(?:\n[ \t]*\n|\Z)", re.M | re.S)
EXPRESSION = re.compile(r"(?<![\\$\{\]\)`\w])\{[^{}\n]*\}(?!\})")
OPENING = re.compile(r"^[ \t]*(?:>[ \t]?)*(?P<fence>`{3,}+(?![^\n]*`)|~{3,}+)|(?<!`)(?P<ticks>`++)", re.M)
"""Where a code fence or a code span may begin."""
TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][\w.]*)(?=[\s/>])")
LITERAL = re.compile(r"""["'`]([^"'`\n]+)["'`]""")
PICTURE = re.compile(r"\.(?:png|jpe?g|gif|webp|bmp|tiff?|svg|avif)(?:[?#].*)?$", re.I)
LONGEST_TAG = 5_000
"""Characters; whatever is longer is no tag."""
MOST_LOST = 100
"""Times that a text is looked through, on average, for the ends of tags that have none."""


def plain_markdown(source: str) -> str:
    """The source without JSX. Markdown inside a component is Markdown."""
    text = outside_code(source, _without_comments)
    paths = {found["name"]: found["path"] for found in IMPORT.finditer(text) if found["name"]}
    text = outside_code(text, lambda part: EXPORT.sub("\n", IMPORT.sub("", part)))
    text = outside_code(text, lambda part: _html(part, paths))
    return outside_code(text, lambda part: EXPRESSION.sub("", part))


def uses_jsx(source: str) -> bool:
    """Whether a Markdown file is MDX under another name: it imports something, outside code."""
    return IMPORT.search(source) is not None and any(IMPORT.search(part) for part in _parts(source)[::2])


def outside_code(source: str, change: Callable[[str], str]) -> str:
    """The source with every part between code fences and code spans changed."""
    return "".join(part if number % 2 else change(part) for number, part in enumerate(_parts(source)))


def _parts(source: str) -> list[str]:
    """The source cut into what is no code, code, what is none, and so on."""
    parts, at = [], 0
    spans: dict[int, list[int]] = {}  # how many backticks → where they stand, the last first
    for run in reversed([found.span() for found in re.finditer("`+", source)]):
        spans.setdefault(run[1] - run[0], []).append(run[0])
    for opening in OPENING.finditer(source):
        if opening.start() < at:
            continue
        if mark := opening["fence"]:
            closing = re.compile(rf"^[ \t]*(?:>[ \t]?)*{mark}[`~]*[ \t]*$", re.M).search(source, opening.end())
            end = closing.end() if closing else len(source)
        else:
            later = spans[length := len(opening["ticks"])]
            while later and later[-1] < opening.end():
                later.pop()
            if not later:
                continue
            end = later.pop() + length
        parts += [source[at : opening.start()], source[opening.start() : end]]
        at = end
    return [*parts, source[at:]]


def _without_comments(part: str) -> str:
    """Comments are searched for by their end first: a thousand that never end are looked through once."""
    kept, at = [], 0
    while (begin := part.find("{/*", at)) >= 0 and (end := part.find("*/}", begin + 3)) >= 0:
        kept.append(part[at:begin])
        at = end + 3
    return "".join([*kept, part[at:]])


def _html(part: str, paths: dict[str, str]) -> str:
    """Every tag in HTML: attributes are texts, a component with a picture is an `img`, others stand on their own."""
    done, at, lost = [], 0, 0
    for tag in TAG.finditer(part):
        if tag.start() < at:
            continue
        end, whole = _end(part, tag.end())
        if not whole:
            lost += end - tag.end()
            if lost > MOST_LOST * len(part):
                problem = f"is searched {MOST_LOST} times for the ends of tags with open braces or quotes"
                raise Unusable("PageTooLarge", f"{problem}; close them, or leave it out of source.pages")
            continue
        done += [part[at : tag.start()], _tag(tag, part[tag.end() : end - 1], paths)]
        at = end
    return "".join([*done, part[at:]])


def _end(part: str, at: int) -> tuple[int, bool]:
    """The index after the `>` that ends a tag, or where it stopped being one, and which; quotes and braces may hold
    others."""
    quote, depth, last = "", 0, min(len(part), at + LONGEST_TAG)
    for index in range(at, last):
        char = part[index]
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'`":
            quote = char
        elif char in "{}":
            depth += 1 if char == "{" else -1
        elif char == ">" and depth <= 0:
            return index + 1, True
        elif char == "<" and depth <= 0:
            return index, False
    return last, False


def _tag(tag: re.Match[str], written: str, paths: dict[str, str]) -> str:
    name, component = tag["name"], tag["name"][0].isupper()
    empty = written.rstrip().endswith("/")
    own = _attributes(written.rstrip().removesuffix("/"), paths)
    if component and not tag["close"]:
        source = next((own[key] for key in ("src", "source", "image", "img") if PICTURE.search(own.get(key, ""))), "")
        if source or name.lower() in ("image", "img"):
            words = "".join(f' {key}="{own[key]}"' for key in ("alt", "title") if own.get(key))
            image = f'<img src="{source or own.get("src", "")}"{words}>'
            caption = own.get("caption", "")
            return f"<figure>{image}<figcaption>{caption}</figcaption></figure>" if caption else image
    if component:  # a box of its own: its title or label is text, what it holds is Markdown
        title = own.get("title") or own.get("label") or own.get("header") or ""
        return f"\n\n{title}\n\n" if title else "\n\n"
    written = "".join(f' {key}="{value}"' for key, value in own.items())
    return f"<{tag['close']}{name}{written}{' /' if empty else ''}>"


def _attributes(written: str, paths: dict[str, str]) -> dict[str, str]:
    """Attributes as texts; of an expression the imported path or the first picture that it names."""
    own: dict[str, str] = {}
    at = 0
    while found := re.compile(r"\s*([\w:.-]+)(\s*=\s*)?|\s*[^\s\w]").match(written, at):
        at = found.end()
        if not found[1]:
            if written[found.end() - 1] == "{":
                at = _braces(written, at)
            continue
        value = ""
        if found[2] and at < len(written):
            if written[at] in "\"'":
                end = written.find(written[at], at + 1)
                value, at = (written[at + 1 : end], end + 1) if end > 0 else ("", len(written))
            elif written[at] == "{":
                end = _braces(written, at + 1)
                value, at = _value(written[at + 1 : end - 1], paths), end
            else:
                bare = re.compile(r"[^\s>]*").match(written, at)
                value, at = (bare[0], bare.end()) if bare else ("", at + 1)
        own[{"className": "class", "srcSet": "srcset", "sources": "src"}.get(found[1], found[1])] = value.replace(
            '"', "&quot;"
        )
    return own


def _braces(written: str, at: int) -> int:
    """The index after the brace that closes the one before `at`."""
    depth = 1
    for index in range(at, len(written)):
        depth += {"{": 1, "}": -1}.get(written[index], 0)
        if not depth:
            return index + 1
    return len(written)


def _value(expression: str, paths: dict[str, str]) -> str:
    names = re.findall(r"(?<![\w.'\"])[A-Za-z_]\w*", expression)
    if found := next((paths[name] for name in names if name in paths), ""):
        return found
    literals = LITERAL.findall(expression)
    return next((text for text in literals if PICTURE.search(text)), literals[0] if len(literals) == 1 else "")
