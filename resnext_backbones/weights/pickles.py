"""Reads pickles as data: nothing that they name is imported, and nothing of it is called.

A pickle is a list of instructions for a stack. Here they are followed one by one; where one names
or calls something, what comes of it is an inert value, unless a table of this package's own
functions has that name. Training programs leave their arguments, paths and enumerations beside
weights: these are read past.
"""

from __future__ import annotations

import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_INSTRUCTIONS = 2_000_000
"""A detector's checkpoint with its optimiser has less than a tenth of it. What one instruction
makes can take some hundred bytes of memory."""

MOST_INERT = 100_000
"""Inert values are larger than others."""

RUNS_CODE = re.compile(
    r"(?:os|nt|posix|subprocess|commands|pty|runpy|importlib|imp|ctypes|code|codeop|webbrowser|timeit"
    r"|_?pickle|cPickle|dill|cloudpickle|joblib|marshal|pip|pdb|bdb)\."
    r"(?!(?:stat_result|terminal_size|PathLike|ModuleSpec|CompletedProcess)$).*"
    r"|builtins\.(?:eval|exec|execfile|compile|open|input|__import__|breakpoint|globals|locals|vars"
    r"|setattr|delattr)|_?operator\.(?:attrgetter|methodcaller)|types\.(?:Code|Function|Method)Type"
    r"|torch\.(?:(?:hub\.|jit\.)?load|utils\.cpp_extension\..*|(?:classes|ops)\.load_library)"
    r"|numpy\.load|shutil\.rmtree"
)
"""A file that names one of these was made to do harm. It could not, and it is refused."""

PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}

Calls = Mapping[str, Callable[..., Any]]
Persistent = Callable[[Any], Any]


class RefusedError(ValueError):
    """Says that a file names what could run code, or claims more than it holds."""


@dataclass(frozen=True, slots=True)
class Name:
    """Stands for a class or a function that a pickle names."""

    text: str

    def __str__(self) -> str:
        return self.text


class Inert(dict[Any, Any]):
    """Stands for an object that was not built, with what it was to be built of.

    Its items are those of a mapping or a list; `args` are its arguments, and `state` its
    attributes.
    """

    __slots__ = ("args", "name", "state")
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, name: str, args: tuple[Any, ...] = (), items: Any = ()) -> None:
        super().__init__(items)
        self.name, self.args, self.state = name, args, None

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<{self.name}, not built>"


def _outside(_: Any) -> Any:
    raise RefusedError("a reference to something outside of it")


def read_pickle(data: Any, calls: Calls | None = None, persistent: Persistent = _outside) -> Any:
    """Returns what the pickle that begins here holds, and leaves `data` behind its end.

    Args:
        data: has `read` and `readline`.
        calls: functions, by the names in a pickle that mean them.
        persistent: what a reference to something outside of the pickle means.

    Raises RefusedError where it names a function that runs code, or has too many instructions, and
    anything where it is damaged.
    """
    return _Machine(calls or {}, persistent).run(data)


PUSHED = re.compile(
    r"(?:BIN)?INT[12]?|LONG[14]?|(?:BIN)?FLOAT|(?:BIN|SHORT_BIN)?(?:STRING)|BYTEARRAY8"
    r"|(?:SHORT_)?BIN(?:UNICODE|BYTES)8?|UNICODE"
)
"""The argument of these instructions is their value."""

CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
IGNORED = frozenset({"PROTO", "FRAME"})


