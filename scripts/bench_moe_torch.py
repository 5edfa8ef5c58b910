#!/usr/bin/env python3
"""What PyTorch's grouped products and a fused Triton kernel take for the experts of a layer on a GPU: the peers of
bench_grouped (train) and decode.bench (decode), to be run on the same card.

  train    16,384 tokens of the shape of Qwen3-30B-A3B, forward and backward, by torch's grouped_mm
  decode   layers of three published models for 1 to 256 tokens, from given experts to the sum of their outputs, by
           Triton and by grouped_mm, as CUDA graphs. Routing, and putting pairs into order, is not counted, in their
           favour
  check    both against a loop over experts in float32; without a GPU under TRITON_INTERPRET=1. The others do it first

Needs PyTorch 2.10 or later, which brings Triton. Exit code 77 without a GPU.
"""
import argparse
import itertools
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

SHAPES = {"Qwen3-30B-A3B": (2048, 128, 8, 768), "Qwen1.5-MoE-A2.7B": (2048, 60, 4, 1408),
          "DeepSeek-V2-Lite": (2048, 64, 6, 1408)}  # hidden size, experts, candidates, expert width
CALLS = 16          # of a graph, each with other tokens and experts
REPEATS = 5


@dataclass
class Layer:
    """Weights of a layer's experts: gate_up [E,2F,D], down [E,D,F]."""
    gate_up: torch.Tensor
    down: torch.Tensor

    @classmethod
    def random(cls, shape, device, dtype=torch.bfloat16):
        hidden, experts, _, width = shape
        return cls(torch.randn(experts, 2 * width, hidden, device=device, dtype=dtype) * hidden**-0.5,
                   torch.randn(experts, hidden, width, device=device, dtype=dtype) * width**-0.5)


@dataclass
class Pairs:
    """Kept pairs in the order of their experts: pair [P] = token * K + candidate, weight [P], end [E] of each
    expert's."""
    pair: torch.Tensor
    weight: torch.Tensor
    end: torch.Tensor
    tokens: int
    candidates: int

    @classmethod
    def random(cls, tokens, shape, active, device):
        """Every token has K different experts, and keeps each with the same chance."""
        _, experts, candidates, _ = shape
        expert = torch.rand(tokens, experts, device=device).argsort(1)[:, :candidates].flatten()
        keep = torch.rand(tokens * candidates, device=device) < active / candidates
        pair = torch.where(keep, expert, experts).argsort(stable=True)[:int(keep.sum())]
        end = torch.bincount(expert[pair], minlength=experts).cumsum(0).int()
        return cls(pair, torch.rand(len(pair), device=device), end, tokens, candidates)

    def counts(self):
        return self.end.diff(prepend=self.end.new_zeros(1))


def swiglu(gate_up):
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


def by_loop(layer, pairs, x):
    """y[T,D], the plain way."""
    y, begin = torch.zeros_like(x), 0
    for e, end in enumerate(pairs.end.tolist()):
        token = pairs.pair[begin:end] // pairs.candidates
        out = swiglu(x[token] @ layer.gate_up[e].T) @ layer.down[e].T
        y.index_add_(0, token, pairs.weight[begin:end, None].to(x.dtype) * out)
        begin = end
    return y


def by_groups(layer, pairs, x):
    """y[T,D] by torch's grouped products."""
    token = pairs.pair // pairs.candidates
    act = swiglu(F.grouped_mm(x[token], layer.gate_up.transpose(1, 2), offs=pairs.end))
    out = F.grouped_mm(act, layer.down.transpose(1, 2), offs=pairs.end)
    return torch.zeros_like(x).index_add_(0, token, pairs.weight[:, None].to(x.dtype) * out)


