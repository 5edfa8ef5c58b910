"""Small models of every family with random mask gates, made by beam: trained for a moment, exported."""
import json
import os
import subprocess
from pathlib import Path

import pytest

BEAM = os.environ.get("BEAM", "beam")

# Sizes that vLLM's kernels for processors take: multiples of 32, heads of 32 (latent attention: 576 wide).
COMMON = {"vocab_size": 259, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
          "num_key_value_heads": 2, "num_experts_per_tok": 4, "max_position_embeddings": 512,
          "rms_norm_eps": 1e-5, "initializer_range": 0.2, "rope_theta": 10000.0, "torch_dtype": "float32",
          "tie_word_embeddings": False, "eos_token_id": 256}
FAMILIES = {
    "qwen3_moe": {"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 8, "moe_intermediate_size": 32,
                  "intermediate_size": 64, "head_dim": 32, "num_key_value_heads": 1, "norm_topk_prob": True,
                  "mlp_only_layers": [1]},
    "qwen2_moe": {"architectures": ["Qwen2MoeForCausalLM"], "num_experts": 8, "moe_intermediate_size": 32,
                  "intermediate_size": 64, "shared_expert_intermediate_size": 64, "norm_topk_prob": False},
    "deepseek_v2": {"architectures": ["DeepseekV2ForCausalLM"], "n_routed_experts": 8, "n_shared_experts": 1,
                    "moe_intermediate_size": 32, "intermediate_size": 64, "first_k_dense_replace": 1,
                    "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 32, "qk_rope_head_dim": 64,
                    "v_head_dim": 32, "n_group": 4, "topk_group": 3, "topk_method": "group_limited_greedy",
                    "routed_scaling_factor": 2.5, "norm_topk_prob": False, "rms_norm_eps": 1e-6,
                    # As published. Without YaRN vLLM's own rotation on processors goes wrong.
                    "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128,
                                     "beta_fast": 32, "beta_slow": 1, "mscale": 0.707,
                                     "mscale_all_dim": 0.707}},
    "olmoe": {"architectures": ["OlmoeForCausalLM"], "num_experts": 8, "intermediate_size": 32,
              "norm_topk_prob": False},
    "mixtral": {"architectures": ["MixtralForCausalLM"], "num_local_experts": 8, "intermediate_size": 32},
}
# 4 candidates of 1 or 2 tokens are few enough among 32 experts for a path of its own in the Triton kernels.
WIDE = FAMILIES["qwen3_moe"] | {"num_experts": 32, "model_type": "qwen3_moe"}
SENTENCES = ("the quick brown fox jumps over the lazy dog", "pack my box with five dozen liquor jugs",
             "how vexingly quick daft zebras jump", "sphinx of black quartz, judge my vow")


def beam(*arguments, cwd=None):
    done = subprocess.run([BEAM, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"beam {arguments}: {done.stderr}"
    return done.stdout


def edit_config(folder: Path, edit):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config, indent=2))


def edit_tensors(folder: Path, edit):
    """edit(name, tensor) gives a tensor, or None for none."""
    from safetensors.torch import load_file, save_file
    path = folder / "model.safetensors"
    tensors = {n: edit(n, t) for n, t in load_file(path).items()}
    save_file({n: t for n, t in tensors.items() if t is not None}, path, metadata={"format": "pt"})


def randomize_gates(folder: Path, seed=0):
    """Gates that keep about half of the candidates, some tokens all, some none."""
    import torch
    random = torch.Generator().manual_seed(seed)
    spread = {"weight": 0.15, "bias": 0.5, "router_scale": 0.5, "rank_bias": 0.5}

    def edit(name, tensor):
        if ".mask_gate." not in name:
            return tensor
        return torch.randn(tensor.shape, generator=random) * spread[name.rpartition(".")[2]]
    edit_tensors(folder, edit)


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    lines = [f"{i}: {SENTENCES[i % 4]}\n<end>\n" for i in range(200)]
    (folder / "text.txt").write_text("".join(lines))
    beam("preprocess", "text.txt", "--out", "data.h5", "--separator", "<end>", cwd=folder)
    return folder


@pytest.fixture(scope="session")
def exported(text):
    """family, options of `beam export` -> folder as it writes it, gates then random."""
    folders = {}

    def train(family: str):
        if not (text / f"{family}-run").exists():
            config = COMMON | {"model_type": family} | (WIDE if family == "wide" else FAMILIES[family])
            (text / f"{family}.json").write_text(json.dumps(config))
            (text / f"{family}.yaml").write_text(
                f"model_name_or_path: random:{family}.json\ndataset: data.h5\ncutoff_len: 64\n"
                "per_device_train_batch_size: 4\ngradient_accumulation_steps: 1\nlearning_rate: 0.003\n"
                f"max_steps: 40\noutput_dir: {family}-run\n")
            beam("train", f"{family}.yaml", "trainable=all", "mask.target_active=2", cwd=text)

    def make(family: str, *words: str) -> Path:
        key = (family, *words)
        if key not in folders:
            train(family)
            folders[key] = text / "".join(key)
            beam("export", "--run", f"{family}-run", "--out", folders[key], *words, cwd=text)
            randomize_gates(folders[key])
        return folders[key]
    return make
