#!/usr/bin/env python3
"""Writes tests/fixtures/families: tiny random models of every family, saved by Hugging Face transformers, and
what transformers and PyTorch's autograd compute with them. tests/fixtures/families/README.md lists the files
and their tensors. The same versions write the same bytes.

Needs Python 3.11, and: pip install torch==2.15.0 transformers==5.23.0 (the processor builds are enough).
Tests read the files only: nobody needs Python to run them.
"""
import argparse
import json
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from hf_reference import GATE, Masks, load_model, published, published_block

SEQUENCES, LENGTH = 2, 20
PENALTY = 0.7  # weight of the mask loss in <form>.grad
MARGIN = 2e-4  # smallest distance of two ranked scores' logarithms, and of a mask logit from the threshold
STEPS = 10  # of AdamW
FORMS = ("hard", "soft", "give")

# Small, and no power of two where a family allows it. The epsilon is large enough for a wrong one to show.
COMMON = {"vocab_size": 36, "hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 4, "max_position_embeddings": 64, "num_experts_per_tok": 3,
          "intermediate_size": 12, "rms_norm_eps": 1e-3, "bos_token_id": 1, "eos_token_id": 2,
          "pad_token_id": None}
QWEN3 = {"model_type": "qwen3_moe", "num_experts": 6, "moe_intermediate_size": 12, "intermediate_size": 18,
         "head_dim": 8, "num_key_value_heads": 2, "norm_topk_prob": True}
QWEN2 = {"model_type": "qwen2_moe", "num_experts": 6, "moe_intermediate_size": 12, "intermediate_size": 18,
         "hidden_size": 24, "num_hidden_layers": 3, "shared_expert_intermediate_size": 14}
DEEPSEEK = {"model_type": "deepseek_v2", "num_hidden_layers": 3, "n_routed_experts": 5,
            "moe_intermediate_size": 12, "intermediate_size": 18, "n_shared_experts": 2,
            "first_k_dense_replace": 1, "kv_lora_rank": 10, "q_lora_rank": None, "qk_nope_head_dim": 2,
            "qk_rope_head_dim": 8, "v_head_dim": 6}
OLMOE = {"model_type": "olmoe", "num_experts": 5, "hidden_size": 24}
MIXTRAL = {"model_type": "mixtral", "num_local_experts": 6, "head_dim": 6, "num_experts_per_tok": 2}
# Small bases and contexts, so that 20 positions see every part of the ramp between the frequencies.
YARN = {"rope_type": "yarn", "rope_theta": 200.0, "factor": 4.0, "original_max_position_embeddings": 128}
YARN_DEEPSEEK = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 40.0, "beta_fast": 32, "beta_slow": 1,
                 "mscale": 0.9, "mscale_all_dim": 0.707, "original_max_position_embeddings": 256}
VARIANTS = {
    "qwen3_moe": QWEN3 | {"rope_theta": 1000.0},
    "qwen3_moe_dense": QWEN3 | {
        "num_hidden_layers": 3, "mlp_only_layers": [1], "rope_parameters": YARN, "attention_bias": True,
        "max_position_embeddings": 512, "tie_word_embeddings": True, "num_experts": 4},
    "qwen2_moe": QWEN2 | {"decoder_sparse_step": 2, "norm_topk_prob": False},
    "qwen2_moe_window": QWEN2 | {
        "norm_topk_prob": True, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2,
        "hidden_size": 16, "num_experts": 4, "num_key_value_heads": 2},
    "deepseek_v2": DEEPSEEK | {"rope_parameters": YARN_DEEPSEEK, "max_position_embeddings": 10240},
    "deepseek_v2_groups": DEEPSEEK | {
        "q_lora_rank": 14, "topk_method": "group_limited_greedy", "n_group": 3, "topk_group": 2,
        "n_routed_experts": 6, "n_shared_experts": 1, "routed_scaling_factor": 16.0},
    "olmoe": OLMOE,
    "olmoe_clip": OLMOE | {"clip_qkv": 0.6, "num_key_value_heads": 2, "norm_topk_prob": True,
                           "hidden_size": 16},
    "mixtral": MIXTRAL,
    "mixtral_window": MIXTRAL | {"sliding_window": 5, "num_key_value_heads": 2, "num_local_experts": 4},
}
FUSED = ("qwen3_moe", "qwen2_moe", "deepseek_v2", "olmoe", "mixtral")  # also saved with stacked experts

