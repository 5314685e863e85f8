"""Which folders a shell text makes with a plain `mkdir`.

Deployed commands begin with `mkdir /files/output && …` while their `files_up` names that folder: who
makes it beforehand breaks them. This reader is lenient, it runs nothing: it follows words, quotes,
`cd`, plain variables and nested `sh -c '…'`, and leaves out what it cannot know. Syntax as in the Shell
Command Language of POSIX, chapter 2.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

_UNKNOWN = "\0"  # stands in a word for what only a running shell knows; no real word holds a NUL
_MAX_WORD = 128 * 1024  # as long as the kernel lets an argument be, so a whole `sh -c '…'` fits
_MAX_VALUE = 4096  # keeps `A=$A$A` from growing without end
_MAX_DEPTH = 6
_MAX_BRACES = 64

_PIECE = re.compile(
    r"""
      (?P<space>(?:[ \t\r]|\\\n)+)
    | (?P<comment>(?<![^\s;&|(`])\#[^\n]*)
    | (?P<single>'[^']*'?)
    | (?P<double>"(?:[^"\\]|\\.)*"?)
    | (?P<escape>\\.)
    | (?P<open>\$\(|[<>]\(|\()
    | (?P<close>\))
    | (?P<tick>`)
    | (?P<redirect>(?:(?<![^\s;&|(`])[0-9]+)?(?:<<<|<<-?|&>>?|>>|>&|<&|>\||<>|<|>))
    | (?P<operator>[;&|\n]+)
    | (?P<name>\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[^}]*\}?|[0-9@*\#?$!-]))
    | (?P<plain>[^\s'"\\$`()<>;&|]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_DOUBLE = re.compile(
    r"\\(?P<escape>[\"\\$`])|\$\((?P<call>[^)]*)\)?|`(?P<tick>[^`]*)`?|(?P<name>\$(?:[A-Za-z_]\w*|\{[^}]*\}))",
    re.DOTALL | re.ASCII,
)
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_SHORT_OPTIONS = re.compile(r"-[A-Za-z]+.*", re.DOTALL)
_LEADERS = frozenset(
    {"if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "exec", "command", "export"}
)
_TALKERS = frozenset({"echo", "printf"})


def plain_mkdirs(text: str, env: Mapping[str, str]) -> frozenset[str]:
    """Absolute, normalised paths of the folders that `mkdir` without `-p` makes in this text.

    Names relative to a folder that is not known (the image's own, before any `cd`) are left out.
    """
    shell = _Shell(None, dict(env), 0)
    shell.read(text)
    return frozenset(shell.made)


class _Shell:
    """Reads one text; `cwd` is None where it is not known."""

    def __init__(self, cwd: str | None, names: dict[str, str], depth: int) -> None:
        self.made: set[str] = set()
        self._cwd = cwd
        self._names = names
        self._depth = depth
        self._words: list[str] = []
        self._word: str | None = None
        self._drop_next = False
        self._outer: list[tuple[str, list[str], str | None, str | None]] = []

    def read(self, text: str) -> None:
        for piece in _PIECE.finditer(text):
            kind = str(piece.lastgroup)
            literal = self._literal(kind, piece.group())
            if literal is not None:
                self._word = ((self._word or "") + literal)[:_MAX_WORD]
            else:
                self._structure(kind, piece.group())
        while self._outer:
            self._leave()
        self._end_command()

    def _literal(self, kind: str, piece: str) -> str | None:
        """What the piece adds to the word; None where it is no part of a word."""
        match kind:
            case "plain":
                return piece
            case "single":
                return piece.strip("'")
            case "double":
                return self._unquoted(piece[1:].removesuffix('"'))
            case "escape":
                return "" if piece == "\\\n" else piece[1:]
            case "name":
                return self._value(piece)
        return None

    def _structure(self, kind: str, piece: str) -> None:
        match kind:
            case "space" | "comment":
                self._end_word()
            case "redirect":
                self._end_word()
                self._drop_next = True
            case "operator":
                self._end_command()
            case "open":
                self._enter(piece)
            case "close" if self._outer:
                self._leave()
            case "close":  # the pattern of a `case`
                self._end_command()
            case "tick" if self._outer and self._outer[-1][0] == "`":
                self._leave()
            case "tick":
                self._enter(piece)

    def _enter(self, opening: str) -> None:
        self._outer.append((opening, self._words, self._word, self._cwd))
        self._words, self._word, self._drop_next = [], None, False

    def _leave(self) -> None:
        self._end_command()
        opening, self._words, word, self._cwd = self._outer.pop()
        self._word = word if opening == "(" else (word or "") + _UNKNOWN

    def _unquoted(self, text: str) -> str:
        """The content of double quotes, with what it runs read as well."""

        def replaced(part: re.Match[str]) -> str:
            if part["escape"]:
                return part["escape"]
            if part["name"]:
                return self._value(part["name"])
            self._nested(part["call"] or part["tick"] or "")
            return _UNKNOWN

        return _IN_DOUBLE.sub(replaced, text)

    def _value(self, name: str) -> str:
        return self._names.get(name.strip("${}"), _UNKNOWN)

    def _nested(self, text: str) -> None:
        if self._depth >= _MAX_DEPTH or "mkdir" not in text:
            return
        inner = _Shell(self._cwd, dict(self._names), self._depth + 1)
        inner.read(text)
        self.made |= inner.made

    def _end_word(self) -> None:
        word, self._word = self._word, None
        if word is None:
            return
        if not self._drop_next:
            self._words.append(word)
        self._drop_next = False

    def _end_command(self) -> None:
        self._end_word()
        words, self._words, self._drop_next = self._words, [], False
        while words and (words[0] in _LEADERS or self._assign(words[0])):
            words = words[1:]
        if not words or words[0] in _TALKERS:
            return
        if words[0] in {"cd", "pushd"}:
            self._cwd = _resolve(self._cwd, words[-1]) if len(words) > 1 else None
            return
        for place, word in enumerate(words):
            if posixpath.basename(word) == "mkdir":
                self._make(words[place + 1 :])
                return
            if any(char.isspace() for char in word):  # sh -c '…', bash -lc "…", eval "…"
                self._nested(word)

    def _assign(self, word: str) -> bool:
        found = _ASSIGNMENT.fullmatch(word)
        if found:
            self._names[found[1]] = found[2][:_MAX_VALUE]
        return found is not None

    def _make(self, arguments: list[str]) -> None:
        for name in _operands(arguments):
            for spelled in _braces(name):
                path = _resolve(self._cwd, spelled)
                if path is not None:
                    self.made.add(path)


def _operands(arguments: Iterable[str]) -> list[str]:
    """What `mkdir` would make; nothing if it gets `-p`, wherever that stands (getopt permutes)."""
    names: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*names, *rest]
        if argument.startswith("--"):
            if "--parents".startswith(argument):
                return []
            if "=" not in argument and "--mode".startswith(argument):
                next(rest, None)
        elif _SHORT_OPTIONS.fullmatch(argument):
            letters, has_mode, mode = argument.partition("m")
            if "p" in letters:
                return []
            if has_mode and not mode:
                next(rest, None)
        else:
            names.append(argument)
    return names


def _braces(word: str) -> Iterator[str]:
    """`a/{b,c}` as bash spells it out: some images' /bin/sh is bash."""
    words = [word]
    while len(words) < _MAX_BRACES and any(_BRACES.search(each) for each in words):
        words = [done for each in words for done in _one_brace(each)]
    yield from words


def _one_brace(word: str) -> list[str]:
    found = _BRACES.search(word)
    if not found:
        return [word]
    return [word[: found.start()] + choice + word[found.end() :] for choice in found[1].split(",")]


def _resolve(cwd: str | None, name: str) -> str | None:
    """The absolute path; None where a part of it is not known."""
    if _UNKNOWN in name or not name or name == "-":
        return None
    if not name.startswith("/"):
        if cwd is None:
            return None
        name = f"{cwd}/{name}"
    return "/" + posixpath.normpath(name).lstrip("/")
