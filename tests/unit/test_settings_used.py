"""Every setting is read by the code that it is a setting of: what is declared and does nothing is a lie.

Reads are found in the source: a value's model is known from annotations (of parameters, results, attributes) and
followed through assignments, loops and the models' own fields. `getattr` and dumps of a whole model are no reads.
"""

from __future__ import annotations

import ast
import types
import typing
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.core import config
from imageref_ray.core.config import Config
from imageref_ray.core.config.engine import PoolConfig

ROOT = Path(__file__).parents[2]
MODELS: dict[str, type[Config]] = {
    kind.__name__: kind
    for kind in (*vars(config).values(), PoolConfig)
    if isinstance(kind, type) and issubclass(kind, Config) and kind is not Config
}
Type = Any
"""A model's or class's name; `[type]` for a container of it; a tuple of types for a tuple; None if unknown."""


def annotated(node: ast.expr | None) -> Type:
    """What an annotation in the source says."""
    match node:
        case ast.Constant(value=str() as text):
            return annotated(ast.parse(text, mode="eval").body)
        case ast.Name(id=name):
            return "PoolConfig" if name == "EngineConfig" else name
        case ast.BinOp(left=left, right=right):
            found = [known for known in map(annotated, (left, right)) if known]
            return next(
                (one for one in found if not isinstance(one, str) or one in MODELS), found[0] if found else None
            )
        case ast.Subscript(value=ast.Name(id="tuple" | "Tuple"), slice=ast.Tuple(elts=parts)):
            inner = [annotated(part) for part in parts if not isinstance(part, ast.Constant)]
            return [inner[0]] if len(inner) < len(parts) else tuple(inner)
        case ast.Subscript(slice=ast.Tuple(elts=[*_, last])):
            return [annotated(last)]
        case ast.Subscript(slice=inner):
            return [annotated(inner)]
    return None


def declared(hint: Any) -> Type:
    """What a model's field holds."""
    if isinstance(hint, type) and issubclass(hint, Config):
        return "PoolConfig" if issubclass(hint, PoolConfig) else hint.__name__
    if typing.get_origin(hint) is typing.Annotated:
        return declared(typing.get_args(hint)[0])
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next((found for found in map(declared, typing.get_args(hint)) if found), None)
    inner = next((found for found in map(declared, typing.get_args(hint)) if found), None)
    return [inner] if inner else None


class Reader(ast.NodeVisitor):
    """Collects `(model, field)` for every field read; `classes` and `functions` are what all modules declare."""

    def __init__(self, classes: Mapping[str, dict[str, Type]], functions: Mapping[str, Type]) -> None:
        self.classes, self.functions = classes, functions
        self.scopes: list[dict[str, Type]] = [{}]
        self.found: set[tuple[str, str]] = set()

    def typed(self, node: ast.expr) -> Type:
        match node:
            case ast.Name(id=name):
                return next((scope[name] for scope in reversed(self.scopes) if name in scope), None)
            case ast.Attribute(value=value, attr=name):
                owner = self.typed(value)
                if isinstance(owner, str) and owner in MODELS and name in MODELS[owner].model_fields:
                    return declared(MODELS[owner].model_fields[name].annotation)
                return self.classes.get(owner, {}).get(name) if isinstance(owner, str) else None
            case ast.BoolOp(values=values):
                return next((known for known in map(self.typed, values) if known), None)
            case ast.IfExp(body=body, orelse=other):
                return self.typed(body) or self.typed(other)
            case ast.NamedExpr(value=value) | ast.Await(value=value):
                return self.typed(value)
            case ast.Call(func=ast.Attribute(value=value, attr="model_copy" | "values" | "items")):
                return self.typed(value)
            case ast.Call(func=ast.Attribute(value=value, attr="get")) | ast.Subscript(value=value):
                owner = self.typed(value)
                return owner[0] if isinstance(owner, list) else None
            case ast.Call(func=ast.Name(id="dict" | "list" | "sorted" | "tuple"), args=[first, *_]):
                return self.typed(first)
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                return name if name in MODELS else self.functions.get(name)
        return None

    def bind(self, target: ast.expr, kind: Type, *, items: bool = False) -> None:
        match target:
            case ast.Name(id=name):
                self.scopes[-1][name] = kind
            case ast.Tuple(elts=[*_, last]) if items:
                self.bind(last, kind)
            case ast.Tuple(elts=parts) if isinstance(kind, tuple):
                for part, one in zip(parts, kind, strict=False):
                    self.bind(part, one)

    def loop(self, target: ast.expr, source: ast.expr) -> None:
        kind = self.typed(source)
        if isinstance(kind, list):
            items = isinstance(source, ast.Call) and getattr(source.func, "attr", "") == "items"
            self.bind(target, kind[0], items=items)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = self.typed(node.value)
        if isinstance(owner, str) and owner in MODELS and isinstance(node.ctx, ast.Load):
            self.found.add((owner, node.attr))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for one, value in zip(target.elts, node.value.elts, strict=False):
                    self.bind(one, self.typed(value))
            else:
                self.bind(target, self.typed(node.value))

    def visit_For(self, node: ast.For) -> None:
        self.loop(node.target, node.iter)
        self.generic_visit(node)

    def comprehension(self, node: Any) -> None:
        self.scopes.append({})
        for part in node.generators:
            self.loop(part.target, part.iter)
        self.generic_visit(node)
        self.scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comprehension

    def visit_FunctionDef(self, node: Any) -> None:
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        self.scopes.append({one.arg: annotated(one.annotation) for one in arguments if one.annotation})
        if arguments and arguments[0].arg == "self":
            self.scopes[-1]["self"] = self.scopes[-2].get("<class>")
        self.generic_visit(node)
        self.scopes.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scopes.append({"<class>": node.name})
        self.generic_visit(node)
        self.scopes.pop()