# Keys of published config.json files that transformers 5 does not write any more.
OLDER = {
    "qwen3_moe": {"max_window_layers": 3, "sliding_window": None},
    "qwen2_moe": {},
    "deepseek_v2": {
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config",
                     "AutoModelForCausalLM": "modeling_deepseek.DeepseekV2ForCausalLM"},
        "aux_loss_alpha": 0.001, "ep_size": 1, "moe_layer_freq": 1, "scoring_func": "softmax",
        "seq_aux": True},
    "olmoe": {},
    "mixtral": {},
}


class Unlucky(Exception):
    """These random numbers come too close to a tie, or leave a case out."""


def older_config(config: dict) -> dict:
    """config.json of transformers 5 in the form that transformers 4 and published models have."""
    old = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype", "layer_types")}
    rope = dict(config["rope_parameters"])
    old["rope_theta"] = rope.pop("rope_theta")
    old["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    if config["model_type"] == "deepseek_v2":
        for key in ("head_dim", "qk_head_dim"):
            old.pop(key, None)
        for key in ("n_group", "topk_group"):
            old[key] = old[key] or 1
        if old["rope_scaling"]:
            old["rope_scaling"]["type"] = old["rope_scaling"].pop("rope_type")
    if config["model_type"] == "qwen3_moe" and "num_local_experts" in old:
        old["num_experts"] = old.pop("num_local_experts")
    if config["model_type"] == "qwen2_moe" and not config["use_sliding_window"]:
        old["sliding_window"] = 5  # given, and not in use
    return old | OLDER[config["model_type"]] | {"torch_dtype": config["dtype"],
                                                "transformers_version": "4.51.0"}


def write_json(path: Path, value: dict):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def random_model(keys: dict) -> PreTrainedModel:
    """Numbers of a size that makes logits, scores and gradients of order 1."""
    keys = COMMON | keys
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**keys))
    scaling = keys.get("routed_scaling_factor", 1.0)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape)
        if "norm" in name:
            p.data = 1 + 0.2 * noise
        elif name.endswith("embed_tokens.weight"):
            p.data = (0.3 if model.config.tie_word_embeddings else 1.0) * noise
        elif p.ndim == 1:
            p.data = 0.3 * noise
        else:
            p.data = noise / p.shape[-1] ** 0.5 * (1.5 if "gate.weight" in name else 1.0)
        if name.endswith("experts.down_proj"):
            p.data *= 4 / scaling
    return model.to(torch.bfloat16)


def save_model(model: PreTrainedModel, folder: Path, **options):
    """config.json and model.safetensors, and nothing else."""
    model.save_pretrained(folder, **options)
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()


def random_gates(model: PreTrainedModel, experts: int, top_k: int) -> dict[str, torch.Tensor]:
    """Mask gates of every MoE layer that keep about half of the candidates."""
    width, block, gates = model.config.hidden_size, published_block(model.config.model_type), {}
    for i, layer in enumerate(model.model.layers):
        if hasattr(layer.mlp, "experts"):
            prefix = f"model.layers.{i}.{block}{GATE}"
            gates |= {prefix + "weight": torch.randn(experts, width) / width ** 0.5,
                      prefix + "bias": 0.3 * torch.randn(experts) + 0.2,
                      prefix + "router_scale": 1 + 0.3 * torch.randn(1),
                      prefix + "rank_bias": torch.linspace(0.4, -0.4, top_k) + 0.1 * torch.randn(top_k),
                      prefix + "dropped_output": 0.5 * torch.randn(experts, width)}
    return gates


