"""Outlines: what a chat template writes around the texts of messages, found once for all conversations of a shape.

Rendering a template takes longer than encoding what it wrote. So it is rendered with texts that watch what is done
with them (Text): they may be written, joined, stripped of blanks, and asked a few questions, which are noted with
their answers. What was written is then the outline of every conversation with the same roles, the same blanks around
its texts, and the same answers. A template that does anything else with a text is unclear, and rendered each time.
"""
from dataclasses import dataclass
from itertools import accumulate

import jinja2
from jinja2.runtime import Macro

from . import RowError
from .template import MARK, NONCE, Environment, Rendered, compile_template

HOLE = "\ue002"        # one character where a text goes
MAX_SHAPES = 4096
MAX_BRANCHES = 16      # of a shape, by the answers
SAFE_FILTERS = {"trim", "length", "count", "default", "d", "string", "first", "last", "list"}
SAFE_TESTS = {"defined", "undefined", "none", "string", "mapping", "boolean", "true", "false", "eq", "equalto", "=="}
SAFE_ARGUMENTS = (str, int, float, bool, type(None), Macro)


class Unclear(BaseException):
    """The template does something with a text that an outline cannot hold. No Exception: Jinja catches those."""


class Text(str):
    """What a template sees of a message's text: marks around a hole. content: the text itself, None if this one was
    joined or stripped; then nothing can be asked. asked: gets (message, question, arguments, answer)."""

    def __new__(cls, marked, content=None, message=None, asked=None):
        self = super().__new__(cls, marked)
        self.content, self.message, self.asked = content, message, asked
        return self

    def _ask(self, question, *arguments):
        if self.content is None or not all(type(a) is str for a in arguments):
            raise Unclear
        answer = getattr(self.content, question)(*arguments)
        self.asked.append((self.message, question, arguments, answer))
        return answer

    def _strip(self, strip, chars):
        """Blanks only: they are part of the shape."""
        if chars is not None and not (type(chars) is str and chars.isspace()):
            raise Unclear
        stripped = strip(self, chars)
        return self if stripped == str(self) else Text(stripped)

    def __bool__(self):
        return True

    def __str__(self):
        return str.__str__(self)

    def __add__(self, other):
        return Text(str.__add__(self, other))

    def __radd__(self, other):
        return Text(str.__add__(other, self))

    def __eq__(self, other):
        return isinstance(other, str) and self._ask("__eq__", other)

    def __ne__(self, other):
        return not self == other

    def __contains__(self, part):
        return self._ask("__contains__", part)

    def startswith(self, *arguments):
        return self._ask("startswith", *arguments)

    def endswith(self, *arguments):
        return self._ask("endswith", *arguments)

    def strip(self, chars=None):
        return self._strip(str.strip, chars)

    def lstrip(self, chars=None):
        return self._strip(str.lstrip, chars)

    def rstrip(self, chars=None):
        return self._strip(str.rstrip, chars)

    def split(self, separator=None, _most=-1):
        if separator in self:
            raise Unclear
        return [self]


def _unclear(*_, **__):
    raise Unclear


for _name in {*dir(str)} - {*dir(object)} | {"__lt__", "__le__", "__gt__", "__ge__", "__format__", "__repr__"}:
    if _name not in vars(Text):
        setattr(Text, _name, _unclear)
Text.__hash__ = _unclear  # __eq__ has made it None: a TypeError, which Jinja would catch


def _concat(parts):
    """Of a macro or a block: what holds a mark is watched further."""
    joined = "".join(parts)
    return Text(joined) if NONCE in joined else joined


class _Watching(Environment):
    concat = staticmethod(_concat)

    def call(self, context, function, *args, **kwargs):
        """Functions of C would look into a Text, or into what holds one, without its knowing."""
        arguments = [*args, *(a for name, a in kwargs.items() if name not in ("_loop_vars", "_block_vars"))]
        if not isinstance(function, Macro) and not all(type(a) in SAFE_ARGUMENTS for a in arguments):
            raise Unclear
        return super().call(context, function, *args, **kwargs)


def _is_clear(syntax):
    """Not what Text cannot notice: a ~ b, and a text that is looked for in another."""
    literal = (jinja2.nodes.List, jinja2.nodes.Tuple)
    looks = [(c.expr, o.expr) for c in syntax.find_all(jinja2.nodes.Compare) for o in c.ops if o.op in ("in", "notin")]
    return (next(syntax.find_all(jinja2.nodes.Concat), None) is None
            and all(isinstance(a, jinja2.nodes.Const) or isinstance(b, literal) for a, b in looks))


