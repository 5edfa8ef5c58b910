"""Chat templates (Jinja, as transformers renders them), and where in their output the assistant speaks.

A template is rendered with marks in the messages: private-use characters around a random number that no data can
know. Marks around each message's text say where it went; whatever looks like a control token in the data is
replaced by a mark, so that those of the template are the only ones, and put back afterwards. Marks stand inside the
blanks at a text's ends, so that templates that trim do the same as without them.
"""
import copy
import datetime
import json
import re
import secrets
from dataclasses import dataclass

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from . import RowError, UsageError

NONCE = secrets.token_hex(8)
# b7 and e7 stand around the text of message 7, [ and ] around {% generation %}, t3 is the text of control token 3.
MARK = f"\ue000{NONCE}%s\ue001"
MARK_PATTERN = f"\ue000{NONCE}([bet][0-9]+|[\\[\\]])\ue001"


class _Generation(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %}: what the assistant says, by the template's own account."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller):
        return MARK % "[" + caller() + MARK % "]"


class Environment(ImmutableSandboxedEnvironment):
    """`message.role` of a dict is its item, found without the sandbox's detours: they take most of the time."""

    def getattr(self, obj, attribute):
        if type(obj) is dict and not hasattr(dict, attribute):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


def _raise(message):
    raise jinja2.exceptions.TemplateError(message)


