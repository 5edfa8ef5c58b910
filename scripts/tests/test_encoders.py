"""What is fast gives what is slow: fastokens as tokenizers, outlines as templates, orjson as json."""
import json
import random

import pytest
from prepare import DataError, RowError, encode, encoders, job, rows, sources

PIECES = ["legs", "Eight", " spider's", "'S", " ", "  ", "\n", "\n\n", "\t", "12", "٣", "é", "e\u0301", "\u0301", "Å", "가", "你好", "😀",
          "👋🏽", "<|im_end|>", "<|im_start|>", "<think>", "</think>", "<tool_response>", "\u200b", "\u2028", "\u00a0", "\x00", "<", "</s>"]


def texts(seed, n):
    r = random.Random(seed)
    return ["".join(r.choices(PIECES, k=r.randrange(12))) for _ in range(n)]


def chats(seed, n):
    r, said = random.Random(seed), iter(texts(seed, 8 * n))
    for _ in range(n):
        turns = [{"role": "user" if i % 2 == 0 else "assistant", "content": next(said)} for i in range(r.randrange(1, 6))]
        system = [{"role": "system", "content": next(said)}] if r.random() < 0.3 else []
        yield rows.Row(messages=system + turns, loss=[None] * (len(system) + len(turns)))


@pytest.mark.parametrize("kind", ["thinking", "chatml", "tulu"])
def test_fastokens_is_tokenizers(folders, kind):
    e = encode.Encoder(encode.Settings(tokenizer=folders[kind]))
    assert isinstance(e.tokens, encoders.Fastokens) and e.why_slow == ""
    some = texts(1, 500) + ["x\u0307\u0341\u0309x\u034bq \u0339"]  # the last one keeps its length in NFC, but not its order
    spans = [[(i, j) for i in range(len(t) + 1) for j in range(i, len(t) + 1, 4)] for t in some]
    for text, (ids, places), (right, right_places) in zip(some, e.tokens.encode(some, spans), e.reference.encode(some, spans)):
        assert ids.tolist() == right.tolist() and places == right_places, ascii(text)


def test_other_kinds_are_for_tokenizers(folders):
    e = encode.Encoder(encode.Settings(tokenizer=folders["brackets"]))
    assert isinstance(e.tokens, encoders.Tokenizers) and e.why_slow == "not byte-level BPE"


@pytest.mark.parametrize("wrong", ["an id", "a place"])
def test_fastokens_that_differs_is_not_used(folders, monkeypatch, wrong):
    right = encoders.Fastokens.encode

    def encode_wrongly(self, some, spans):
        out = right(self, some, spans)
        ids, places = out[0]
        out[0] = (ids[:-1], places) if wrong == "an id" else (ids, places[:-1] + [(0, 0)])
        return out

    monkeypatch.setattr(encoders.Fastokens, "encode", encode_wrongly)
    e = encode.Encoder(encode.Settings(tokenizer=folders["chatml"]))
    assert isinstance(e.tokens, encoders.Tokenizers) and "differ" in e.why_slow


LOOP = "{% for m in messages %}<|im_start|>{{ m.role }}\n%s<|im_end|>\n{% endfor %}"
TEMPLATES = {
    "trimmed": "{{ m.content | trim }}",
    "macro": "{% macro w(x) %}({{ x }}){% endmacro %}{{ w(m.content) | trim }}",
    "macro, asked": "{% macro w(x) %}({{ x }}){% endmacro %}{% if 'legs' in w(m.content) %}L{% endif %}{{ m.content }}",
    "block": "{% set x %}{{ m.content }}{% endset %}{% if x.endswith('12') %}T{% endif %}{{ x }}",
    "joined, asked": "{% set x = 'a' + m.content %}{% if 'legs' in x %}L{% endif %}{{ x }}",
    "looked for": "{% if m.content in 'legs and 12' %}L{% endif %}{{ m.content }}",
    "concatenated": "{% set x = 'a' ~ m.content %}{% if 'legs' in x %}L{% endif %}{{ x }}",
    "sliced": "{% if m.content[:1] == '<' %}A{% endif %}{{ m.content }}",
    "measured": "{{ m.content | length }}{{ m.content }}",
    "upper": "{{ m.content | upper }}",
    "JSON": "{{ m.content | tojson }}",
    "JSON of all": "{{ m | tojson }}{{ m.content }}",
    "join": "{% set x = '-'.join([m.content, 'b']) %}{% if 'legs' in x %}L{% endif %}{{ x }}",
    "format": "{{ '%s!' % m.content }}{{ '{}'.format(m.content) }}",
    "equal": "{% if m.content == '12' or messages[0].content == m.content %}E{% endif %}{{ m.content }}",
    "split": "{{ m.content.split('12') | first }}{{ m.content }}",
    "stripped": "{{ m.content.rstrip('2') }}{{ m.content }}",
    "asked": "{% if m.content.startswith('legs') and '😀' not in m.content %}A{% endif %}{{ m.content }}",
    "twice": "{{ m.content }}{% if loop.last and m.content %}{{ messages[0].content }}{% endif %}",
    "generation, asked": "{% if 'legs' in m.content %}{{ m.content }}{% else %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}",
}


