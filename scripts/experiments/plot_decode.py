#!/usr/bin/env python3
"""Speed-up of masked decoding over the batch, beside what the arithmetic of distinct experts allows.

    beam bench decode --json ... >decode.json
    plot_decode.py decode.json --out docs/results/decode

writes OUT.svg and OUT.md. Of E experts, B tokens that each run k at random read E (1 - (1 - k/E)^B) different ones; the
ideal is that number for all K candidates by that for the Avg-K of the masks. Needs nothing but Python 3.
"""

import argparse
import json
import math
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 56, 24, 170, 48
COLOURS = {"ideal": "#888888", "mixture layers": "#1f77b4", "whole model": "#d62728"}


def distinct(experts, active, batch):
    return experts * (1 - (1 - active / experts) ** batch)


def curves(bench):
    """{name: [(batch, speed-up)]}."""
    masked = [r for r in bench["rows"] if r["experts"] == "masks"]
    experts, top_k = bench["num_experts"], bench["num_experts_per_tok"]
    found = {
        "ideal": [(r["batch"], distinct(experts, top_k, r["batch"]) / distinct(experts, r["avg_active"], r["batch"]))
                  for r in masked],
        "mixture layers": [(r["batch"], r["moe_speedup"]) for r in masked if "moe_speedup" in r],
        "whole model": [(r["batch"], r["speedup"]) for r in masked],
    }
    return {name: points for name, points in found.items() if points}  # a GPU does not time layers alone


def ticks(top):
    step = max(1, math.ceil(top / 8))
    return range(0, math.ceil(top) + 1, step)


def svg(lines):
    batches = [b for b, _ in lines["ideal"]]
    top = max(y for points in lines.values() for _, y in points) * 1.05
    last = math.log2(batches[-1]) or 1

    def place(batch, y):
        return (LEFT + (WIDTH - LEFT - RIGHT) * math.log2(batch) / last,
                HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
             'font-size="13">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for y in ticks(top):
        if y <= top:
            x0, y0 = place(1, y)
            parts += [f'<line x1="{x0}" x2="{WIDTH - RIGHT}" y1="{y0:.1f}" y2="{y0:.1f}" stroke="#e0e0e0"/>',
                      f'<text x="{x0 - 8}" y="{y0 + 4:.1f}" text-anchor="end">{y}</text>']
    for b in batches:
        x, y = place(b, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{b}</text>')
    for name, points in lines.items():
        path = " ".join("{:.1f},{:.1f}".format(*place(*p)) for p in points)
        dash = ' stroke-dasharray="5 4"' if name == "ideal" else ""
        parts += [f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"{dash}/>']
        parts += ['<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>'.format(*place(*p), COLOURS[name])
                  for p in points]
    for i, name in enumerate(lines):
        y = TOP + 16 + 20 * i
        parts.append(f'<line x1="{WIDTH - RIGHT + 16}" x2="{WIDTH - RIGHT + 40}" y1="{y - 4}" y2="{y - 4}" '
                     f'stroke="{COLOURS[name]}" stroke-width="2"/>'
                     f'<text x="{WIDTH - RIGHT + 46}" y="{y}">{name}</text>')
    parts += [f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">sequences at a time</text>',
              f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})">'
              "times faster than all candidates</text>", "</svg>"]
    return "\n".join(parts) + "\n"


def table(bench, lines, name):
    ideal = dict(lines["ideal"])
    layers = "mixture layers" in lines
    read = ("moe_gb_per_s", "moe_share_of_read") if layers else ("gb_per_s", "share_of_read")
    where = f"{bench['threads']} threads that read" if layers else "a GPU that reads"
    head = ["sequences", "experts", "Avg-K", "different experts", "tokens/s", "whole model",
            *(["mixture layers"] if layers else []), "ideal", "GB/s of mixture layers" if layers else "GB/s", "of reading"]
    rows = ["# Decoding with masks", "",
            f"Made by `scripts/experiments/decode.sh`: {bench['weights_gb']:.1f} GB of weights, {bench['num_experts']} experts, "
            f"{bench['num_experts_per_tok']} candidates, {where} memory at {bench['read_gb_per_s']:.1f} GB/s; raw numbers: "
            f"`{name}.json`.", "",
            f"![Speed-up over the batch]({name}.svg)", "",
            "Ideal is the different experts of all candidates by those of the masks, read at one speed. Where many tokens "
            "share an expert the gain exceeds it, because there the products take longer than reading.", "",
            "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in bench["rows"]:
        best = f"{ideal[r['batch']]:.2f} x" if r["experts"] == "masks" else ""
        cells = [r["batch"], r["experts"], f"{r['avg_active']:.2f}", f"{r['distinct_experts']:.1f}", f"{r['tokens_per_s']:.1f}",
                 f"{r['speedup']:.2f} x", *([f"{r['moe_speedup']:.2f} x"] if layers else []), best,
                 f"{r[read[0]]:.1f}", f"{100 * r[read[1]]:.0f} %"]
        rows.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(rows) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="without the ending")
    args = parser.parse_args()
    bench = json.loads(args.bench.read_text())
    lines = curves(bench)
    args.out.with_suffix(".svg").write_text(svg(lines))
    args.out.with_suffix(".md").write_text(table(bench, lines, args.out.name))


if __name__ == "__main__":
    main()