def _to_json(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def compile_template(source, date, environment=Environment):
    """The environment is that of transformers, with the date given instead of the clock's."""
    def now(style):
        if date is None:
            raise UsageError("the chat template writes the date; give --date YYYY-MM-DD, so that the result can be repeated")
        return datetime.datetime.fromisoformat(date).strftime(style)

    env = environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = _to_json
    env.globals.update(raise_exception=_raise, strftime_now=now)
    try:
        return env.from_string(source)
    except jinja2.exceptions.TemplateSyntaxError as e:
        raise UsageError(f"the chat template cannot be read: line {e.lineno}: {e.message}") from None


@dataclass(slots=True)
class Rendered:
    """text: what the tokenizer sees, control tokens under their private names. turns[k]: (message, start, end) of
    the assistant's turns in it, the token that ends a turn included; start None: it was not found."""
    text: str
    turns: list


class ChatTemplate:
    """control: text of a control token -> the private name under which the tokenizer knows it. special: those that
    are never data (the others, as <think>, are words that an assistant may say)."""

    def __init__(self, source, variables, control, special, date=None):
        self.template = compile_template(source, date)
        self.variables = variables
        self.generation = re.search(r"\{%-?\s*generation\s*-?%\}", source) is not None
        self.control = control
        self.special = special
        self.texts = list(control)
        self.number = {t: i for i, t in enumerate(control)}
        self.eos = variables.get("eos_token")
        names = "|".join(re.escape(t) for t in sorted(control, key=len, reverse=True))
        words = "|".join(re.escape(t) for t in sorted(special, key=len, reverse=True))
        self.find_control = re.compile(names or r"(?!)")
        self.find_special = re.compile(words or r"(?!)")
        self.find_all = re.compile(f"{MARK_PATTERN}|{names}" if names else MARK_PATTERN)
        self.prompt = self._generation_prompt()

    # ---- rendering ----

    def write(self, template, messages, tools=None, prompt=False):
        """What the compiled template writes. RowError if it fails."""
        try:
            return template.render(messages=messages, tools=tools, documents=None, add_generation_prompt=prompt,
                                        **self.variables)
        except jinja2.exceptions.TemplateError as e:
            raise RowError(f"the chat template refuses it: {e}") from None
        except UsageError:
            raise
        except Exception as e:  # a template is a program of its own
            raise RowError(f"the chat template fails on it: {type(e).__name__}: {e}") from None

    def _generation_prompt(self):
        """What the template writes in front of the assistant's words; "" if it cannot say."""
        probe = [{"role": "user", "content": "x"}]
        try:
            before, after = self.write(self.template, probe), self.write(self.template, probe, prompt=True)
        except RowError:
            return ""
        return self.scan(after[len(before):])[0] if after.startswith(before) else ""

    def _defuse(self, value, find):
        """Replaces every would-be control token in the strings of a JSON value by a mark."""
        if isinstance(value, str):
            return find.sub(lambda m: MARK % f"t{self.number[m[0]]}", value)
        if isinstance(value, list):
            return [self._defuse(v, find) for v in value]
        if isinstance(value, dict):
            return {self._defuse(k, find): self._defuse(v, find) for k, v in value.items()}
        return value

    def _safe(self, message):
        find = self.find_special if message["role"] == "assistant" else self.find_control
        return self._defuse(message, find)

    def render(self, row):
        """The Rendered of a conversation."""
        plain = [self._safe(m) for m in row.messages]
        tools = self._defuse(row.tools, self.find_control) if row.tools else None
        marked = self.write(self.template, [_mark_message(m, i) for i, m in enumerate(plain)], tools)
        text, events, controls = self.scan(marked)
        if self.scan(self.write(self.template, plain, tools))[0] != text:
            raise RowError("the chat template changes the messages' text in a way that hides where they are")
        return Rendered(text, self.turns(row.messages, text, events, controls))

    def scan(self, marked):
        """Takes out the marks, and gives control tokens their private names. Also: (mark, place) in the result for
        each mark b, e, [ and ], and (token, start, end) for each special token."""
        out, events, controls, done, size = [], [], [], 0, 0
        for m in self.find_all.finditer(marked):
            out.append(marked[done:m.start()])
            size += m.start() - done
            done = m.end()
            if m[1] is None:
                name = self.control[m[0]]
                if m[0] in self.special:
                    controls.append((m[0], size, size + len(name)))
                out.append(name)
                size += len(name)
            elif m[1][0] == "t":
                out.append(self.texts[int(m[1][1:])])
                size += len(out[-1])
            else:
                events.append((m[1], size))
        out.append(marked[done:])
        return "".join(out), events, controls

    # ---- where the assistant speaks ----

    def turns(self, messages, text, events, controls):
        """(message, start, end) of the assistant's turns in what scan returned."""
        assistants = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
        if self.generation:
            return _turns_of_blocks(assistants, events)
        first = {}  # message -> place of its first mark, and of its last
        last = {}
        for mark, place in events:
            (first.setdefault if mark[0] == "b" else last.__setitem__)(int(mark[1:]), place)
        turns, done = [], 0
        for i, message in enumerate(messages):
            if message["role"] == "assistant":
                limit = min((first[k] for k in first if k > i), default=len(text))
                turns.append((i, *self._turn(message, text, done, first.get(i), last.get(i), limit, controls)))
                done = turns[-1][2] if turns[-1][1] is not None else done
            done = max(done, last.get(i, 0))
        return turns

    def _turn(self, message, text, done, begin, end, limit, controls):
        """From after the generation prompt, or else from the message's text on, to after the token that ends the
        turn. What stands between `done` and `limit` belongs to no other message's text."""
        if begin is None and end is not None:  # the template dropped the head of the text
            begin = end
        at = text.find(self.prompt, done, limit if begin is None else begin) if self.prompt else -1
        start = begin if at < 0 else at + len(self.prompt)
        if start is None:
            return None, None
        while at < 0 and start > done and text[start - 1] == " ":  # part of the first word's token
            start -= 1
        said = end if end is not None else start
        after = [c for c in controls if said <= c[1] and c[2] <= limit]
        if message.get("tool_calls"):  # these stand between the text and the end
            after = [c for c in after if c[0] == self.eos] or after
        elif after and text[said:after[0][1]].strip():
            after = []
        return start, after[0][2] if after else said


def _turns_of_blocks(assistants, events):
    """The turns by {% generation %}: one block per message, or blocks that hold the messages' marks."""
    blocks, holds = [], []
    for mark, place in events:
        if mark == "[":
            blocks.append([place, None])
            holds.append(None)
        elif mark == "]":
            blocks[-1][1] = place
        elif blocks and blocks[-1][1] is None:
            holds[-1] = int(mark[1:])
    if len(blocks) == len(assistants):
        holds = assistants
    found = [(i, start, end) for i, (start, end) in zip(holds, blocks) if i is not None]
    return found + [(i, None, None) for i in assistants if i not in holds]


def _mark_text(text, i):
    """Marks around the text without its outer blanks; none around nothing, which templates ask for."""
    core = text.strip()
    if not core:
        return text
    at = text.index(core)
    return text[:at] + MARK % f"b{i}" + core + MARK % f"e{i}" + text[at + len(core):]


def _mark_message(message, i):
    content = message.get("content")
    if isinstance(content, str):
        return message | {"content": _mark_text(content, i)}
    if isinstance(content, list):
        message = copy.deepcopy(message)
        for part in message["content"]:
            part["text"] = _mark_text(part["text"], i)
    return message
