"""Finding a reward function in a Python file by its parameters, without running the file."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import NamedTuple

from reward.errors import RewardConfigError

CONVENTIONAL = {"verl": "compute_score", "openai": "grade"}
"""Names of functions: verl's default, and the one that OpenAI's graders must have."""
FORMS = (
    "f(completions, **kwargs) for trl, f(solution_str, ground_truth, ...) for verl, "
    "f(sample, item) for openai"
)


class Signature(NamedTuple):
    """A function of the user's file.

    Attributes:
        required: parameters without a default, in order.
        optional: the other named parameters.
        style: `trl`, `verl`, `openai`; None if the parameters fit none of them.
    """

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    style: str | None


def find_function(
    source: str, filename: str, function: str | None, style: str, path: str
) -> Signature:
    """Find the reward function.

    Args:
        filename: name of the file, for messages.
        function: name of the function; None to search for it.
        style: calling convention, or `auto`.
        path: path of the reward, for messages.
    Returns:
        The signature of the function; its `style` is set.
    Raises:
        RewardConfigError: the file does not compile, or no function or more than one fits.
    """
    found = [_signature(node) for node in _functions(source, filename, path)]
    # The last definition of a name is the one that counts.
    by_name = {signature.name: signature for signature in found}
    if function is not None:
        return _named(by_name, function, style, filename, path)
    fitting = {
        name: signature
        for name, signature in by_name.items()
        if signature.style is not None and style in ("auto", signature.style)
    }
    usual = [name for name, entry in fitting.items() if (entry.style, name) in CONVENTIONAL.items()]
    names = usual or list(fitting)
    if len(names) == 1:
        return fitting[names[0]]
    if names:
        problem = f"several functions that could be the reward: {', '.join(names)}"
    else:
        wanted = "a known form" if style == "auto" else f"the style {style!r}"
        problem = f"no function of {wanted} ({FORMS}); its functions: {_list(by_name)}"
    raise RewardConfigError(
        f"{filename} has {problem}; name the one to use in {path}.function",
        field=f"{path}.function",
    )


def _named(
    by_name: dict[str, Signature], function: str, style: str, filename: str, path: str
) -> Signature:
    if function not in by_name:
        raise RewardConfigError(
            f"{path}.function is {function!r}, but {filename} defines no such function at its top "
            f"level; its functions: {_list(by_name)}",
            field=f"{path}.function",
        )
    signature = by_name[function]
    if style != "auto":
        return signature._replace(style=style)
    if signature.style is None:
        raise RewardConfigError(
            f"the parameters of {function} ({_list((*signature.required, *signature.optional))}) "
            f"have no known form ({FORMS}); set {path}.style",
            field=f"{path}.style",
        )
    return signature


def _functions(
    source: str, filename: str, path: str
) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    try:
        # The compiler finds more than the parser, such as a `return` outside a function.
        compile(source, filename, "exec", dont_inherit=True)
        tree = ast.parse(source, filename)
    # RecursionError and MemoryError: nested too deeply for the parser.
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # No line of the file goes into the message: `path` may name any file of the server.
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise RewardConfigError(
            f"{filename} is not valid Python: {line}{reason}; correct it or name another",
            field=f"{path}.source" if filename == f"{path}.source" else f"{path}.path",
        ) from error
    return [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Signature:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    bare = len(positional) - len(arguments.defaults)
    required = [argument.arg for argument in positional[:bare]]
    optional = [argument.arg for argument in positional[bare:]]
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        (required if default is None else optional).append(argument.arg)
    named = [argument.arg for argument in positional]
    style = next((name for name, fits in _STYLES if fits(node.name, named, required)), None)
    return Signature(node.name, tuple(required), tuple(optional), style)


_STYLES: tuple[tuple[str, Callable[[str, list[str], list[str]], bool]], ...] = (
    ("verl", lambda _, named, required: {"solution_str", "ground_truth"} <= {*named, *required}),
    ("trl", lambda _, named, required: "completions" in {*named, *required}),
    (
        "openai",
        lambda name, named, _: (
            named[:2] == ["sample", "item"] or (name == "grade" and len(named) >= 2)
        ),
    ),
)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