def check_margins(model: PreTrainedModel, masks: Masks, margin: float):
    """No decision of the last forward may be within `margin` of falling otherwise: neither on another
    machine nor in another order of additions."""
    config, top_k = model.config, model.config.num_experts_per_tok
    for route in masks.routes:
        score = route.router.detach().log_softmax(-1)
        if getattr(config, "topk_method", "") == "group_limited_greedy":
            groups = score.view(len(score), config.n_group, -1)
            best = groups.max(-1).values.sort(-1, descending=True).values
            if (best[:, config.topk_group - 1] - best[:, config.topk_group]).min() < margin:
                raise Unlucky("groups of experts nearly tie")
            limit = best[:, config.topk_group - 1, None, None]
            chosen = groups.max(-1, keepdim=True).values >= limit
            score = torch.where(chosen, groups, -torch.inf).view_as(score)
        best = score.sort(-1, descending=True).values[:, :top_k + 1]
        if (best[:, :-1] - best[:, 1:]).min() < margin:
            raise Unlucky("experts nearly tie")
        if route.logit is not None and (route.logit - masks.cutoff).abs().min() < margin:
            raise Unlucky("a mask logit is nearly at the threshold")


def forward(model: PreTrainedModel, masks: Masks, ids: torch.Tensor, margin: float):
    masks.routes = []
    out = model(input_ids=ids, labels=ids, use_cache=False)
    check_margins(model, masks, margin)
    return out


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    grads = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
    return published(model.config.model_type, grads)


def base_values(model: PreTrainedModel, masks: Masks, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Without masks: logits, loss, every gradient, and the load-balancing loss where the family has one."""
    out = forward(model, masks, ids, MARGIN)
    model.zero_grad()
    out.loss.backward()
    values = {"base.logits": out.logits.flatten(0, 1), "base.loss": out.loss.reshape(1)}
    values |= {f"base.grad.{name}": g for name, g in gradients(model).items()}
    if hasattr(model, "router_aux_loss_coef"):
        out = model(input_ids=ids, labels=ids, use_cache=False, output_router_logits=True)
        model.zero_grad()
        out.aux_loss.backward()
        values["base.balance"] = out.aux_loss.reshape(1)
        values |= {f"base.balance_grad.{name}": g for name, g in gradients(model).items()
                   if is_router(name)}
    return values


def is_router(name: str) -> bool:
    return name.endswith((".mlp.gate.weight", ".block_sparse_moe.gate.weight"))


def masked_values(model: PreTrainedModel, masks: Masks, ids: torch.Tensor,
                  gates: dict[str, torch.Tensor], form: str) -> dict[str, torch.Tensor]:
    """One form of the masks: what is kept, the losses, and the gradients that tell something new."""
    masks.soft = form == "soft"
    masks.gates = {name: gate.clone().requires_grad_() for name, gate in gates.items()
                   if form == "give" or "dropped_output" not in name}
    out = forward(model, masks, ids, MARGIN)
    keep = torch.stack([r.keep for r in masks.routes])
    if form == "hard":
        kept = keep.sum(-1)
        if not 0.35 < keep.float().mean() < 0.65 or kept.min() > 0 or kept.max() < keep.shape[-1]:
            raise Unlucky("too few or too many candidates are kept, or no token keeps none or all")
    model.zero_grad()
    (out.loss + PENALTY * masks.loss()).backward()
    values = {"logits": out.logits.flatten(0, 1), "task_loss": out.loss.reshape(1),
              "mask_loss": masks.loss().reshape(1), "keep": keep.to(torch.uint8),
              "expert": torch.stack([r.expert for r in masks.routes]).to(torch.int32),
              "logit": torch.stack([r.logit for r in masks.routes])}
    values |= {f"grad.{name}": gate.grad for name, gate in masks.gates.items()}
    base = gradients(model)
    first_expert = next(n for n in base if ".experts.0." in n).rpartition(".experts.")[0] + ".experts.0."
    values |= {f"grad.{name}": g for name, g in base.items()
               if is_router(name) or name.startswith(first_expert) or "embed_tokens" in name}
    masks.gates, masks.soft = {}, False
    return {f"{form}.{name}": value for name, value in values.items()}


def adamw_losses(model: PreTrainedModel, masks: Masks, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """The loss before each of ten steps on one batch. Moves the model's weights."""
    decayed, plain = ([p for p in model.parameters() if (p.ndim > 1) == wide] for wide in (True, False))
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1},
                                   {"params": plain, "weight_decay": 0.0}],
                                  lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(STEPS):
        loss = forward(model, masks, ids, MARGIN / 100).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"adamw.losses": torch.tensor(losses, dtype=torch.float64)}


