"""A tokenizer and chat templates made here, in the shapes that models have."""
import json
import sys
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKUP = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>"]

# History loses its thoughts, texts are trimmed, tools and tool calls are JSON: what Qwen3's does.
THINKING = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}{% for tool in tools %}{{- tool | tojson }}{% endfor %}{{- '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' and not (m.content is string and m.content.startswith('<tool_response>')) %}
        {%- set ns.last = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- if m.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if m.reasoning_content is string %}
            {%- set thought = m.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- content }}
        {%- endif %}
        {%- for call in m.tool_calls or [] %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

# No role tokens and no generation prompt; texts are trimmed; roles must alternate: what Mistral's does.
BRACKETS = """{{- bos_token }}
{%- for m in messages %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}{% endif %}
    {%- if m.role == 'user' %}
        {{- '[INST] ' + m.content | trim + ' [/INST]' }}
    {%- else %}
        {{- ' ' + m.content | trim + eos_token }}
    {%- endif %}
{%- endfor %}"""


def _texts():
    for line in (HERE / "chats.jsonl").read_text(encoding="utf-8").splitlines():
        for message in json.loads(line)["messages"]:
            yield message["content"] or ""


def _byte_level():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(_texts(), trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=SPECIAL[:1],
        show_progress=False))
    t.add_tokens([AddedToken("    ", normalized=True)])
    t.add_special_tokens(SPECIAL[1:])
    t.add_tokens([AddedToken(text, normalized=False) for text in MARKUP])
    return t


def _metaspace():
    """As Llama and Mixtral: blanks become a visible mark, a first one is added, tokens eat blanks beside them."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokens = ["<unk>", "<s>", AddedToken("</s>", rstrip=True, special=True)]
    t.train_from_iterator(_texts(), trainers.BpeTrainer(vocab_size=500, special_tokens=tokens, show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def _save(folder, tokenizer, template, **words):
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **words}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folders with a tokenizer, by the kind of their template."""
    base = tmp_path_factory.mktemp("tokenizers")
    built_in = HERE.parent / "prepare" / "templates"
    return {
        "thinking": _save(base / "thinking", _byte_level(), THINKING, eos_token="<|im_end|>"),
        "chatml": _save(base / "chatml", _byte_level(), (built_in / "chatml.jinja").read_text(), eos_token="<|im_end|>"),
        "tulu": _save(base / "tulu", _byte_level(), (built_in / "tulu.jinja").read_text(), eos_token="<|endoftext|>"),
        "brackets": _save(base / "brackets", _metaspace(), BRACKETS, bos_token="<s>", eos_token="</s>", unk_token="<unk>"),
        "none": _save(base / "none", _byte_level(), None, eos_token="<|endoftext|>"),
    }
