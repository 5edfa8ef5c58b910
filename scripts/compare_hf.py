#!/usr/bin/env python3
"""Compares beam's numbers for a model folder with those of Hugging Face transformers: log-probabilities,
kept experts, losses and gradients. Works for every family that beam supports, with mask gates or without.

The model itself is transformers' own code in eager mode, the masks are those of docs/method.md, and every
gradient comes from autograd. One line per comparison, with its limit and ok or BAD; exit code 1 if any is
BAD: log-probabilities may differ by 2e-5, a loss by 1e-6 (relative above 1), a gradient by 1e-5 (relative L2
norm), and no token may keep other experts. The reference computes in double precision, so that what shows is
beam's rounding alone; --dtype float32 has PyTorch's too, and limits twice as wide, in half the memory. A mask
logit within rounding of the cutoff may fall to either side, and so may a near tie of the router, which then
moves every number: the smallest distances are printed.

Needs Python 3.11, and: pip install "torch>=2.9" "transformers>=5.23" (the processor builds are enough). And
memory for the weights and their gradients (--trainable masks: for the weights alone) in the reference's type;
beam runs before, in float32.

example:
  scripts/compare_hf.py export --penalty 0.3
"""
import argparse
import json
import math
import random
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import PreTrainedModel

from hf_reference import GATE, Masks, Route, arithmetic, load_model, published, read_tensors

LIMITS = {"logprob": 2e-5, "loss": 1e-6, "gradient": 1e-5}
LOSSES = ("loss", "task_loss", "mask_loss", "balance_loss")


@dataclass
class Scored:
    """One sequence: the log-probability of each id but the first, and what each MoE layer chose."""
    logprob: torch.Tensor
    routes: list[Route]


