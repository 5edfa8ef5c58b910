#!/usr/bin/env python3
"""What eager PyTorch around its grouped products, and a fused Triton kernel, take for the experts of a layer on a GPU,
to be run on the same card as beam.

  train    16,384 tokens of the shape of Qwen3-30B-A3B, forward and backward, by grouped_mm: its products alone, for
           those of bench_grouped; and with gathering, SwiGLU and the weighted sum, for `beam bench train --layer`. That
           has router and gates besides, and gives gates a gradient of dropped pairs, so only Avg-K 8 compares like with
           like, but for router and gates; and its gradients of weights are added up in float32, here written in bf16
  decode   layers of three published models for 1 to 256 tokens, with their shared experts, from given experts to the
           sum of their outputs, by Triton and by grouped_mm, as CUDA graphs, for decode.bench. Routing, and putting
           pairs into order, is not counted, in their favour
  check    both against a loop over experts in float32, on a CPU too. The others do it first

Needs PyTorch 2.10 or later, and for decode a Triton that can compile. Exit code 77 where something is missing.
"""
import argparse
import itertools
import os
import statistics
import sys
from dataclasses import dataclass

try:
    import torch
    import torch.nn.functional as F
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ["TRITON_INTERPRET"] = "1"
    import triton
    import triton.language as tl
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

# Hidden size, experts, candidates, width of an expert, and of the shared one.
SHAPES = {"Qwen3-30B-A3B": (2048, 128, 8, 768, 0), "Qwen1.5-MoE-A2.7B": (2048, 60, 4, 1408, 5632),
          "DeepSeek-V2-Lite": (2048, 64, 6, 1408, 2816)}
CALLS = 16          # of a graph, each with other tokens and experts
TOKENS = 16384
REPEATS, IN_A_ROW = 5, 4


@dataclass
class Layer:
    """Weights of a layer's experts: gate_up [E,2F,D], down [E,D,F]; of the shared one [2S,D] [D,S]."""
    gate_up: torch.Tensor
    down: torch.Tensor
    shared_gate_up: torch.Tensor
    shared_down: torch.Tensor

    @classmethod
    def random(cls, shape, device):
        hidden, experts, _, width, shared = shape
        sizes = (experts, 2 * width, hidden), (experts, hidden, width), (2 * shared, hidden), (hidden, shared)
        return cls(*(torch.randn(size, device=device, dtype=torch.bfloat16) * max(size[-1], 1)**-0.5 for size in sizes))

    def to(self, dtype):
        return Layer(*(w.detach().to(dtype) for w in (self.gate_up, self.down, self.shared_gate_up, self.shared_down)))

    def add_shared(self, y, x):
        """y += what the shared expert makes of x."""
        if self.shared_down.shape[1]:
            y = y + F.linear(swiglu(F.linear(x, self.shared_gate_up)), self.shared_down)
        return y


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
        _, experts, candidates, _, _ = shape
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
        y = y.index_add(0, token, pairs.weight[begin:end, None].to(x.dtype) * out)
        begin = end
    return layer.add_shared(y, x)