@triton.jit
def product_kernel(y, x, w, slot, block_expert, weight, rows_per_x, padding, n, d,
                   ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, WEIGHTED: tl.constexpr):
    """y[slot,:n] = x[slot / rows_per_x,:d] w[expert,:n,:d]^T for a block of slots of one expert; `padding` is no
    slot."""
    block, column = tl.program_id(1), tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    expert = tl.load(block_expert + block).to(tl.int64)
    slots = tl.load(slot + block * ROWS + tl.arange(0, ROWS))
    here, there, inner = slots < padding, column < n, tl.arange(0, INNER)
    a = x + (slots // rows_per_x)[:, None] * d + inner[None, :]
    b = w + expert * n * d + column[None, :] * d + inner[:, None]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for at in range(0, d, INNER):
        part = tl.load(a + at, mask=here[:, None] & (inner[None, :] + at < d), other=0.0)
        total += tl.dot(part, tl.load(b + at, mask=there[None, :] & (inner[:, None] + at < d), other=0.0))
    if WEIGHTED:
        total *= tl.load(weight + slots, mask=here, other=0.0)[:, None]
    y += slots[:, None] * n + column[None, :]
    tl.store(y, total.to(y.dtype.element_ty), mask=here[:, None] & there[None, :])


@triton.jit
def swiglu_kernel(act, gate_up, f, COLUMNS: tl.constexpr):
    row, column = tl.program_id(1).to(tl.int64), tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    gate = tl.load(gate_up + row * 2 * f + column, mask=column < f, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * f + f + column, mask=column < f, other=0.0).to(tl.float32)
    tl.store(act + row * f + column, (gate * tl.sigmoid(gate) * up).to(act.dtype.element_ty), mask=column < f)


class Fused:
    """The usual fused layer of serving engines: pairs in blocks of one expert each, tokens gathered while they are
    read, two products, a sum over candidates. Rows of dropped pairs stay 0."""

    def __init__(self, layer, pairs, x, tile):
        rows, self.columns, self.inner, self.options = tile
        counts = pairs.counts().tolist()
        slots, block_expert, begin = [], [], 0
        for expert, count in enumerate(counts):
            for at in range(0, count, rows):
                block = pairs.pair[begin + at:begin + min(at + rows, count)].tolist()
                slots += block + [pairs.tokens * pairs.candidates] * (rows - len(block))
                block_expert.append(expert)
            begin += count
        everything = pairs.tokens * pairs.candidates
        weight = torch.zeros(everything, device=x.device)
        weight[pairs.pair] = pairs.weight
        self.layer, self.x, self.pairs, self.rows, self.weight = layer, x, pairs, rows, weight
        self.slots = torch.tensor(slots, dtype=torch.int64, device=x.device)
        self.block_expert = torch.tensor(block_expert, dtype=torch.int32, device=x.device)
        width = layer.down.shape[2]
        self.gate_up = x.new_zeros(everything, 2 * width)
        self.act, self.out = x.new_zeros(everything, width), x.new_zeros(everything, x.shape[1])

    def _product(self, y, x, w, rows_per_x, weighted):
        n, d = w.shape[1:]
        if len(self.block_expert):
            product_kernel[triton.cdiv(n, self.columns), len(self.block_expert)](
                y, x, w, self.slots, self.block_expert, self.weight, rows_per_x, len(self.weight), n, d, ROWS=self.rows,
                COLUMNS=self.columns, INNER=self.inner, WEIGHTED=weighted, **self.options)

    def run(self):
        f = self.act.shape[1]
        self._product(self.gate_up, self.x, self.layer.gate_up, self.pairs.candidates, False)
        swiglu_kernel[triton.cdiv(f, 1024), len(self.weight)](self.act, self.gate_up, f, COLUMNS=1024)
        self._product(self.out, self.act, self.layer.down, 1, True)
        return self.out.view(self.pairs.tokens, self.pairs.candidates, -1).sum(1)


def tiles():
    """(rows, columns, inner, options) that are tried."""
    shapes = (16, 32), (16, 64), (16, 128), (64, 128)
    for (rows, columns), inner, stages in itertools.product(shapes, (64, 128), (3, 5)):
        yield rows, columns, inner, {"num_warps": 4, "num_stages": stages}


def seconds(run):
    """The best of a few."""
    best = float("inf")
    for _ in range(REPEATS + 1):  # the first one warms up
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        best = min(best, begin.elapsed_time(end) / 1e3)
    return best


def graph_seconds(calls):
    """Of one call, in a graph of them all."""
    for call in calls:  # compiles, and loads what a graph may not
        call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return seconds(graph.replay) / len(calls)


def read_speed():
    """Bytes per second at which a tensor is read front to back."""
    x = torch.ones(1 << 30, device="cuda", dtype=torch.bfloat16)
    return 2 * len(x) / seconds(lambda: x.view(torch.int32).sum())


def decode_row(name, shape, layers, batch, active, speed):
    hidden, _, _, width = shape
    routes = [Pairs.random(batch, shape, active, "cuda") for _ in range(CALLS)]
    tokens = [torch.randn(batch, hidden, device="cuda", dtype=torch.bfloat16) for _ in range(CALLS)]
    work = [(layers[i % len(layers)], p, x) for i, (p, x) in enumerate(zip(routes, tokens))]
    fused = {}
    for tile in tiles():
        try:
            fused[tile] = graph_seconds([Fused(*w, tile).run for w in work])
        except triton.runtime.errors.OutOfResources:  # a tile that this card cannot hold
            continue
    best = min(fused, key=fused.get)
    groups = graph_seconds([lambda w=w: by_groups(*w) for w in work])
    distinct = sum(int((p.counts() > 0).sum()) for p in routes) / CALLS
    kept = sum(len(p.pair) for p in routes) / CALLS / batch
    bound = 6 * distinct * width * hidden / speed
    print(f"{name:18} {batch:5} {kept:6.2f} {distinct:6.1f} {1e6 * bound:9.1f} {1e6 * fused[best]:9.1f} "
          f"{1e6 * groups:10.1f}   {best[0]} x {best[1]} x {best[2]}, {best[3]['num_stages']} stages", flush=True)


def decode():
    speed = read_speed()
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, Triton {triton.__version__}; "
          f"reads at {1e-9 * speed:.0f} GB/s\n")
    print(f"{'model':18} {'batch':>5} {'Avg-K':>6} {'read':>6} {'bound us':>9} {'Triton us':>9} {'grouped us':>10}   "
          "best tile")
    for name, shape in SHAPES.items():
        layers = [Layer.random(shape, "cuda") for _ in range(2)]
        for batch, active in itertools.product((1, 4, 16, 64, 256), (shape[2], 1.2)):
            decode_row(name, shape, layers, batch, active, speed)