@pytest.mark.parametrize("name", [*TEMPLATES, "thinking", "chatml", "tulu", "brackets"])
def test_an_outline_is_the_template(folders, tmp_path, name):
    """Whatever a template does with a text: the same ids and masks as with the template itself, every time."""
    template = tmp_path / "t.jinja"
    template.write_text(LOOP.replace("%s", TEMPLATES.get(name, "")))
    folder, own = folders.get(name, folders["none"]), "" if name in folders else str(template)
    e = encode.Encoder(encode.Settings(tokenizer=folder, template=own))
    some = list(chats(2, 400))
    for row, fast, full in zip(some, e.encode(some), e.encode(some, in_full=True)):
        assert encode.equal(fast, full), row.messages


@pytest.mark.parametrize("name", ["trimmed", "macro", "asked", "thinking", "chatml", "tulu", "brackets"])
def test_outlines_are_used(folders, tmp_path, name):
    """Once the shape is known the template itself is no longer asked."""
    template = tmp_path / "t.jinja"
    template.write_text(LOOP.replace("%s", TEMPLATES.get(name, "")))
    folder, own = folders.get(name, folders["none"]), "" if name in folders else str(template)
    e = encode.Encoder(encode.Settings(tokenizer=folder, template=own))
    first, second = (rows.Row(messages=[{"role": "user", "content": q}, {"role": "assistant", "content": a}], loss=[None] * 2)
                     for q, a in (("How many?", "Eight."), ("Why, and since when?", "é 😀")))
    e.encode([first])
    right = e.encode([second], in_full=True)[0]
    e.chat.render = None
    assert encode.equal(e.encode([second])[0], right)


def test_a_row_that_differs_ends_the_job(folders, tmp_path):
    """The first row of a file is always checked."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
    worker = job.Worker(job.Plan(inputs=[(str(path), 1.0)], settings=encode.Settings(tokenizer=folders["chatml"])))
    (block, _), = sources.blocks(str(path))
    assert len(worker.work((0, 1.0, block)).lengths) == 1
    right = worker.encoder.tokens.encode
    worker.encoder.tokens.encode = lambda some, spans: [(ids[::-1], places) for ids, places in right(some, spans)]
    with pytest.raises(DataError, match="a.jsonl:1: fastokens.* --encoder tokenizers"):
        worker.work((0, 1.0, block))


@pytest.mark.parametrize("line", [
    '{"text": "a", "text": "b"}', '{"text" : "a", "text": "b"}', '{"text"\t: "a"}', '{"messages": [{"a": 1, "a": 2}]}',
    '{"text": "a\\":b"}', '{"x": {"a": 1, "a": 2}, "text": "a"}', '{"x": [[{"a": 1, "a": 2}]], "text": "a"}', '{"text": NaN}',
    '{"text": "\\ud800"}', '[{"text": 1}]', '"text"', '{"text": 1', '{"text": "a", "n": 1.0}', '', 'null', '\ufeff{"text": "a"}',
    '{"": 1, "x": [{"": 1}, 2, "\\":"]}', '{"x": [{"a": 1}, {"a": 2}]}'])
def test_orjson_is_json(line):
    """Either the same value, or left to json: also where a key stands twice."""
    found = rows._quickly(line.encode())
    if found is not None:
        assert found == json.loads(line, object_pairs_hook=rows._object)
    if "twice" in str(error(line)):
        assert found is None


def error(line):
    try:
        rows.parse(line.encode(), "auto", "text")
    except RowError as e:
        return e
    return ""
