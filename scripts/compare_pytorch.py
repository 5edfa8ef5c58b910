#!/usr/bin/env python3
"""Compares beam with the same model written in eager PyTorch, straight from the mathematics.

Needs Python 3.11 and PyTorch 1.13 or later (Debian: apt install python3-torch); no other package. The decoder
is Hugging Face's Qwen3-MoE, the masks are those of docs/method.md, and every gradient comes from autograd.
Nothing here shares code with beam, so agreement is evidence.

  parity  runs `beam score` and `beam grads` and compares log-probabilities, mask decisions, losses and every
          parameter's gradient. Exit code 1 if log-probabilities differ by more than 2e-5, a loss by more than
          1e-6 or a gradient by more than 1e-5 (relative L2 norm). The reference computes in double precision
          unless --dtype float32 is given, so that what is seen is beam's rounding alone. A mask logit nearer
          to the cutoff than beam's rounding can fall to the other side there, which shows in every number:
          the smallest distance is printed.
  bench   times forward, backward and AdamW of the shape that `beam bench train` has built in. Eager PyTorch
          computes every candidate, forward and backward: that is what a mask written in a few lines costs.
          With --beam it also runs `beam bench train` and prints the ratio.
"""
import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

LIMITS = {"logprob": 2e-5, "loss": 1e-6, "gradient": 1e-5}
LOSSES = ("loss", "task_loss", "mask_loss", "balance_loss")
DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


# ---- files ----


def read_safetensors(path):
    """{name: tensor} of one file: 8 bytes of header size, a JSON header, then the tensors' bytes."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, (first, end) = DTYPES[entry["dtype"]], entry["data_offsets"]
        flat = torch.frombuffer(data, dtype=dtype, offset=first, count=math.prod(entry["shape"])) if end > first \
            else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def read_weights(folder, dtype):
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.exists():
        names = set(json.loads(index.read_text())["weight_map"].values())
    weights = {}
    for name in sorted(names):
        weights.update(read_safetensors(folder / name))
    return {name: w.to(dtype).clone() for name, w in weights.items()}


def make_config(keys):
    """config.json with the defaults of Hugging Face's Qwen3MoeConfig."""
    c = SimpleNamespace(**{
        "num_key_value_heads": 4, "head_dim": None, "intermediate_size": 6144, "moe_intermediate_size": 768,
        "num_experts": 128, "num_experts_per_tok": 8, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "norm_topk_prob": False, "tie_word_embeddings": False, "decoder_sparse_step": 1,
        "mlp_only_layers": None, "expert_mask": None, **keys})
    c.head_dim = c.head_dim or c.hidden_size // c.num_attention_heads
    c.rope_theta = (keys.get("rope_parameters") or {}).get("rope_theta", c.rope_theta)
    c.moe_layers = [i for i in range(c.num_hidden_layers)
                    if i not in (c.mlp_only_layers or []) and (i + 1) % c.decoder_sparse_step == 0]
    return c


