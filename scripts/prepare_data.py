#!/usr/bin/env python3
"""Turns chats and texts into token files for `beam train`, with the tokenizer and chat template of a model.

Only the assistant's turns are learned. The ids are those of transformers' apply_chat_template, except that what
stands in the data never becomes a control token. See docs/data.md.

examples:
  prepare_data.py --tokenizer models/qwen chats.jsonl --out train.h5 --show 2
  prepare_data.py --tokenizer models/qwen math.jsonl=2 web.jsonl=0.25 --out train.h5 --valid-out valid.h5 --valid 0.02
  prepare_data.py --tokenizer models/qwen --show 3 train.h5
"""
import argparse
import datetime
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from prepare import DataError, UsageError, encode, job, rows, show, sources, tokenfile


def _weighted(text):
    """PATH or PATH=WEIGHT."""
    path, sign, weight = text.rpartition("=")
    if not sign or Path(text).exists():
        return text, 1.0
    try:
        value = float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: {weight!r} is not a number") from None
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}: a weight is from 0 to 1000")
    return path, value


def _assignment(text):
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _share(text):
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError("a share is at least 0 and less than 1")
    return value


def _count(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("expected 0 or more")
    return value


def _date(text):
    datetime.date.fromisoformat(text)
    return text


def _parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                fromfile_prefix_chars="@")
    add = p.add_argument
    add("inputs", nargs="+", type=_weighted, metavar="FILE[=WEIGHT]",
        help=".jsonl or .txt, also .zst; a weight of 2 takes its rows twice, 0.5 half of them; @FILE reads arguments")
    add("--tokenizer", required=True, metavar="FOLDER", help="with tokenizer.json and tokenizer_config.json")
    add("--out", metavar="FILE.h5", help="token file to write")
    add("--valid-out", metavar="FILE.h5", help="token file of the documents held out")
    add("--valid", type=_share, default=0.0, metavar="X", help="share of documents held out")
    add("--chat-template", default="", metavar="NAME|FILE", help="chatml, tulu or a Jinja file, not the tokenizer's own")
    add("--template-arg", type=_assignment, action="append", default=[], metavar="NAME=VALUE",
        help="variable of the template, as enable_thinking=false")
    add("--date", type=_date, metavar="YYYY-MM-DD", help="for templates that write the date")
    add("--format", choices=rows.FORMATS, default="auto", help="of JSONL rows (default: by their keys)")
    add("--text-field", default="text", metavar="KEY", help="where the text of a JSONL row is (default: text)")
    add("--separator", metavar="LINE", help=".txt: this line separates documents")
    add("--eos", default="", metavar="TOKEN", help="ends a text (default: the tokenizer's eos_token)")
    add("--train-on-prompt", action="store_true", help="learn every token, not only the assistant's")
    add("--mask-history", action="store_true", help="learn the last turn of the assistant only")
    add("--max-length", type=_count, default=0, metavar="N", help="tokens of a conversation (default: any number)")
    add("--too-long", choices=("turns", "cut", "drop"), default="turns",
        help="longer ones keep the turns that fit, or are cut, or left out (default: turns)")
    add("--source-weight", type=_assignment, action="append", default=[], metavar="NAME=W",
        help='weight of rows whose "source" is NAME')
    add("--seed", type=int, default=42, help="of which rows are held out or taken (default: 42)")
    add("--max-bad-rows", type=_count, default=0, metavar="N", help="leave out up to N malformed rows")
    add("--processes", type=_count, default=len(os.sched_getaffinity(0)), metavar="N", help="(default: one per core)")
    add("--encoder", choices=("auto", "tokenizers"), default="auto",
        help="tokenizers: not fastokens where both agree, and the template is rendered for every row")
    add("--show", type=_count, default=0, metavar="N", help="print N documents with the trained tokens marked")
    return p


def _settings(o):
    return encode.Settings(tokenizer=o.tokenizer, template=o.chat_template, template_args=dict(o.template_arg),
                           date=o.date, train_on_prompt=o.train_on_prompt, mask_history=o.mask_history,
                           max_length=o.max_length, too_long=o.too_long, eos=o.eos, encoder=o.encoder)