def _watching(source, date):
    template = compile_template(source, date, _Watching)
    env = template.environment
    env.filters = {name: f if name in SAFE_FILTERS else _unclear for name, f in env.filters.items()}
    env.tests = {name: test if name in SAFE_TESTS else _unclear for name, test in env.tests.items()}
    return template if _is_clear(env.parse(source)) else None


@dataclass
class Outline:
    """parts: what the template wrote, with holes between. holes: whose text goes there. turns: (message, start, holes
    before it, end, holes before it)."""
    parts: list
    holes: list
    turns: list

    def fill(self, cores):
        """The Rendered of a conversation whose texts, without their outer blanks, are these."""
        texts = [cores[i] for i in self.holes]
        parts = self.parts.copy()
        parts[1::2] = texts
        grown = [0, *accumulate([len(t) - 1 for t in texts])]
        return Rendered("".join(parts), [(i, None if start is None else start + grown[a], end and end + grown[b])
                                         for i, start, a, end, b in self.turns])


def _outline(text, events, turns):
    holes, parts, done = [], [], 0
    for (mark, place), (after, _) in zip(events, events[1:]):
        if mark[0] == "b" and after == "e" + mark[1:]:
            holes.append((place, int(mark[1:])))
            parts += [text[done:place], HOLE]
            done = place + 1

    def before(place):
        return 0 if place is None else sum(p < place for p, _ in holes)

    return Outline(parts + [text[done:]], [i for _, i in holes],
                   [(i, start, before(start), end, before(end)) for i, start, end in turns])


class Outlines:
    """The outlines of a ChatTemplate that were needed so far."""

    def __init__(self, chat, source, date):
        self.chat = chat
        self.template = _watching(source, date)
        self.known = {}    # shape -> [(questions, Outline or None)]
        self.heads = {text[0] for text in chat.control if text}

    def render(self, row):
        """The Rendered of a conversation."""
        shape, cores = self._shape(row) if self.template else (None, None)
        if shape is None:
            return self.chat.render(row)
        branches = self.known.get(shape)
        if branches is None:
            if len(self.known) >= MAX_SHAPES:
                self.known.clear()
            branches = self.known[shape] = []
        for questions, outline in branches:
            if all(getattr(row.messages[i]["content"], q)(*args) == answer for i, q, args, answer in questions):
                return outline.fill(cores) if outline else self.chat.render(row)
        rendered = self.chat.render(row)
        if len(branches) < MAX_BRANCHES:
            branches.append(self._branch(row, cores, rendered))
        return rendered

    def _shape(self, row):
        """(all of a conversation that is not its texts, the texts without their outer blanks), or None: messages that
        have more than a role and a text, or look like control tokens."""
        contents = [m.get("content") for m in row.messages]
        if row.tools or {*map(type, contents)} != {str} or {*map(len, row.messages)} != {2}:
            return None, None
        everything = "\0".join(contents)
        if any([head in everything for head in self.heads]) and self.chat.find_control.search(everything):
            return None, None
        roles, cores = [m["role"] for m in row.messages], [c.strip() for c in contents]
        if cores == contents and all(cores):
            return tuple(roles), cores
        return tuple((r, *(c.partition(core)[::2] if core else [c])) for r, c, core in zip(roles, contents, cores)), cores

    def _branch(self, row, cores, rendered):
        """The questions that the template asks of this conversation's texts, and the outline that it writes then; None
        if it is unclear."""
        asked, messages = [], []
        for i, (m, core) in enumerate(zip(row.messages, cores)):
            before, _, after = m["content"].partition(core) if core else (m["content"], "", "")
            marked = before + MARK % f"b{i}" + HOLE + MARK % f"e{i}" + after
            messages.append(m | {"content": Text(marked, m["content"], i, asked)} if core else m)
        try:
            marked = self.chat.write(self.template, messages)
        except (Unclear, RowError):
            return asked, None
        text, events, controls = self.chat.scan(str(marked))
        outline = _outline(text, events, self.chat.turns(row.messages, text, events, controls))
        return asked, outline if outline.fill(cores) == rendered else None
