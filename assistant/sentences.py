"""Every sentence with which something is refused, read from the places in the code that make an AssistantError, as the page docs/sentences.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from .errors import AssistantError

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# What is said when something cannot be done

Every error of the program, as `python -m assistant sentences` finds it in the code: what is wrong, with the value and the limit, then what to do. In braces
stands what is filled in, in parentheses what depends. Files are below `assistant/`, or are `app.py` and those of `ui/`.
"""


@dataclass(frozen=True, order=True)
class Sentence:
    """Where several can stand at one place, they are in lines of their own. `file` is below the repository's root."""

    error: str
    file: str
    what: str
    remedy: str


def sentences() -> list[Sentence]:
    """Of all files of the program, in the order of the page."""
    paths = [ROOT / "app.py", *ROOT.glob("assistant/**/*.py"), *ROOT.glob("ui/*.py")]
    files = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in paths}
    classes = [node for tree in files.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    errors = {AssistantError.__name__}
    while found := {one.name for one in classes if one.name not in errors and {_name(base) for base in one.bases} & errors}:
        errors |= found
    constants = {name: value for tree in files.values() for name, value in _constants(tree)}
    return sorted({one for file, tree in files.items() for one in _Reader(file, tree, errors, constants | dict(_constants(tree))).found()})


def page() -> str:
    """docs/sentences.md."""
    lines, before = [HEAD], ""
    for one in sentences():
        if one.error != before:
            before = one.error
            lines.append(f"\n## {before}\n\n| what is said | what to do | where |\n|---|---|---|\n")
        what, remedy = (text.replace("|", "\\|").replace("<", "&lt;").replace("\n", "<br>") for text in (one.what, one.remedy))
        lines.append(f"| {what} | {remedy} | `{one.file.removeprefix('assistant/')}` |\n")
    return "".join(lines)


class _Reader:
    """One file. `constants`: of all files, by name; where two have one, its own."""

    def __init__(self, file: str, tree: ast.Module, errors: set[str], constants: dict[str, ast.expr]) -> None:
        self.file, self.tree, self.errors, self.constants = file, tree, errors, constants
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        self.functions = {one.name: one for one in functions}
        self.within = {id(node): one for one in functions for node in ast.walk(one)}  # the innermost comes last

    def found(self) -> Iterator[Sentence]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and (name := _name(node.func)) in self.errors:
                args = list(node.args)
                if args and isinstance(args[0], ast.Starred):
                    args = list(cast(ast.Tuple, self.constants[_name(args[0].value)]).elts)
                function = self.within.get(id(node))
                handed = function is not None and [*map(_name, args)] == _parameters(function)[-len(args):]  # whoever calls the function says it
                for values, where in self._calls(function) if handed and function is not None else [(args, function)]:
                    what, remedy = ("\n".join(dict.fromkeys(self._read(arg, where))) for arg in (*values[-len(args):], *[ast.Constant("")] * 2)[:2])
                    yield Sentence(name, self.file, what, remedy)

    def _calls(self, function: ast.FunctionDef) -> list[tuple[list[ast.expr], ast.FunctionDef | None]]:
        """Each call of a function: its arguments, and where it stands."""
        return [(node.args, self.within.get(id(node))) for node in ast.walk(self.tree) if isinstance(node, ast.Call) and _name(node.func) == function.name]

    def _read(self, node: ast.expr, function: ast.FunctionDef | None) -> list[str]:
        """What an argument can say."""
        if isinstance(node, ast.IfExp):
            return self._read(node.body, function) + self._read(node.orelse, function)
        if isinstance(node, ast.BoolOp):
            return [text for value in node.values for text in self._read(value, function)]
        if isinstance(node, ast.Call) and (called := self.functions.get(_name(node.func))) is not None:
            own = [text for one in ast.walk(called) if isinstance(one, (ast.Constant, ast.JoinedStr)) and re.fullmatch(r".* .*\.", text := self._text(one))
                   and text != ast.get_docstring(called)]
            return own or [text for one in ast.walk(called) if isinstance(one, ast.Return) and one.value is not None for text in self._read(one.value, called)]
        if isinstance(node, ast.Name):
            given = self._given(node.id, function) if function is not None else []
            if found := [text for one in given for text in self._read(*one)]:
                return found
            if isinstance(value := self.constants.get(node.id), (ast.Constant, ast.JoinedStr)):
                return self._read(value, None)
        return [self._text(node)]

    def _given(self, name: str, function: ast.FunctionDef) -> list[tuple[ast.expr, ast.FunctionDef | None]]:
        """What a name of a function is set to, in it or by who calls it."""
        values: list[tuple[ast.expr, ast.FunctionDef | None]] = [
            (node.value, function) for node in ast.walk(function) if isinstance(node, ast.Assign) and name in map(_name, node.targets)]
        if name in (names := _parameters(function)):
            values += [(args[names.index(name)], where) for args, where in self._calls(function) if where is not function and names.index(name) < len(args)]
            values += [(value, None) for other, value in zip(reversed(names), reversed(function.args.defaults)) if other == name]
        return values

    def _text(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(map(self._text, node.values))
        if isinstance(node, ast.BinOp) and isinstance(node.left, (ast.Constant, ast.JoinedStr)) and isinstance(node.op, ast.Add):
            return self._text(node.left) + self._text(node.right)
        if isinstance(node, (ast.IfExp, ast.BoolOp)):
            return f"({'/'.join(filter(None, map(self._text, (node.body, node.orelse) if isinstance(node, ast.IfExp) else node.values)))})"
        if isinstance(node, ast.FormattedValue):
            known = self.constants.get(_name(node.value)) if isinstance(node.value, ast.Name) and node.value.id.isupper() else None
            text = self._text(node.value)
            if isinstance(known, ast.Constant):
                text = format(known.value, "".join(map(self._text, getattr(node.format_spec, "values", ()))))
            return f"'{text}'" if node.conversion == ord("r") else text
        return f"{{{ast.unparse(node)}}}"


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    return ((_name(target), node.value) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [one.arg for one in function.args.args if one.arg != "self"]
