"""Rows: what one line of a file holds, in the formats that people have.

messages   {"messages": [{"role", "content", ...}], "tools": [...]}      OpenAI, Hugging Face, Tulu
sharegpt   {"conversations": [{"from", "value"}], "system", "tools"}
alpaca     {"instruction", "input", "output", "system", "history"}
text       {"text": "..."}
"""
import json
import re
from dataclasses import dataclass, field

import orjson

from . import RowError

FORMATS = ("auto", "messages", "sharegpt", "alpaca", "text")
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
SHAREGPT_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
                  "system": "system", "tool": "tool", "observation": "tool", "function_response": "tool"}
REASONING = ("reasoning_content", "reasoning", "thinking")


@dataclass(slots=True)
class Row:
    """A conversation, or a text if there are no messages. loss[i] says whether message i is to be learned: None
    where the row does not say."""
    messages: list = field(default_factory=list)
    loss: list = field(default_factory=list)
    tools: list | None = None
    text: str | None = None
    source: str = ""


def parse(line, style, text_field):
    """The Row of a line of JSON (bytes)."""
    try:
        value = _quickly(line) or json.loads(line.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as e:
        raise RowError(f"not UTF-8 (byte {e.start + 1} of the line)") from None
    except ValueError as e:
        raise RowError(f"not JSON: {e}") from None
    except RecursionError:
        raise RowError("nested too deeply") from None
    if not isinstance(value, dict):
        raise RowError("not a JSON object")
    row = _READERS[_style(value, text_field) if style == "auto" else style](value, text_field)
    source = value.get("source")
    row.source = source if isinstance(source, str) else ""
    return row


def _quickly(line):
    """By orjson, which does not see that a key stands twice: only objects that hold lists of flat ones at most, and as
    many keys as the line has `":`. Otherwise None, and json says what is wrong, if anything is."""
    try:
        value = orjson.loads(line)
    except ValueError:
        return None
    if type(value) is not dict or _LOOSE_KEY.search(line):
        return None
    keys = len(value)
    for v in value.values():
        if type(v) is list:
            keys += sum([len(m) for m in v if type(m) is dict])
    return value if keys == line.count(b'":') else None


_LOOSE_KEY = re.compile(rb'"[ \t\r\n]+:')


def _object(pairs):
    """json's dict, without duplicate keys."""
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise RowError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} stands twice in an object")
    return value


def _style(value, text_field):
    if "messages" in value:
        return "messages"
    if "conversations" in value:
        return "sharegpt"
    if "instruction" in value:
        return "alpaca"
    if text_field in value:
        return "text"
    raise RowError(f'none of the keys "messages", "conversations", "instruction" and "{text_field}"')


def _string(value, what):
    if not isinstance(value, str):
        raise RowError(f"{what} is not a string")
    return value


def _tools(value):
    tools = value.get("tools")
    if isinstance(tools, str) and tools.strip():
        try:
            tools = json.loads(tools)
        except ValueError as e:
            raise RowError(f'"tools" is not JSON: {e}') from None
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(t, dict) for t in tools):
        raise RowError('"tools" is not a list of objects')
    return tools


def _content(content, what):
    """A string, null (tool calls only), or a list of text parts."""
    if content is None:
        return
    if not isinstance(content, list):
        _string(content, what)
        return
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise RowError(f"{what} has a part that is not text")
        _string(part.get("text"), f"a part of {what}")


def _message(row, message, i):
    if not isinstance(message, dict):
        raise RowError(f"message {i} is not an object")
    role, loss = message.get("role"), message.get("loss")
    if role not in ROLES:
        raise RowError(f"message {i} has the role {role!r}; there are {', '.join(ROLES)}")
    if "content" not in message and not message.get("tool_calls"):
        raise RowError(f'message {i} has no "content"')
    _content(message.get("content"), f'"content" of message {i}')
    if loss is not None and (loss not in (0, 1) or isinstance(loss, float)):
        raise RowError(f'"loss" of message {i} is {loss!r}; expected true, false, 1 or 0')
    if loss and role != "assistant":
        raise RowError(f'message {i}: "loss" of a {role} message; only those of the assistant can be learned')
    message = {key: value for key, value in message.items() if key != "loss"}
    thought = next((message[key] for key in REASONING if isinstance(message.get(key), str)), None)
    if thought is not None:  # as transformers: templates differ in the name that they read
        message.update({key: thought for key in REASONING})
    row.messages.append(message)
    row.loss.append(None if loss is None else bool(loss))


def _are_plain(messages):
    """Whether each has a role and a text, and nothing else."""
    for m in messages:
        if not (type(m) is dict and len(m) == 2 and m.get("role") in ROLES and type(m.get("content")) is str):
            return False
    return True


def _from_messages(value, _):
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RowError('"messages" is not a list of messages, at least one')
    row = Row(tools=_tools(value) if "tools" in value else None)
    if _are_plain(messages):
        row.messages, row.loss = messages, [None] * len(messages)
        return row
    for i, message in enumerate(messages):
        _message(row, message, i)
    return row


def _from_sharegpt(value, _):
    turns = value.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise RowError('"conversations" is not a list of turns, at least one')
    row = Row(tools=_tools(value))
    if value.get("system"):
        _message(row, {"role": "system", "content": value["system"]}, "system")
    for i, turn in enumerate(turns):
        if not isinstance(turn, dict) or "from" not in turn or "value" not in turn:
            raise RowError(f'turn {i} is not {{"from": ..., "value": ...}}')
        if not isinstance(turn["from"], str) or turn["from"] not in SHAREGPT_ROLES:
            raise RowError(f'turn {i} is from {turn["from"]!r}; known are {", ".join(SHAREGPT_ROLES)}')
        message = {"role": SHAREGPT_ROLES[turn["from"]], "content": turn["value"]}
        _message(row, message | ({"loss": turn["loss"]} if "loss" in turn else {}), i)
    return row


def _from_alpaca(value, _):
    row = Row()
    instruction = _string(value.get("instruction"), '"instruction"')
    extra = _string(value.get("input") or "", '"input"')
    history = value.get("history") or []
    if not isinstance(history, list) or not all(isinstance(h, list) and len(h) == 2 for h in history):
        raise RowError('"history" is not a list of [question, answer]')
    if value.get("system"):
        _message(row, {"role": "system", "content": value["system"]}, "system")
    for question, answer in history + [[instruction + ("\n" + extra if extra else ""), value.get("output")]]:
        _message(row, {"role": "user", "content": _string(question, "a question")}, "user")
        _message(row, {"role": "assistant", "content": _string(answer, '"output", or an answer,')}, "assistant")
    return row


def _from_text(value, text_field):
    if text_field not in value:
        raise RowError(f'no key "{text_field}"')
    return Row(text=_string(value[text_field], f'"{text_field}"'))


_READERS = {"messages": _from_messages, "sharegpt": _from_sharegpt, "alpaca": _from_alpaca, "text": _from_text}