def by_groups(layer, pairs, x):
    """y[T,D] by torch's grouped products."""
    rows = x.index_select(0, pairs.pair // pairs.candidates)
    act = swiglu(F.grouped_mm(rows, layer.gate_up.transpose(1, 2), offs=pairs.end))
    out = pairs.weight[:, None].to(x.dtype) * F.grouped_mm(act, layer.down.transpose(1, 2), offs=pairs.end)
    everything = x.new_zeros(pairs.tokens * pairs.candidates, x.shape[1]).index_copy(0, pairs.pair, out)
    return layer.add_shared(everything.view(pairs.tokens, pairs.candidates, -1).sum(1), x)


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
        y = self.out.view(self.pairs.tokens, self.pairs.candidates, -1).sum(1)
        return self.layer.add_shared(y, self.x)


def tiles():
    """(rows, columns, inner, options) that are tried."""
    shapes = (16, 32), (16, 64), (16, 128), (64, 128)
    for (rows, columns), inner, stages in itertools.product(shapes, (64, 128), (3, 5)):
        yield rows, columns, inner, {"num_warps": 4, "num_stages": stages}


def seconds(run):
    """Of one call: the median of a few rows of calls."""
    run()
    times = []
    for _ in range(REPEATS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(IN_A_ROW):
            run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3 / IN_A_ROW)
    return statistics.median(times)


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
    hidden, _, _, width, shared = shape
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
    bound = 6 * hidden * (distinct * width + shared) / speed
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


def print_product(name, tflop, run):
    time = seconds(run)
    print(f"{name:34} {1e3 * time:9.3f} ms {tflop / time:8.1f} TFLOP/s", flush=True)


def train_products(layer, pairs, x):
    """grouped_mm alone."""
    rows = x.index_select(0, pairs.pair // pairs.candidates)
    gate_up, down = layer.gate_up.transpose(1, 2), layer.down.transpose(1, 2)
    middle = F.grouped_mm(rows, gate_up, offs=pairs.end)
    act, unit = swiglu(middle), 2e-12 * len(rows) * rows.shape[1] * down.shape[1]  # TFLOP of `down`
    print_product("forward, gate and up", 2 * unit, lambda: F.grouped_mm(rows, gate_up, offs=pairs.end))
    print_product("forward, down", unit, lambda: F.grouped_mm(act, down, offs=pairs.end))
    print_product("backward, down", unit, lambda: F.grouped_mm(rows, layer.down, offs=pairs.end))
    print_product("backward, gate and up", 2 * unit, lambda: F.grouped_mm(middle, layer.gate_up, offs=pairs.end))
    print_product("backward, weight of gate and up", 2 * unit, lambda: F.grouped_mm(middle.T, rows, offs=pairs.end))


def gradients(layer, pairs, x, way, all_weights):
    """(what takes a pass, what takes its gradient): of x, and of the weights if they all train."""
    x = x.detach().requires_grad_()
    for weight in (layer.gate_up, layer.down):
        weight.requires_grad_(all_weights)
    wanted = [x, layer.gate_up, layer.down] if all_weights else [x]
    y = way(layer, pairs, x)
    dy = torch.linspace(-1, 1, y.numel(), device=y.device).view_as(y).to(y.dtype)
    return lambda: way(layer, pairs, x), lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)


def train_row(layer, pairs, x, all_weights):
    forward, backward = (seconds(run) for run in gradients(layer, pairs, x, by_groups, all_weights))
    unit = 6e-12 * len(pairs.pair) * layer.down.shape[1] * layer.down.shape[2]  # TFLOP of a forward pass
    units = 3 if all_weights else 2
    print(f"{'experts too' if all_weights else 'frozen experts':14} {len(pairs.pair) / pairs.tokens:6.2f} "
          f"{1e3 * forward:10.3f} {unit / forward:8.1f} {1e3 * backward:11.3f} {(units - 1) * unit / backward:8.1f} "
          f"{units * unit / (forward + backward):12.1f}", flush=True)


def train():
    shape = SHAPES["Qwen3-30B-A3B"]
    layer = Layer.random(shape, "cuda")
    x = torch.randn(TOKENS, shape[0], device="cuda", dtype=torch.bfloat16)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}; {TOKENS} tokens of Qwen3-30B-A3B\n")
    train_products(layer, Pairs.random(TOKENS, shape, shape[2], "cuda"), x)
    print("\ntrains          Avg-K forward/ms TFLOP/s backward/ms TFLOP/s both TFLOP/s")
    for all_weights, active in itertools.product((False, True), (8, 4, 1)):
        train_row(layer, Pairs.random(TOKENS, shape, active, "cuda"), x, all_weights)


def difference(got, right):
    """The largest one, of the largest number."""
    return float((got.detach().float() - right.detach()).abs().max() / right.detach().abs().max().clamp(min=1))


def check(by_triton):
    """Whether both agree with the loop, grouped_mm in its gradients too."""
    device, worst = "cuda" if on_gpu else "cpu", 0.0
    torch.manual_seed(1)
    for tokens, active in ((1, 4), (1, 0), (7, 1.2), (33, 4)):
        shape = (96, 12, 4, 40, 24)
        layer, pairs = Layer.random(shape, device), Pairs.random(tokens, shape, active, device)
        x = torch.randn(tokens, shape[0], device=device, dtype=torch.bfloat16)
        slow = layer.to(torch.float32), pairs, x.float()
        right = by_loop(*slow)
        both = zip(gradients(layer, pairs, x, by_groups, True)[1](), gradients(*slow, by_loop, True)[1]())
        worst = max([worst, difference(by_groups(layer, pairs, x), right), *(difference(*pair) for pair in both)])
        # In half precision: Triton's interpreter does not multiply bf16.
        for tile in [*tiles()][::5] if by_triton else []:
            worst = max(worst, difference(Fused(layer.to(torch.half), pairs, x.half(), tile).run(), right))
    print(f"largest difference from a loop in float32, of the largest number: {worst:.1e}, at most 2e-2\n")
    return worst <= 2e-2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "decode", "check"))
    what = parser.parse_args().what
    if not hasattr(F, "grouped_mm"):
        print(f"skipped: PyTorch {torch.__version__} has no grouped_mm")
        return 77
    if what != "check" and not on_gpu:
        print("skipped: no CUDA device")
        return 77
    try:
        right = check(by_triton=what != "train")
    except RuntimeError as e:
        if "C compiler" not in str(e):
            raise
        print(f"skipped: Triton cannot compile: {e}")
        return 77
    if right and what != "check":
        {"train": train, "decode": decode}[what]()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
