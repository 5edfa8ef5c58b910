"""Conversations and texts to token ids and loss masks.

The ids are those of transformers' apply_chat_template(tokenize=True), with one difference: what stands in the data
is never a control token. To that end the tokenizer is loaded with its control tokens renamed: only their private
names, which no data can hold, are the tokens.
"""
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from . import RowError, UsageError, encoders
from .outlines import Outlines
from .template import NONCE, ChatTemplate

BUILT_IN = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Settings:
    """What decides how a row becomes tokens."""
    tokenizer: str            # folder with tokenizer.json
    template: str = ""        # file, or name of one in templates/; "": the tokenizer's own
    template_args: dict = field(default_factory=dict)
    date: str | None = None   # for templates that write it
    train_on_prompt: bool = False
    mask_history: bool = False
    max_length: int = 0       # tokens of a conversation; 0: no limit
    too_long: str = "turns"   # what happens to longer ones: turns, cut, drop
    eos: str = ""             # ends a text; "": the tokenizer's own
    encoder: str = "auto"     # or tokenizers


@dataclass(slots=True)
class Sample:
    """Ids and loss mask of a row. ids is empty if the row is left out, and `why` says so."""
    ids: np.ndarray
    loss: bytearray
    why: str = ""             # "long", "untrained" or ""
    shortened: bool = False


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as e:
        raise UsageError(f"{path}: not JSON: {e}") from None


def _words(config):
    """bos_token and the like, which may be strings or objects."""
    words = {key: v["content"] if isinstance(v, dict) else v for key, v in config.items()
             if key.endswith("_token") and isinstance(v, (str, dict))}
    return {key: v for key, v in words.items() if isinstance(v, str)}


def _template_source(settings, folder, config):
    name = settings.template
    if name:
        path = Path(name) if Path(name).is_file() else BUILT_IN / f"{name}.jinja"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in BUILT_IN.glob("*.jinja")))
            raise UsageError(f"--chat-template {name}: no such file, and not one of {known}")
        return path.read_text(encoding="utf-8")
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    source = config.get("chat_template")
    if isinstance(source, list):  # several, by name
        source = {t["name"]: t["template"] for t in source}.get("default")
    return source


def private_tokenizer(described, control):
    """The tokenizer of a tokenizer.json (parsed), with control tokens under private names: text -> name."""
    names = {text: f"\ue000{NONCE}c{i}\ue001" for i, text in enumerate(control)}
    vocab, unknown = described["model"]["vocab"], described["model"].get("unk_token")
    model = described["model"] | {
        "vocab": ({names.get(t, t): i for t, i in vocab.items()} if isinstance(vocab, dict) else
                  [[names.get(t, t), score] for t, score in vocab])}
    if unknown in names:
        model["unk_token"] = names[unknown]
    added = [token | {"content": names.get(token["content"], token["content"])} for token in described["added_tokens"]]
    described = described | {"added_tokens": added, "model": model, "post_processor": None, "truncation": None,
                             "padding": None}
    return Tokenizer.from_str(json.dumps(described)), names