def attributes(node: ast.ClassDef) -> Iterator[tuple[str, Type]]:
    """A class's annotated fields, and what its constructor keeps of its annotated parameters."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id, annotated(part.annotation)
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            kinds = {one.arg: annotated(one.annotation) for one in part.args.args}
            for one in ast.walk(part):
                if isinstance(one, ast.Assign):
                    targets, value = one.targets[0], one.value
                    pairs = (
                        zip(targets.elts, value.elts, strict=False)
                        if isinstance(targets, ast.Tuple) and isinstance(value, ast.Tuple)
                        else [(targets, value)]
                    )
                    for target, kept in pairs:
                        if isinstance(target, ast.Attribute) and isinstance(kept, ast.Name) and kept.id in kinds:
                            yield target.attr, kinds[kept.id]


def reads(code: list[ast.Module]) -> set[tuple[str, str]]:
    classes: defaultdict[str, dict[str, Type]] = defaultdict(dict)
    functions: dict[str, Type] = {}
    for tree in code:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name].update(attributes(node))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
                functions[node.name] = annotated(node.returns)
    found: set[tuple[str, str]] = set()
    for tree in code:
        reader = Reader(classes, functions)
        reader.visit(tree)
        found |= reader.found
    return found


@pytest.fixture(scope="module")
def found() -> set[tuple[str, str]]:
    """What the package reads."""
    paths = sorted((ROOT / "imageref_ray").rglob("*.py"))
    return reads([ast.parse(path.read_text(encoding="utf-8")) for path in paths if path.parent.name != "config"])


OTHERWISE = {"SplitConfig": {"train", "validation", "test"}, "ServeConfig": {"model"}}
"""Fields whose name is data where they are read (`export.split.SPLITS`), or which their model turns into another."""


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_setting_is_read_outside_its_model(name: str, found: set[tuple[str, str]]) -> None:
    mine = MODELS[name]
    kin = {other.__name__ for other in MODELS.values() if issubclass(other, mine) or issubclass(mine, other)}
    read = {field for model, field in found if model in kin}
    assert set(mine.model_fields) - read - OTHERWISE.get(name, set()) == set()


def test_a_setting_that_nothing_reads_is_found() -> None:
    code = """
def train(config: TrainConfig, engine: EngineConfig):
    config.steps, other.accelerator_type, getattr(config, "seed")
    for set in config.mixture.values():
        set.root
"""
    assert reads([ast.parse(code)]) == {("TrainConfig", "steps"), ("TrainConfig", "mixture"), ("MixtureEntry", "root")}
