#!/usr/bin/env python3
"""Avg-K and loss in the first steps of runs that differ in how their mask gates start.

    start_table.py RUNS --out docs/results/start

RUNS has SERIES/POINT/seed-N/metrics.jsonl of runs that logged every step; writes OUT.md and OUT.json. A step's numbers
are those of its forward pass: the first one's are from before any update. Needs nothing but Python 3.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

STEPS = (1, 2, 3, 5, 10, 20, 40)


def read(runs):
    """[(series, point, seeds, {step: ([Avg-K], [loss])})], in the order of names."""
    rows = []
    for point in sorted(p for p in runs.glob("*/*") if p.is_dir()):
        found, seeds = {}, 0
        for log in sorted(point.glob("seed-*/metrics.jsonl")):
            seeds += 1
            for line in log.read_text(encoding="utf-8").splitlines():
                m = json.loads(line)
                if m.get("step") in STEPS and "task_loss" in m:
                    active, loss = found.setdefault(m["step"], ([], []))
                    active.append(m["avg_active"])
                    loss.append(m["task_loss"])
        if seeds:
            rows.append((point.parent.name, point.name, seeds, found))
    return rows


def show(numbers, digits):
    spread = f" ± {stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{mean(numbers):.{digits}f}{spread}"


def markdown(rows):
    lines = ["# The first steps", "",
             "Made by `scripts/experiments/start.sh`; raw numbers: `start.json`. Avg-K of 8 and task loss in nats of each "
             "step's forward pass, on its 4,096 training tokens; ± is the standard deviation over seeds."]
    for title, which, digits in (("Avg-K", 0, 2), ("Loss", 1, 3)):
        lines += ["", f"## {title}", "", "| series | rate | seeds | " + " | ".join(f"step {s}" for s in STEPS) + " |",
                  "|" + "---|" * (3 + len(STEPS))]
        lines += [f"| {series} | {point} | {seeds} | " + " | ".join(show(found[s][which], digits) for s in STEPS) + " |"
                  for series, point, seeds, found in rows]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="without the ending")
    args = parser.parse_args()
    rows = read(args.runs)
    raw = [{"series": series, "point": point, "seeds": seeds,
            "steps": {step: {"avg_active": active, "task_loss": loss} for step, (active, loss) in sorted(found.items())}}
           for series, point, seeds, found in rows]
    args.out.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")
    args.out.with_suffix(".json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