class Encoder:
    def __init__(self, settings):
        self.settings = settings
        folder = Path(settings.tokenizer)
        folder, path = (folder.parent, folder) if folder.is_file() else (folder, folder / "tokenizer.json")
        if not path.exists():
            raise UsageError(f"{path}: no such file; --tokenizer wants a folder with tokenizer.json")
        described, config = _read_json(path), _read_json(folder / "tokenizer_config.json")
        try:
            self.public = Tokenizer.from_file(str(path))
        except Exception as e:
            raise UsageError(f"{path}: not a tokenizer of Hugging Face's tokenizers: {e}") from None
        words = _words(_read_json(folder / "special_tokens_map.json") | config)
        source = _template_source(settings, folder, config)
        special, control = self._control(described, config, source or "", path)
        self.private, names = private_tokenizer(described, control)
        self.tokens, self.why_slow = encoders.choose(self.private, settings.encoder)
        self.reference = encoders.Tokenizers(self.private)
        self.chat = source and ChatTemplate(source, words | settings.template_args, names, special, settings.date)
        self.outlines = source and Outlines(self.chat, source, settings.date)
        self.bos = self.public.encode("", add_special_tokens=True).ids
        self.eos = self._eos(settings.eos or words.get("eos_token"))
        self.vocab = max(self.public.get_vocab(with_added_tokens=True).values()) + 1  # ids may have holes
        name = re.sub("[^!-~]", "_", folder.resolve().name)  # token files name it in ASCII
        self.name = f"{name[:40]} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        self.template_hash = hashlib.sha256((source or "").encode()).hexdigest()

    @staticmethod
    def _control(described, config, source, path):
        """The special tokens; and all control tokens: these, and the markup that the template writes, as <think>."""
        added = {t["content"]: t["special"] for t in described["added_tokens"]}
        for token in config.get("added_tokens_decoder", {}).values():
            if token["content"] not in added:
                raise UsageError(f"{path}: lacks {token['content']!r}, which tokenizer_config.json has; save the "
                                 "tokenizer again with transformers")
            added[token["content"]] |= bool(token.get("special"))
        special = {text for text, is_special in added.items() if is_special}
        return special, [t for t in added if t in special or (t.strip() and t in source)]

    def _eos(self, text):
        if not text:
            return []
        number = self.public.token_to_id(text)
        if number is None:
            raise UsageError(f"{text!r} is not a token of the tokenizer; say with --eos which one ends a text")
        return [number]

    def encode(self, rows, in_full=False):
        """A Sample, or the RowError, of each row. in_full: without outlines and fastokens, to check them."""
        in_full = in_full or self.settings.encoder == "tokenizers"
        out, texts, kept = [None] * len(rows), [], []
        for k, row in enumerate(rows):
            try:
                rendered = _Text(row.text) if row.text is not None else self._render(row, in_full)
                if not rendered.text.isascii():
                    rendered.text.encode("utf-8")
                texts.append(rendered.text)
                kept.append((k, rendered.turns))
            except UnicodeEncodeError:
                out[k] = RowError("holds half of a surrogate pair, which is no text")
            except RecursionError:
                out[k] = RowError("nested too deeply")
            except RowError as e:
                out[k] = e
        spans = [[(start, end) for _, start, end in turns if start is not None] for _, turns in kept]
        for (k, turns), (ids, places) in zip(kept, (self.reference if in_full else self.tokens).encode(texts, spans)):
            try:
                out[k] = self._text(ids) if rows[k].text is not None else self._chat(rows[k], ids, turns, places)
            except RowError as e:
                out[k] = e
        return out

    def _render(self, row, in_full):
        if not self.chat:
            raise UsageError("the tokenizer has no chat template; give one with --chat-template (chatml, tulu or a file)")
        return (self.chat if in_full else self.outlines).render(row)

    def _text(self, ids):
        if not len(ids):
            return Sample(ids, bytearray(), "untrained")
        ids = np.concatenate([np.array(self.bos, np.int32), ids, np.array(self.eos, np.int32)])
        return _finish(Sample(ids, bytearray(b"\1" * len(ids))))

    def _is_asked(self, messages, i):
        """Whether message i is one to learn: the assistant's, or only its last one."""
        return messages[i]["role"] == "assistant" and not (
            self.settings.mask_history and any(m["role"] == "assistant" for m in messages[i + 1:]))

    def _chat(self, row, ids, turns, places):
        places = iter(places)
        everything, ends = self.settings.train_on_prompt, []
        loss = bytearray((b"\1" if everything else b"\0") * len(ids))
        for i, start, _ in turns:
            wanted = row.loss[i] is not False and self._is_asked(row.messages, i)
            if start is None:
                if wanted and not everything:
                    raise RowError(f"message {i}: its place in the chat template's text was not found (it has no text, "
                                   "and the template no {% generation %}); say \"loss\": false there")
                continue
            a, b = next(places)
            ends.append(b)
            if not everything:
                loss[a:b] = (b"\1" if wanted else b"\0") * (b - a)
            elif row.loss[i] is False:
                loss[a:b] = bytes(b - a)
        return _finish(self._shorten(Sample(ids, loss), ends))

    def _shorten(self, sample, ends):
        limit, how = self.settings.max_length, self.settings.too_long
        if not limit or len(sample.ids) <= limit:
            return sample
        fits = limit if how == "cut" else max((e for e in ends if e <= limit), default=0) if how == "turns" else 0
        if fits == 0:
            return Sample(sample.ids[:0], bytearray(), "long")
        return Sample(sample.ids[:fits], sample.loss[:fits], shortened=True)


@dataclass
class _Text:
    text: str
    turns: list = field(default_factory=list)


def equal(one, other):
    """Whether a row became the same: Samples or RowErrors."""
    if isinstance(one, RowError) or isinstance(other, RowError):
        return str(one) == str(other)
    return np.array_equal(one.ids, other.ids) and one.loss == other.loss and one.why == other.why


def _finish(sample):
    """Nothing precedes a document's first token, so it is no target."""
    if len(sample.ids):
        sample.loss[0] = 0
        if 1 not in sample.loss:
            return Sample(sample.ids[:0], bytearray(), "untrained")
    return sample
