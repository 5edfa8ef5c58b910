"""Texts to ids, and stretches of a text to the tokens that hold them. tokenizers says what is right; fastokens is
used where it gives the same ids, and for those texts whose bytes its tokens account for one by one.

An encoder has a name, and encode(texts, spans): for each text (ids, places); spans[k] are (start, end) in characters
of text k, and a place is (first token that reaches beyond start, first token that begins at or behind end).
"""
import importlib.metadata
import json
import unicodedata
from bisect import bisect_left, bisect_right

import numpy as np

AWKWARD = """'s 'S 'll'LL ’s I'm\u212a\u017f\u0130\u0131 e\u0301 a\u030a\u0323 \u1e9b\u0323 \u212b \ufb01 ½ ² Ⅷ ٣٤٥ ९ 1234567 3.14
नमस्ते ไทยำ 가\u1100\u1161\u11a8 你好，世界。日本語 😀 👋🏽 👨\u200d👩\u200d👧 🇩🇪 \ufeff\u200b\u00a0\u2028\u3000\u0085\x0b\x0c\x00\x7f
\t\tif a<=b:\r\n        return  x  \n\n\n   \n ... --- !!!??? ```__init__``` http://a.b/c?d=e%20f camelCase mIxEd ÀÉÎõü ß
<|im_start|>user<|im_end|> <|endoftext|></s><s>[INST] <think></think> <| |> <unk>    \ue000 \U0001fae8 \U000e0001\U0010ffff """


class Tokenizers:
    """The reference, for tokenizers of any kind."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.name = _version("tokenizers")

    def encode(self, texts, spans):
        out = []
        for found, wanted in zip(self.tokenizer.encode_batch(texts, add_special_tokens=False), spans):
            offsets = found.offsets if wanted else ()
            out.append((np.array(found.ids, np.int32),
                        [(bisect_right(offsets, start, key=lambda o: o[1]), bisect_left(offsets, end, key=lambda o: o[0]))
                         for start, end in wanted]))
        return out


class Unsupported(Exception):
    """Why fastokens is not used."""


class Fastokens:
    """For byte-level BPE: the tokens of a text are its bytes, so that their lengths say where each stands."""

    def __init__(self, tokenizer):
        try:
            import fastokens
        except ImportError:
            raise Unsupported("fastokens is not installed") from None
        text = tokenizer.to_str()
        described = json.loads(text)
        if not _is_byte_level(described):
            raise Unsupported("not byte-level BPE")
        try:
            self.fast = fastokens.Tokenizer.from_json_str(text)
        except Exception as e:
            raise Unsupported(f"fastokens refuses it: {e}") from None
        self.name = _version("fastokens")
        self.reference = Tokenizers(tokenizer)
        self.normalizes = described["normalizer"] is not None
        self.width = _widths(tokenizer, described)

    def encode(self, texts, spans):
        try:
            ids, bounds = self.fast.encode_batch_flat(texts)
        except Exception:  # it has limits of its own, as on what a regular expression may take
            return self.reference.encode(texts, spans)
        ids = np.frombuffer(ids, np.uint32).astype(np.int32)
        bounds = np.frombuffer(bounds, np.uint64).astype(np.int64)
        begins = np.concatenate([[0], np.cumsum(self.width[ids])])  # of each token, in bytes of all texts
        sizes = np.array([len(t) if t.isascii() else len(t.encode()) for t in texts], np.int64)
        known = (np.diff(begins[bounds]) == sizes).tolist()
        places, at, out = self._places(texts, spans, begins, bounds), 0, []
        bounds = bounds.tolist()
        for k, (text, wanted) in enumerate(zip(texts, spans)):
            if known[k] and not (self.normalizes and _changes(text)):
                out.append((ids[bounds[k]:bounds[k + 1]], places[at:at + len(wanted)]))
            else:
                out += self.reference.encode([text], [wanted])
            at += len(wanted)
        return out

    @staticmethod
    def _places(texts, spans, begins, bounds):
        """The place of every span."""
        starts, ends = [], []
        for text, wanted, base in zip(texts, spans, begins[bounds[:-1]].tolist()):
            for start, end in wanted:
                starts.append(base + (start if text.isascii() else len(text[:start].encode())))
                ends.append(base + (end if text.isascii() else len(text[:end].encode())))
        first = np.repeat(bounds[:-1], [len(wanted) for wanted in spans])
        a = np.searchsorted(begins, starts, "right") - 1 - first
        b = np.searchsorted(begins, ends, "left") - first
        return list(zip(a.tolist(), b.tolist()))


def choose(tokenizer, wanted="auto"):
    """(encoder, why it is not fastokens). wanted: auto, or tokenizers."""
    if wanted == "tokenizers":
        return Tokenizers(tokenizer), "as asked"
    try:
        fast = Fastokens(tokenizer)
        _compare(fast, tokenizer)
        return fast, ""
    except Unsupported as e:
        return Tokenizers(tokenizer), str(e)


def _compare(fast, tokenizer):
    """Awkward texts, all added tokens, and the characters of the Basic Multilingual Plane but most of CJK's and
    Hangul's: versions of Unicode differ in which of them are letters."""
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    texts = [AWKWARD, *(f"a{t} {t}b{t}" for t in added)]
    spans = [[(i, i + 1 + i % 3) for i in range(len(t) - 3)] for t in texts]
    letters = [chr(c) for part in ((0, 0x3500), (0x9f00, 0xad00), (0xd700, 0xd800), (0xf900, 0x10000)) for c in range(*part)]
    texts += ["".join(f"a{c}'s" for c in letters[k:k + 64]) for k in range(0, len(letters), 64)]
    spans += [[]] * (len(texts) - len(spans))
    for text, found, right in zip(texts, fast.encode(texts, spans), fast.reference.encode(texts, spans)):
        if found[0].tolist() != right[0].tolist() or found[1] != right[1]:
            raise Unsupported(f"fastokens and tokenizers differ on {ascii(text)[:80]}")


def _version(package):
    return f"{package} {importlib.metadata.version(package)}"


def _is_byte_level(described):
    pre = described["pre_tokenizer"] or {}
    steps = pre.get("pretokenizers", [pre])
    return (described["model"]["type"] == "BPE" and not described["model"].get("byte_fallback")
            and (described["normalizer"] or {"type": "NFC"})["type"] == "NFC"
            and any(s.get("type") == "ByteLevel" for s in steps) and not any(s.get("add_prefix_space") for s in steps))


def _widths(tokenizer, described):
    """Bytes of each id: the model writes a byte as one character, added tokens stand for themselves."""
    vocab = described["model"]["vocab"]
    width = np.zeros(max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1, np.int64)
    width[list(vocab.values())] = [len(token) for token in vocab]
    for token in described["added_tokens"]:
        width[token["id"]] = len(token["content"].encode())
    return width


def _changes(text):
    return not text.isascii() and not unicodedata.is_normalized("NFC", text)