def check_saved(model: PreTrainedModel, ids: torch.Tensor, folder: Path):
    """Every folder that was written must be the same model, whatever its layout and form of the config."""
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        saved = load_file(folder / "model.safetensors")
        loaded = published(model.config.model_type, dict(model.named_parameters()))
        assert saved.keys() == loaded.keys()
        assert all(torch.equal(loaded[name], saved[name].float()) for name in saved)
        with tempfile.TemporaryDirectory() as older:
            shutil.copy(folder / "model.safetensors", older)
            config = json.loads((folder / "config.older.json").read_text())
            config.pop("auto_map", None)  # code of others, which this does not run
            write_json(Path(older) / "config.json", config)
            others = [older, folder / "fused"] if (folder / "fused").exists() else [older]
            for other in others:
                assert torch.equal(load_model(other, torch.float32)(input_ids=ids).logits, expected), other


def make_variant(name: str, seed: int, folder: Path) -> dict[str, torch.Tensor]:
    """Writes the model and returns the expected values; Unlucky if other numbers are needed."""
    torch.manual_seed(seed)
    original = random_model(VARIANTS[name])
    save_model(original, folder)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.older.json", older_config(config))
    if name in FUSED:
        save_model(original, folder / "fused", save_original_format=False)

    model = load_model(folder, torch.float32)
    ids = torch.randint(COMMON["vocab_size"], (SEQUENCES, LENGTH))
    check_saved(model, ids, folder)
    masks = Masks(model)
    values = {"ids": ids.to(torch.int32)} | base_values(model, masks, ids)
    gates = random_gates(model, masks.routes[0].router.shape[1], masks.routes[0].expert.shape[1])
    values |= {f"gate.{gate}": value for gate, value in gates.items()}
    for form in FORMS:
        values |= masked_values(model, masks, ids, gates, form)
    values |= adamw_losses(model, masks, ids)
    assert all(value.isfinite().all() for value in values.values())
    return {key: value.detach().contiguous() for key, value in values.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT", help="folder (tests/fixtures/families)",
                        default=Path(__file__).parent.parent / "tests" / "fixtures" / "families")
    parser.add_argument("--only", choices=VARIANTS, help="one variant only")
    args = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in [args.only] if args.only else VARIANTS:
        for seed in range(1, 1000):
            shutil.rmtree(args.out / name, ignore_errors=True)
            try:
                values = make_variant(name, seed, args.out / name)
                break
            except Unlucky:
                continue
        else:
            sys.exit(f"{name}: no seed below 1000 has margins of {MARGIN}")
        save_file(values, args.out / name / "expected.safetensors")
        kept = values["hard.keep"].float().mean().item()
        print(f"{name:<20} seed {seed:3}  loss {values['base.loss'].item():.4f}  largest logit "
              f"{values['base.logits'].abs().max().item():.2f}  kept {kept:.2f}  AdamW "
              f"{values['adamw.losses'][-1].item():.4f}", flush=True)
    write_json(args.out / "versions.json", {"python": platform.python_version(), "torch": torch.__version__,
                                            "transformers": transformers.__version__})
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