def write_random_ids(path: Path, vocab: int) -> Path:
    """Four sequences: one of a single token, and one where the loss counts only some tokens."""
    draw = random.Random(1)
    lines = [{"ids": [draw.randrange(vocab) for _ in range(n)]} for n in (64, 1, 37, 50)]
    lines[2]["loss"] = [int(i >= 12 and i % 5 != 0) for i in range(37)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def load_masks(folder: Path, model: PreTrainedModel) -> Masks:
    """The folder's mask gates, if its config.json has them, on the model."""
    block = getattr(model.config, "expert_mask", None)
    masks = Masks(model, block["threshold"] if block else 0.5)
    masks.gates = {n: gate.to(model.dtype) for n, gate in read_tensors(folder, GATE).items()}
    if bool(block) != bool(masks.gates):
        sys.exit(f"{folder}: either the expert_mask block of config.json or the mask gates are missing")
    return masks


def score(model: PreTrainedModel, masks: Masks, lines: list[dict]) -> list[Scored]:
    scores = []
    for line in lines:
        masks.routes = []
        ids = torch.tensor([line["ids"]])
        with arithmetic(model):
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        logprob = F.log_softmax(logits, dim=-1).gather(1, ids[0, 1:, None])[:, 0]
        scores.append(Scored(logprob, masks.routes))
    return scores


def balance_loss(model: PreTrainedModel, routes: list[Route]) -> torch.Tensor | None:
    """The load-balancing loss of the family over all sequences and layers, or None if it has none."""
    function = getattr(sys.modules[type(model).__module__], "load_balancing_loss_func", None)
    if function is None:
        return None
    with arithmetic(model):
        return function((torch.cat([r.router for r in routes]),), routes[0].router.shape[1],
                        routes[0].expert.shape[1])


def all_losses(args, model: PreTrainedModel, masks: Masks,
               lines: list[dict]) -> dict[str, torch.Tensor | None]:
    """The losses of the sequences as one batch, by name."""
    scores = score(model, masks, lines)
    nll = [-s.logprob[torch.tensor(line.get("loss", [1] * len(line["ids"]))[1:], dtype=torch.bool)]
           for s, line in zip(scores, lines)]
    masks.routes = [route for s in scores for route in s.routes]
    task, mask = torch.cat(nll).mean(), masks.loss()
    # The balance counts only where the router trains.
    spread = balance_loss(model, masks.routes) if args.trainable == "all" else torch.zeros(())
    if spread is None and args.balance:
        sys.exit(f"--balance: transformers has no load-balancing loss for {model.config.model_type}")
    loss = task + args.penalty * mask + (args.balance * spread if args.balance else 0)
    return {"loss": loss, "task_loss": task, "mask_loss": mask, "balance_loss": spread}


def trained(model: PreTrainedModel, masks: Masks, trainable: str) -> dict[str, torch.Tensor]:
    """The gradients of what trains, under published names."""
    grads = {n: gate.grad for n, gate in masks.gates.items()}
    if trainable == "all":
        base = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
        grads |= published(model.config.model_type, base)
    return grads


def run_beam(args, ids: Path) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """What `beam score` prints, and the tensors that `beam grads` writes."""
    def run(*words):
        done = subprocess.run([str(word) for word in (args.beam, *words)], stdout=subprocess.PIPE, text=True,
                              check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(done.args)}: exit code {done.returncode}")
        return done.stdout

    base = ["--model", args.model, "--input", ids]
    scores = [json.loads(line) for line in run("score", *base, "--experts").splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "grads.safetensors"
        run("grads", *base, "--out", out, "--trainable", args.trainable, "--penalty", args.penalty,
            "--balance", args.balance, *(["--soft"] if args.soft else []))
        return scores, load_file(out)


def logprob_error(ours: list[dict], reference: list[Scored]) -> float:
    """The largest difference over all sequences; NaN if there is one."""
    mine = [torch.tensor(line["logprobs"], dtype=torch.float64) for line in ours]
    if [len(x) for x in mine] != [len(s.logprob) for s in reference]:
        sys.exit("beam score did not print one log-probability for every token but the first of each line")
    return (torch.cat(mine) - torch.cat([s.logprob for s in reference])).abs().max().item()


def expert_disagreements(ours: list[dict], reference: list[Scored]) -> int:
    """(token, layer) pairs whose kept experts are not the same ones in the same order."""
    count = 0
    for mine, line in zip(ours, reference):
        for layer, route in enumerate(line.routes):
            kept = [expert[keep].tolist() for expert, keep in zip(route.expert, route.keep)]
            count += sum(k != e[layer] or len(k) != n[layer]
                         for k, e, n in zip(kept, mine["experts"], mine["active"]))
    return count


def gradient_errors(ours: dict[str, torch.Tensor],
                    reference: dict[str, torch.Tensor]) -> list[tuple[float, str]]:
    """[(relative error in the L2 norm, name)], worst first. Three cases are measured against more than the
    tensor's own size, for what is left after cancellation has no relative error: everything below 1e-6 of
    the whole gradient against that; a router_scale, one sum over all tokens, together with its rank_bias; an
    expert, which only few tokens may have chosen, together with the average expert of its layer.
    """
    size = {n: g.double().norm().item() for n, g in reference.items()}
    floor = max(1e-6 * math.hypot(*size.values()), 1e-30)
    stacks: dict[str, list[float]] = {}
    for name, norm in size.items():
        stacks.setdefault(stack_of(name), []).append(norm)
    errors = [(math.inf, n) for n in set(ours) - set(reference) - {*LOSSES, "avg_active"}]
    for name, g in reference.items():
        stack = stacks[stack_of(name)]
        beside = math.hypot(*stack) / math.sqrt(len(stack)) if len(stack) > 1 else 0
        if "router_scale" in name:
            beside = size[name.replace("router_scale", "rank_bias")]
        error = math.inf
        if name in ours and ours[name].shape == g.shape:
            error = (ours[name].double() - g).norm().item() / max(math.hypot(size[name], beside), floor)
        errors.append((math.inf if math.isnan(error) else error, name))
    return sorted(errors, reverse=True)


def stack_of(name: str) -> str:
    """The same name for the same projection of all experts of a layer."""
    return re.sub(r"\.experts\.\d+\.", ".experts.", name)


def show(name: str, value: float, limit: float, note: str) -> bool:
    """One line of the report; True if the value is within the limit (NaN is not)."""
    print(f"{name:<18} {value:9.2g}  limit {limit:5.0e}  {'ok ' if value <= limit else 'BAD'}  {note}")
    return value <= limit


def describe(masks: Masks, routes: list[Route]) -> str:
    """What was kept, and how far the nearest decision was from falling otherwise."""
    kept = torch.cat([r.keep for r in routes]).double().sum(1)
    top_k = routes[0].expert.shape[1]
    best = torch.cat([r.router for r in routes]).sort(dim=-1, descending=True).values[:, :top_k + 1]
    note = (f"of {len(kept)} (token, layer); Avg-K {kept.mean():.3f}; "
            f"nearest router logits: {(best[:, :-1] - best[:, 1:]).min():.1e}")
    if masks.gates:
        nearest = min((r.logit - masks.cutoff).abs().min() for r in routes)
        note += f"; nearest mask logit to the cutoff: {nearest:.1e}"
    return note


def compare(args, lines: list[dict], ids: Path) -> bool:
    scores, grads = run_beam(args, ids)
    model = load_model(args.model, getattr(torch, args.dtype))
    masks = load_masks(args.model, model)
    with torch.no_grad():
        reference = score(model, masks, lines)
    model.requires_grad_(args.trainable == "all")
    for gate in masks.gates.values():
        gate.requires_grad_()
    masks.soft = args.soft
    losses = all_losses(args, model, masks, lines)
    losses["loss"].backward()

    limits = {name: limit * (2 if args.dtype == "float32" else 1) for name, limit in LIMITS.items()}
    routes = [route for s in reference for route in s.routes]
    good = [show("log-probabilities", logprob_error(scores, reference), limits["logprob"], "largest error"),
            show("kept experts", expert_disagreements(scores, reference), 0, describe(masks, routes))]
    for name in LOSSES:
        if losses[name] is not None:
            value, expected = grads[name].item(), losses[name].item()
            error = abs(value - expected) / max(1, abs(expected))
            good.append(show(name, error, limits["loss"], f"{value:.7f}"))
    reference_grads = trained(model, masks, args.trainable)
    error, name = gradient_errors(grads, reference_grads)[0]
    good.append(show(f"{len(reference_grads)} gradients", error, limits["gradient"], f"worst: {name}"))
    return all(good)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL_DIR", help="model folder, with masks or without")
    parser.add_argument("--beam", default="build/cpu/cli/beam", help="the beam program (%(default)s)")
    parser.add_argument("--ids", type=Path, metavar="FILE.jsonl",
                        help='lines {"ids": [...]}, optionally "loss": [...] (random)')
    parser.add_argument("--trainable", choices=("masks", "all"), default="all", help="whose gradients (all)")
    parser.add_argument("--penalty", type=float, default=0, help="weight of the mask loss, beta (0)")
    parser.add_argument("--balance", type=float, default=0, help="weight of the load-balancing loss (0)")
    parser.add_argument("--soft", action="store_true", help="gradients of the soft form (beam grads --soft)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="of the reference")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch (all cores)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    vocab = json.loads((args.model / "config.json").read_text())["vocab_size"]
    with tempfile.TemporaryDirectory() as folder:
        ids = args.ids or write_random_ids(Path(folder) / "ids.jsonl", vocab)
        lines = [json.loads(line) for line in ids.read_text().splitlines() if line.strip()]
        print(f"{args.model}: {sum(len(line['ids']) for line in lines)} tokens in {len(lines)} sequences; "
              f"trainable {args.trainable}, penalty {args.penalty:g}, balance {args.balance:g}"
              f"{', soft masks' if args.soft else ''}; reference in {args.dtype}")
        return int(not compare(args, lines, ids))


if __name__ == "__main__":
    sys.exit(main())