def read_ids(path):
    """(ids, loss) of each line; loss[i] says whether token i is a target when it is predicted."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [(line["ids"], line.get("loss") or [1] * len(line["ids"])) for line in lines]


def write_random_ids(path, vocab):
    """Four sequences, one with context that is no target and one of a single token."""
    rng = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for n in (64, 1, 37, 50):
            line = {"ids": [rng.randrange(vocab) for _ in range(n)]}
            if n == 37:
                line["loss"] = [int(i >= 12 and i % 5 != 0) for i in range(n)]
            file.write(json.dumps(line) + "\n")


# ---- the model ----


def rms_norm(x, weight, epsilon):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon))


def rotate(x, angle):
    """x [B,H,S,Dh]: the pairs (i, i + Dh/2) turn by angle [S,Dh/2] (rotate_half)."""
    angle = torch.cat((angle, angle), dim=-1)
    first, second = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat((-second, first), dim=-1) * angle.sin()


def swiglu(x, gate, up, down):
    return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


class Decoder:
    """Qwen3-MoE over {Hugging Face name: tensor}. Each call appends one SimpleNamespace per MoE layer to
    `routes`: router logits z [T,E], candidates [T,K] best first and, with masks, u, q and hard [T,K]."""

    def __init__(self, config, weights):
        self.config, self.weights, self.routes = config, weights, []

    def __call__(self, ids):
        """Logits [B,S,V] of ids [B,S]."""
        c, w = self.config, self.weights
        x = w["model.embed_tokens.weight"][ids]
        half = torch.arange(0, c.head_dim, 2, dtype=x.dtype) / c.head_dim
        angle = torch.outer(torch.arange(ids.shape[1], dtype=x.dtype), c.rope_theta ** -half)
        for i in range(c.num_hidden_layers):
            layer = f"model.layers.{i}."
            normed = rms_norm(x, w[layer + "input_layernorm.weight"], c.rms_norm_eps)
            x = x + self.attention(layer + "self_attn.", normed, angle)
            normed = rms_norm(x, w[layer + "post_attention_layernorm.weight"], c.rms_norm_eps)
            if i in c.moe_layers:
                y = self.experts(layer + "mlp.", normed.flatten(0, 1)).view_as(x)
            else:
                y = swiglu(normed, *self.mlp_weights(layer + "mlp."))
            x = x + y
        x = rms_norm(x, w["model.norm.weight"], c.rms_norm_eps)
        return F.linear(x, w["model.embed_tokens.weight" if c.tie_word_embeddings else "lm_head.weight"])

    def mlp_weights(self, prefix):
        return [self.weights[f"{prefix}{name}_proj.weight"] for name in ("gate", "up", "down")]

    def attention(self, prefix, x, angle):
        c, w = self.config, self.weights
        rows, length, _ = x.shape

        def heads(name):
            return F.linear(x, w[f"{prefix}{name}_proj.weight"]).view(rows, length, -1, c.head_dim)

        q = rms_norm(heads("q"), w[prefix + "q_norm.weight"], c.rms_norm_eps)
        k = rms_norm(heads("k"), w[prefix + "k_norm.weight"], c.rms_norm_eps)
        q, k, v = (t.transpose(1, 2) for t in (q, k, heads("v")))
        groups = c.num_attention_heads // c.num_key_value_heads
        k, v = (t.repeat_interleave(groups, dim=1) for t in (rotate(k, angle), v))
        score = rotate(q, angle) @ k.transpose(2, 3) * c.head_dim ** -0.5
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        out = F.softmax(score.masked_fill(future, -math.inf), dim=-1) @ v
        return F.linear(out.transpose(1, 2).flatten(2), w[prefix + "o_proj.weight"])

    def experts(self, prefix, x):
        """x [T,D] -> [T,D]."""
        c, w = self.config, self.weights
        z = F.linear(x, w[prefix + "gate.weight"])
        # The stable sort gives ties to the lower id, which torch.topk does not promise.
        candidate = z.sort(dim=-1, descending=True, stable=True).indices[:, :c.num_experts_per_tok]
        g = F.softmax(z, dim=-1).gather(1, candidate)
        if c.norm_topk_prob:
            g = g / g.sum(-1, keepdim=True)
        route = SimpleNamespace(z=z, candidate=candidate)
        self.routes.append(route)
        weight = g * self.mask(prefix + "mask_gate.", x, g, route) if c.expert_mask else g
        y = torch.zeros_like(x)
        for e in range(c.num_experts):
            token, rank = torch.where(candidate == e)
            if token.numel() > 0:
                out = swiglu(x[token], *self.mlp_weights(f"{prefix}experts.{e}."))
                y.index_add_(0, token, out * weight[token, rank, None])
        return y

    def mask(self, prefix, x, g, route):
        """The hard masks [T,K] of the candidates, with the soft ones' gradient (straight-through)."""
        c, w = self.config, self.weights
        u = F.linear(x, w[prefix + "weight"]).gather(1, route.candidate)
        if c.expert_mask.get("bias"):
            u = u + w[prefix + "bias"][route.candidate]
        if c.expert_mask.get("router_features"):
            share = (g / g.sum(-1, keepdim=True)).detach() * c.num_experts_per_tok
            share = share.clamp_min(torch.finfo(torch.float32).tiny)
            u = u + w[prefix + "router_scale"] * share.log() + w[prefix + "rank_bias"]
        threshold = c.expert_mask["threshold"]
        route.cutoff = math.log(threshold / (1 - threshold))
        route.u, route.q, route.hard = u, torch.sigmoid(u), u >= route.cutoff
        return route.q + (route.hard.to(u.dtype) - route.q).detach()


def load_balancing_loss(z, experts, top_k):
    """Hugging Face's load_balancing_loss_func: z [N,E] are the router logits of all tokens and layers."""
    probability = F.softmax(z, dim=-1)
    chosen = F.one_hot(torch.topk(probability, top_k, dim=-1).indices, experts)
    load = chosen.to(z.dtype).mean(0)
    return experts * (load * probability.mean(0).unsqueeze(0)).sum()