def _plan(o):
    if not o.out:
        raise UsageError("where to? Give --out FILE.h5 (or one token file and --show N to look at it)")
    if bool(o.valid_out) != (o.valid > 0):
        raise UsageError("--valid X and --valid-out FILE.h5 belong together")
    outputs = [os.path.realpath(p) for p in (o.out, o.valid_out) if p]
    if len(set(outputs)) < len(outputs):
        raise UsageError(f"{o.out}: is the output of both parts")
    for path, _ in o.inputs:
        sources.check_name(path)
        if os.path.realpath(path) in outputs:
            raise UsageError(f"{path}: is an input and an output")
    weights = dict(o.source_weight)
    if not all(isinstance(w, (int, float)) and 0 <= w <= 1000 for w in weights.values()):
        raise UsageError("--source-weight: a weight is from 0 to 1000")
    return job.Plan(inputs=o.inputs, settings=_settings(o), style=o.format, text_field=o.text_field,
                    separator=o.separator, source_weights=weights, valid=o.valid, seed=o.seed,
                    max_bad_rows=o.max_bad_rows, processes=max(1, o.processes))


def _write(path, documents, result):
    ids, loss, lengths = documents
    if not len(lengths):
        raise DataError(f"{path}: not written: no document is left for it")
    tokenfile.write(path, ids, loss, lengths, result.about.vocab, result.about.tokenizer)
    print(f"{path}: {len(lengths)} documents, {len(ids)} tokens, {loss.mean():.1%} of them trained")
    return {"file": str(path), "documents": len(lengths), "tokens": len(ids), "trained": int(loss.sum())}


def _report(plan, result):
    for what in result.bad[:10]:
        print(f"left out: {what}", file=sys.stderr)
    for (path, weight), counts in zip(plan.inputs, result.counts):
        print(f"{path}: {counts['rows']} rows, weight {weight:g}; left out: {counts['long']} too long, "
              f"{counts['untrained']} with nothing to learn; shortened: {counts['shortened']}")
    size = sum(Path(path).stat().st_size for path, _ in plan.inputs)
    tokens = sum(len(part.ids) for part in result.parts)
    print(f"{len(result.bad)} malformed rows left out; {result.seconds:.1f} s, {size / 1e6 / result.seconds:.1f} MB/s, "
          f"{tokens / result.seconds:.0f} tokens/s with {plan.processes} processes and {result.about.encoder}")


def _prepare(o):
    plan = _plan(o)
    result = job.run(plan)
    _report(plan, result)
    made = [_write(o.out, result.documents(False), result)]
    if o.valid_out:
        made.append(_write(o.valid_out, result.documents(True), result))
    chosen = {key: value for key, value in asdict(plan).items() if key not in ("inputs", "processes")}
    record = {"outputs": made, "inputs": [{"path": p, "weight": w, **c} for (p, w), c in zip(plan.inputs, result.counts)],
              **chosen, "tokenizer": result.about.tokenizer, "encoder": result.about.encoder,
              "chat_template_sha256": result.about.template_hash, "bad_rows": result.bad}
    Path(o.out + ".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _show(o, path):
    ids, loss, lengths, name = tokenfile.read(path)
    encoder = encode.Encoder(_settings(o))
    if name != encoder.name:
        print(f"{path}: was made with the tokenizer {name!r}, not {encoder.name!r}", file=sys.stderr)
    show.samples(path, encoder.public, ids, loss, lengths, o.show, sys.stdout)


def main():
    o = _parser().parse_args()
    try:
        looks = not o.out and len(o.inputs) == 1 and o.inputs[0][0].endswith(".h5") and o.show
        if not looks:
            _prepare(o)
        if o.show:
            _show(o, o.out or o.inputs[0][0])
    except UsageError as e:
        sys.exit(print(f"prepare_data: {e}", file=sys.stderr) or 2)
    except DataError as e:
        sys.exit(print(f"prepare_data: {e}", file=sys.stderr) or 3)
    except OSError as e:
        sys.exit(print(f"prepare_data: {e.filename or ''}: {e.strerror or e}", file=sys.stderr) or 5)


if __name__ == "__main__":
    main()
