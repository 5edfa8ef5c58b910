#!/usr/bin/env python3
"""A table of an experiment: mean and spread over seeds, on both texts, with the raw numbers beside it.

    table.py runs/experiments/frontier --title "Quality" --out docs/results/frontier

reads FOLDER/SERIES/POINT/seed-N/{books,peps}.json, which `beam eval --json` wrote, and writes OUT.md and OUT.json. The
series `base` is what the others are compared with. Needs nothing but Python 3.
"""

import argparse
import json
import statistics
from pathlib import Path

TEXTS = {"books": "a book that no training saw", "peps": "technical prose, unlike anything in training"}
KEEP = ("loss", "accuracy", "avg_active", "top_k", "moe_flops_saved", "zero_expert_tokens", "distinct_experts", "tokens")


def read(folder):
    """{(series, point): {text: [one result per seed]}}."""
    rows = {}
    for path in sorted(folder.glob("*/*/seed-*/*.json")):
        series, point = path.parts[-4:-2]
        result = json.loads(path.read_text())
        kept = {"seed": int(path.parts[-2].split("-")[1]), **{k: result[k] for k in KEEP if k in result}}
        kept |= last_steps(path.parent / "run/metrics.jsonl")
        rows.setdefault((series, point), {}).setdefault(path.stem, []).append(kept)
    return rows


def last_steps(path):
    """Avg-K of a run's last ten steps, on the training text; nothing where there was no run."""
    steps = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    active = [s["avg_active"] for s in steps if "avg_active" in s][-10:]
    return {"training_active": statistics.mean(active)} if active else {}


def spread(values, form, scale=1.0):
    """Mean, and the standard deviation where there is more than one seed."""
    mean = form.format(scale * statistics.mean(values))
    if len(values) < 2:
        return mean
    return f"{mean} ± {form.format(scale * statistics.stdev(values)).lstrip('+')}"


def saved(result, base):
    """The share of the base's expert work; the program counts from the run's own candidates, which may be fewer. These
    models have no shared experts."""
    return 1 - (1 - result["moe_flops_saved"]) * result["top_k"] / base["top_k"]


def line(series, point, results, base):
    """One row of a table of one text."""
    active = [r["avg_active"] for r in results]
    gap = [r["loss"] - base["loss"] for r in results]
    kept = [r["accuracy"] / base["accuracy"] for r in results]
    cells = [series, point, str(len(results)), spread(active, "{:.2f}"),
             spread([saved(r, base) for r in results], "{:.1f} %", 100), spread(gap, "{:+.4f}"),
             spread(kept, "{:.2f} %", 100)]
    cells.append(spread([r["training_active"] for r in results], "{:.2f}") if "training_active" in results[0] else "")
    if "distinct_experts" in results[0]:
        last = max(results[0]["distinct_experts"], key=int)
        cells.append(spread([r["distinct_experts"][last] for r in results], "{:.1f}") + f" of B = {last}")
    return "| " + " | ".join(cells) + " |"


def distinct(order, rows, text):
    """How many experts a layer reads for B tokens, each of another sequence."""
    sizes = sorted(rows[order[0]][text][0].get("distinct_experts", {}), key=int)
    if len(sizes) < 6:  # small batches only, whose largest is in the table above
        return []
    lines = ["Experts that a layer reads for B tokens, each of another sequence:", "",
             "| series | point | " + " | ".join(f"B = {b}" for b in sizes) + " |", "|" + "---|" * (len(sizes) + 2)]
    for key in order:
        results = rows[key][text]
        cells = [spread([r["distinct_experts"][b] for r in results], "{:.1f}") for b in sizes]
        lines.append("| " + " | ".join([*key, *cells]) + " |")
    return lines + [""]


def table(rows, text):
    base = rows[next(k for k in rows if k[0] == "base")][text][0]
    order = sorted((k for k in rows if text in rows[k]),
                   key=lambda k: (k[0] != "base", k[0], -statistics.mean(r["avg_active"] for r in rows[k][text])))
    head = ("| series | point | seeds | Avg-K | MoE FLOPs saved | loss above base, nats | accuracy kept "
            "| Avg-K in training | distinct experts |")
    lines = [f"## {text}: {TEXTS[text]}", "",
             f"Base: loss {base['loss']:.4f} nats, accuracy {100 * base['accuracy']:.2f} %, {base['tokens']} tokens.", "",
             head, "|" + "---|" * (head.count("|") - 1)]
    return lines + [line(*k, rows[k][text], base) for k in order] + [""] + distinct(order, rows, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--title", required=True)
    parser.add_argument("--out", type=Path, required=True, help="without the ending")
    args = parser.parse_args()
    rows = read(args.folder)
    lines = [f"# {args.title}", "", f"Made by `scripts/experiments/{args.folder.name}.sh`; raw numbers: "
             f"`{args.out.name}.json`. ± is the standard deviation over seeds.", ""]
    for text in TEXTS:
        lines += table(rows, text)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n")
    raw = [{"series": s, "point": p, **texts} for (s, p), texts in rows.items()]
    args.out.with_suffix(".json").write_text(json.dumps(raw, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