def mask_loss(routes):
    """The mean soft mask: over layers, tokens, candidates, all layers having the same tokens."""
    return torch.cat([r.q for r in routes]).mean()


def all_losses(model, lines, penalty, balance):
    """{name: scalar} of the sequences as one batch, and each sequence's log-probabilities and routes."""
    c, nll, targets, scores = model.config, 0, 0, []
    for ids, loss in lines:
        model.routes = []
        ids = torch.tensor([ids])
        logprob = F.log_softmax(model(ids)[0, :-1], dim=-1).gather(1, ids[0, 1:, None])[:, 0]
        wanted = torch.tensor(loss[1:], dtype=torch.bool)
        nll, targets = nll - logprob[wanted].sum(), targets + int(wanted.sum())
        scores.append(SimpleNamespace(logprob=logprob.detach(), routes=model.routes))
    routes = [r for s in scores for r in s.routes]
    zero = torch.zeros((), dtype=nll.dtype)
    result = {"task_loss": nll / targets,
              "mask_loss": mask_loss(routes) if c.expert_mask else zero,
              "balance_loss": load_balancing_loss(torch.cat([r.z for r in routes]), c.num_experts,
                                                  c.num_experts_per_tok) if balance > 0 else zero}
    result["loss"] = result["task_loss"] + penalty * result["mask_loss"] + balance * result["balance_loss"]
    return result, scores


def choose_trained(weights, trainable):
    """Marks what trains; {name: tensor} of it."""
    trained = {n: w for n, w in weights.items() if trainable == "all" or ".mask_gate." in n}
    for w in trained.values():
        w.requires_grad_(True)
    return trained


# ---- parity ----


def run(command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(c) for c in command)}\nfailed with exit code {done.returncode}")
    return done.stdout