def train_row(layer, pairs, x, all_weights):
    """Forward and backward with the gradient of x, and of the weights if they all train."""
    for weight in (layer.gate_up, layer.down):
        weight.requires_grad_(all_weights)
        weight.grad = None
    x = x.detach().requires_grad_()
    forward = seconds(lambda: by_groups(layer, pairs, x))
    y = by_groups(layer, pairs, x)
    dy, wanted = torch.randn_like(y), [x, layer.gate_up, layer.down] if all_weights else [x]
    backward = seconds(lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True))
    unit = 6e-12 * len(pairs.pair) * layer.down.shape[1] * layer.down.shape[2]  # TFLOP of a forward pass
    units = 3 if all_weights else 2
    print(f"{'experts too' if all_weights else 'frozen experts':14} {len(pairs.pair) / pairs.tokens:6.2f} "
          f"{1e3 * forward:10.3f} {unit / forward:8.1f} {1e3 * backward:11.3f} {(units - 1) * unit / backward:8.1f} "
          f"{units * unit / (forward + backward):12.1f}", flush=True)


def train():
    shape = SHAPES["Qwen3-30B-A3B"]
    layer = Layer.random(shape, "cuda")
    x = torch.randn(16384, shape[0], device="cuda", dtype=torch.bfloat16)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, grouped_mm; 16384 tokens of Qwen3-30B-A3B\n")
    print("trains          Avg-K forward/ms TFLOP/s backward/ms TFLOP/s both TFLOP/s")
    for active, all_weights in itertools.product((shape[2], 1.2), (False, True)):
        train_row(layer, Pairs.random(len(x), shape, active, "cuda"), x, all_weights)


def check():
    """Whether both agree with the loop."""
    device, worst = "cuda" if torch.cuda.is_available() else "cpu", 0.0
    torch.manual_seed(1)
    for tokens, active in ((1, 4), (7, 1.2), (33, 4)):
        shape = (96, 12, 4, 40)
        layer, pairs = Layer.random(shape, device, torch.float32), Pairs.random(tokens, shape, active, device)
        x = torch.randn(tokens, shape[0], device=device)
        right = by_loop(layer, pairs, x)
        # Triton's interpreter does not multiply bf16.
        half, brain = ((Layer(layer.gate_up.to(t), layer.down.to(t)), pairs, x.to(t))
                       for t in (torch.half, torch.bfloat16))
        for got in (by_groups(*brain), *(Fused(*half, tile).run() for tile in [*tiles()][::5])):
            worst = max(worst, float((got.float() - right).abs().max() / right.abs().max().clamp(min=1)))
    print(f"largest difference from a loop in float32, of the largest number: {worst:.1e}, at most 2e-2\n")
    return worst <= 2e-2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "decode", "check"))
    what = parser.parse_args().what
    if what != "check" and not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return 77
    if not check():
        return 1
    if what != "check":
        {"train": train, "decode": decode}[what]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