class _Machine:
    """Follows the instructions of one pickle."""

    def __init__(self, calls: Calls, persistent: Persistent) -> None:
        self._calls, self._persistent = calls, persistent
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # what is under the marks
        self._memo: dict[int, Any] = {}
        self._inert = 0

    def run(self, data: Any) -> Any:
        for number, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            if number > MOST_INSTRUCTIONS:
                raise RefusedError(f"more than {MOST_INSTRUCTIONS} pickle instructions")
            name = instruction.name
            if PUSHED.fullmatch(name):
                self._stack.append(argument)
            elif name in CONSTANTS:
                self._stack.append(CONSTANTS[name])
            elif name in EMPTY:
                self._stack.append(EMPTY[name]())
            elif name == "STOP":
                return self._stack.pop()
            elif name not in IGNORED:
                FOLLOWED.get(name, _Machine._unknown)(self, argument)
        raise ValueError("it is truncated")

    def _unknown(self, _: Any) -> None:
        raise RefusedError("an instruction that refers to something outside of it")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _drop(self, _: Any) -> None: ...

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _put(self, place: Any) -> None:
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Inert):
            target.update(enumerate(items, len(target)))
        else:
            raise ValueError(f"items of a {type(target).__name__}")

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise ValueError(f"items of a {type(target).__name__}")
        target.update(_pairs(zip(items[::2], items[1::2], strict=True)))

    def _dict(self, _: Any) -> None:
        items = self._to_mark()
        self._stack.append({})
        self._set(items)

    def _named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        text = f"{PYTHON_2.get(module, module)}.{name}"
        if RUNS_CODE.fullmatch(text) and text not in self._calls:
            raise RefusedError(f"{text}, which could run code")
        self._stack.append(Name(text))

    def _call(self, function: Any, args: Any, more: Any = None) -> None:
        args = args if isinstance(args, tuple) else (args,)
        if isinstance(function, Name) and function.text in self._calls and not more:
            self._stack.append(self._calls[function.text](*args))
            return
        self._inert += 1
        if self._inert > MOST_INERT:
            raise RefusedError(f"more than {MOST_INERT} objects beside its tensors")
        self._stack.append(Inert(getattr(function, "name", None) or str(function), args))

    def _call_from_mark(self, function: Any) -> None:
        args = self._to_mark()
        if function is None:
            function, *args = args
        else:
            self._named(*function.split(" ", 1))
            function = self._stack.pop()
        self._call(function, tuple(args))

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif hasattr(target, "build"):
            target.build(state)
        elif isinstance(target, OrderedDict) and isinstance(state, dict):
            # torch's versions of modules, by which these read older names.
            target._metadata = state.get("_metadata", {})  # type: ignore[attr-defined]
        elif not isinstance(target, dict) and not _attributes(state):
            raise RefusedError(f"a {type(target).__name__} that is changed after it was made")

    def _pops(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        if len(items) != count:
            raise ValueError("an instruction without its arguments")
        del self._stack[-count:]
        return items


FOLLOWED: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine._mark,
    "POP": _Machine._pop,
    "POP_MARK": lambda m, _: m._drop(m._to_mark()),
    "DUP": lambda m, _: m._push(m._stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, i: m._push(m._memo[i])),
    "TUPLE1": lambda m, _: m._push(tuple(m._pops(1))),
    "TUPLE2": lambda m, _: m._push(tuple(m._pops(2))),
    "TUPLE3": lambda m, _: m._push(tuple(m._pops(3))),
    "TUPLE": lambda m, _: m._push(tuple(m._to_mark())),
    "LIST": lambda m, _: m._push(m._to_mark()),
    "FROZENSET": lambda m, _: m._push(m._to_mark()),
    "DICT": _Machine._dict,
    "APPEND": lambda m, _: m._append(m._pops(1)),
    "APPENDS": lambda m, _: m._append(m._to_mark()),
    "ADDITEMS": lambda m, _: m._append(m._to_mark()),
    "SETITEM": lambda m, _: m._set(m._pops(2)),
    "SETITEMS": lambda m, _: m._set(m._to_mark()),
    "GLOBAL": lambda m, text: m._named(*text.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m._named(*m._pops(2)),
    "REDUCE": lambda m, _: m._call(*m._pops(2)),
    "NEWOBJ": lambda m, _: m._call(*m._pops(2)),
    "NEWOBJ_EX": lambda m, _: m._call(*m._pops(3)),
    "INST": _Machine._call_from_mark,
    "OBJ": _Machine._call_from_mark,
    "BUILD": _Machine._build,
    "PERSID": lambda m, text: m._push(m._persistent(text)),
    "BINPERSID": lambda m, _: m._push(m._persistent(*m._pops(1))),
}
"""What the other instructions do."""


def _pairs(pairs: Any) -> dict[Any, Any]:
    """Returns a mapping whose keys are plain: to compare others, nested ones, can take for ever."""
    plain = (str, int, float, bytes, type(None))
    return {k if isinstance(k, plain) else Inert("a key", (k,)): value for k, value in pairs}


def _attributes(state: Any) -> bool:
    return isinstance(state, dict) or (isinstance(state, tuple) and all(map(_attributes, state)))


def _ordered(*args: Any) -> OrderedDict[Any, Any]:
    """Returns what `OrderedDict` and its like make of a mapping or of pairs, the last argument."""
    given = args[-1] if args else ()
    if isinstance(given, Mapping):
        return OrderedDict(given)
    return OrderedDict(_pairs(given) if isinstance(given, list | tuple) else {})


PLAIN: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        (
            "collections.OrderedDict",
            "collections.defaultdict",
            "collections.Counter",
            "builtins.dict",
        ),
        _ordered,
    ),
    "builtins.list": lambda items=(): list(items) if isinstance(items, list | tuple) else [],
}
"""Python's own containers."""