def run_beam(args, ids):
    """What `beam score` prints, and the tensors that `beam grads` writes."""
    base = ["--model", args.model, "--input", ids]
    scores = [json.loads(line) for line in run([args.beam, "score", *base]).splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "grads.safetensors"
        run([args.beam, "grads", *base, "--out", out, "--trainable", args.trainable,
             "--penalty", args.penalty, "--balance", args.balance])
        return scores, read_safetensors(out)


def kept_count(kept):
    return len(kept) if isinstance(kept, list) else kept


def compare_scores(ours, reference, top_k):
    """(largest difference of log-probabilities, disagreements on kept experts, (token, layer) pairs)."""
    worst, disagreements, pairs = 0.0, 0, 0
    if len(ours) != len(reference):
        sys.exit(f"beam score printed {len(ours)} lines for {len(reference)} sequences")
    for mine, theirs in zip(ours, reference):
        logprobs = torch.tensor(mine["logprobs"], dtype=torch.float64)
        if logprobs.shape != theirs.logprob.shape:
            sys.exit(f"beam score gave {len(logprobs)} log-probabilities, not {len(theirs.logprob)}")
        # max() of Python would drop a NaN.
        worst = torch.cat((logprobs.sub(theirs.logprob).abs(), torch.tensor([worst]).double())).max().item()
        for layer, route in enumerate(theirs.routes):
            for token, candidate in enumerate(route.candidate.tolist()):
                hard = route.hard[token].tolist() if hasattr(route, "hard") else [True] * top_k
                expected = [e for e, keep in zip(candidate, hard) if keep]
                found = mine["active"][token][layer]
                same = found == expected if isinstance(found, list) else found == len(expected)
                disagreements, pairs = disagreements + (not same), pairs + 1
    return worst, disagreements, pairs


def gradient_errors(ours, trained):
    """[(relative error in the L2 norm, name)], worst first. What is smaller than 1e-6 of the whole gradient
    is measured against that: a gradient that is zero by cancellation has no relative error."""
    reference = {n: w.grad if w.grad is not None else torch.zeros_like(w) for n, w in trained.items()}
    floor = 1e-6 * math.sqrt(sum(g.double().pow(2).sum().item() for g in reference.values()))
    errors = []
    for name, g in reference.items():
        if name not in ours or ours[name].shape != g.shape:
            errors.append((math.inf, name + " (absent or of another shape)"))
            continue
        difference = (ours[name].double() - g.double()).norm().item()
        error = difference / max(g.double().norm().item(), floor) if difference != 0 else 0.0
        errors.append((math.inf if math.isnan(error) else error, name))
    errors += [(math.inf, name + " (not trained)") for name in set(ours) - set(reference) - set(LOSSES)]
    return sorted(errors, reverse=True)


def show(name, value, limit, note=""):
    """One line of the report; True if the value is within the limit (NaN is not)."""
    good = value <= limit
    print(f"{name:<34} {value:10.3g}  limit {limit:7.1g}  {'ok' if good else 'TOO LARGE':<9} {note}".rstrip())
    return good


def parity(args):
    config = make_config(json.loads((args.model / "config.json").read_text()))
    weights = read_weights(args.model, getattr(torch, args.dtype))
    trained = choose_trained(weights, args.trainable)
    with tempfile.TemporaryDirectory() as folder:
        ids = args.ids or Path(folder) / "ids.jsonl"
        if not args.ids:
            write_random_ids(ids, config.vocab_size)
        lines = read_ids(ids)
        scores, grads = run_beam(args, ids)
    losses, reference = all_losses(Decoder(config, weights), lines, args.penalty,
                                   args.balance if args.trainable == "all" else 0)
    losses["loss"].backward()

    print(f"{args.model}: {sum(len(i) for i, _ in lines)} tokens in {len(lines)} sequences, "
          f"trainable: {args.trainable}, penalty {args.penalty:g}, balance {args.balance:g}; "
          f"reference in {args.dtype}")
    worst, disagreements, pairs = compare_scores(scores, reference, config.num_experts_per_tok)
    good = [show("log-probabilities: largest error", worst, LIMITS["logprob"])]
    for name in LOSSES:
        if name not in grads:
            sys.exit(f"beam grads wrote no {name}")
        value, expected = grads[name].item(), losses[name].item()
        good.append(show(f"{name}: error", abs(value - expected), LIMITS["loss"], f"{value:.7f}"))
    errors = gradient_errors(grads, trained)
    good.append(show(f"gradients of {len(trained)} tensors: worst", errors[0][0], LIMITS["gradient"], errors[0][1]))
    for error, name in errors[1:1 + args.show]:
        print(f"    {error:10.3g}  {name}")
    note = f"of {pairs} (token, layer)"
    if config.expert_mask:
        routes = [r for s in reference for r in s.routes]
        kept = torch.cat([r.hard for r in routes]).double().sum(1)
        margin = min((r.u - r.cutoff).abs().min().item() for r in routes)
        note += f"; Avg-K {kept.mean():.3f}; mask logits stay {margin:.1e} from the cutoff"
    good.append(show("kept experts: disagreements", disagreements, 0, note))
    return 0 if all(good) else 1


# ---- bench ----


def bench_shape():
    return make_config({
        "vocab_size": 4096, "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 64, "moe_intermediate_size": 256, "num_experts": 32,
        "num_experts_per_tok": 8, "norm_topk_prob": True, "tie_word_embeddings": True, "rope_theta": 1e6,
        "expert_mask": {"threshold": 0.5, "bias": True, "router_features": True}})


def random_weights(c, active):
    """Random numbers in the shape; gates that keep the `active` best candidates of every token."""
    d, heads, kv_heads = c.hidden_size, c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    f, w = c.moe_intermediate_size, {}

    def add(name, *shape):
        w[name + ".weight"] = torch.ones(shape) if name.endswith("norm") else torch.randn(shape) * 0.02

    add("model.embed_tokens", c.vocab_size, d)
    add("model.norm", d)
    for layer in (f"model.layers.{i}." for i in range(c.num_hidden_layers)):
        add(layer + "input_layernorm", d)
        add(layer + "post_attention_layernorm", d)
        for name, shape in {"q_proj": (heads, d), "k_proj": (kv_heads, d), "v_proj": (kv_heads, d),
                            "o_proj": (d, heads), "q_norm": (c.head_dim,), "k_norm": (c.head_dim,)}.items():
            add(layer + "self_attn." + name, *shape)
        add(layer + "mlp.gate", c.num_experts, d)
        for expert in (f"{layer}mlp.experts.{e}." for e in range(c.num_experts)):
            add(expert + "gate_proj", f, d)
            add(expert + "up_proj", f, d)
            add(expert + "down_proj", d, f)
        gate = layer + "mlp.mask_gate."
        w[gate + "weight"], w[gate + "bias"] = torch.zeros(c.num_experts, d), torch.zeros(c.num_experts)
        w[gate + "router_scale"] = torch.zeros(1)
        w[gate + "rank_bias"] = torch.tensor([4.0 if k < active else -4.0 for k in range(c.num_experts_per_tok)])
    return w


def time_step(model, optimizer, ids, target):
    """Seconds of forward, backward and update."""
    model.routes = []
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(model(ids).flatten(0, 1), target.flatten()) + 0.1 * mask_loss(model.routes)
    forward = time.perf_counter()
    loss.backward()
    backward = time.perf_counter()
    optimizer.step()
    return forward - start, backward - forward, time.perf_counter() - backward


def bench_row(args, config, trainable, active):
    """Medians of the three parts, in seconds."""
    torch.manual_seed(1)
    weights = random_weights(config, active)
    # A rate of zero does the update's work and leaves the masks where they are.
    optimizer = torch.optim.AdamW(choose_trained(weights, trainable).values(), lr=0, weight_decay=0)
    model = Decoder(config, weights)
    ids, target = torch.randint(config.vocab_size, (2, args.rows, args.sequence))
    steps = [time_step(model, optimizer, ids, target) for _ in range(args.steps + 1)][1:]
    kept = torch.cat([r.hard for r in model.routes]).double().sum(1).mean().item()
    if kept != active:
        sys.exit(f"the gates keep {kept} candidates, not {active}")
    return [statistics.median(part) for part in zip(*steps)]


def blas_library():
    """The file that PyTorch's matrix products run in: Debian's alternatives decide."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        names = {line.split()[-1] for line in maps if "/" in line}
    return next((n for n in sorted(names) if "openblas" in n or "mkl_core" in n or "libblas" in n), "built in")


def bench(args):
    c = bench_shape()
    if args.threads:
        torch.set_num_threads(args.threads)
    threads = torch.get_num_threads()
    beam = {}
    if args.beam:
        command = [args.beam, "bench", "train", "--json"]
        for name in ("rows", "sequence", "steps"):
            command += [f"--{name}", getattr(args, name)]
        rows = json.loads(run(command + ["--threads", threads]))["rows"]
        beam = {(r["trainable"], r["active"]): r["tokens_per_s"] for r in rows}
    print(f"PyTorch {torch.__version__}, {threads} threads, matrix products in {blas_library()}")
    print(f"model: {c.num_hidden_layers} layers, D {c.hidden_size}, {c.num_experts} experts of width "
          f"{c.moe_intermediate_size}, K {c.num_experts_per_tok}, vocabulary {c.vocab_size}; "
          f"{args.rows} rows of {args.sequence} tokens; {args.steps} steps\n")
    print("trainable  Avg-K   tokens/s  forward/ms backward/ms update/ms"
          + ("  beam tokens/s  beam/PyTorch" if beam else ""))
    k = c.num_experts_per_tok
    for trainable in ("masks", "all"):
        for active in (k, k // 2, k // 8):
            parts = bench_row(args, c, trainable, active)
            speed = args.rows * args.sequence / sum(parts)
            line = f"{trainable:<9}  {active:5.1f}  {speed:9.0f}  " + "  ".join(f"{1e3 * p:9.1f}" for p in parts)
            other = beam.get((trainable, active))
            print(line + (f"  {other:13.0f}  {other / speed:12.2f}" if other else ""), flush=True)
    return 0


# ---- command line ----


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    p = modes.add_parser("parity", help="compare a model's numbers with beam's")
    p.add_argument("--model", type=Path, required=True, help="a Hugging Face folder (qwen3_moe), masked or not")
    p.add_argument("--beam", required=True, help="the beam program")
    p.add_argument("--ids", type=Path, help='JSONL of {"ids": [...], "loss": [...]}; default: random tokens')
    p.add_argument("--trainable", choices=("masks", "all"), default="all", help="whose gradients (all)")
    p.add_argument("--penalty", type=float, default=0, help="weight of the mask loss, beta (0)")
    p.add_argument("--balance", type=float, default=0, help="weight of the load-balancing loss (0)")
    p.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="of the reference")
    p.add_argument("--show", type=int, default=0, metavar="N", help="list the next N worst gradients too")
    b = modes.add_parser("bench", help="time training steps and compare with `beam bench train`")
    b.add_argument("--rows", type=int, default=8, help="rows of a micro-batch (8)")
    b.add_argument("--sequence", type=int, default=512, help="tokens of a row (512)")
    b.add_argument("--steps", type=int, default=5, help="timed steps, of which the median counts (5)")
    b.add_argument("--threads", type=int, default=0, help="processor threads (all cores)")
    b.add_argument("--beam", help="the beam program, for the ratio")
    args = parser.parse_args()
    return parity(args) if args.mode == "parity" else bench(args)


if __name__ == "__main__":
    sys.exit(main())
