"""Masked models for the tests: bases of tests/fixtures/families with mask gates, which the C program trains for
one step and exports."""
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from prepare import tokenfile  # noqa: E402

BEAM = os.environ.get("BEAM", str(ROOT / "build" / "cpu" / "cli" / "beam"))
FAMILIES = ROOT / "tests" / "fixtures" / "families"
VARIANTS = sorted(path.name for path in FAMILIES.iterdir() if path.is_dir())


def beam(*words, code: int = 0) -> str:
    """What the program prints; it must end with this exit code."""
    done = subprocess.run([BEAM, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{' '.join(done.args)}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


@cache
def expected(variant: str) -> dict[str, torch.Tensor]:
    with safe_open(FAMILIES / variant / "expected.safetensors", framework="pt") as f:
        return {name: f.get_tensor(name) for name in f.keys() if not name.startswith(("base.grad", "hard.grad"))}


def gates_of(variant: str, kind: str) -> dict[str, torch.Tensor]:
    """Mask gates. random, give: those of the fixture, which keep about half of the candidates; dropped: those
    with a bias that keeps none; paper: a weight alone."""
    gates = {name.removeprefix("gate."): t.clone() for name, t in expected(variant).items()
             if name.startswith("gate.")}
    if kind != "give":
        gates = {name: t for name, t in gates.items() if not name.endswith("dropped_output")}
    if kind == "paper":
        gates = {name: t for name, t in gates.items() if name.endswith("weight")}
    if kind == "dropped":
        gates = {name: t - 100 * name.endswith(".bias") for name, t in gates.items()}
    return gates


def base_config(variant: str) -> dict:
    """config.json of the fixture as the installed transformers reads it: 4 does not know what 5 writes."""
    older = transformers.__version__.startswith("4.")
    config = json.loads((FAMILIES / variant / f"config{'.older' * older}.json").read_text())
    config.pop("auto_map", None)
    return config


def masked_base(folder: Path, variant: str, kind: str):
    """A masked folder by hand: the fixture's weights with such gates."""
    folder.mkdir(parents=True)
    gates = gates_of(variant, kind)
    save_file(load_file(FAMILIES / variant / "model.safetensors") | gates, folder / "model.safetensors",
              {"format": "pt"})
    config = base_config(variant)
    config["architectures"] = ["ExpertMask" + config["architectures"][0]]
    config["expert_mask"] = {"version": 1, "threshold": 0.5,
                             "bias": any(n.endswith(".bias") for n in gates),
                             "router_features": any(n.endswith("rank_bias") for n in gates),
                             "dropped_output": any(n.endswith("dropped_output") for n in gates)}
    (folder / "config.json").write_text(json.dumps(config))


def train(folder: Path, base: Path, variant: str, *words):
    """One step that hardly moves anything."""
    ids = expected(variant)["ids"]
    vocab = json.loads((base / "config.json").read_text())["vocab_size"]
    tokens = folder.with_suffix(".h5")
    flat = np.concatenate(ids.tolist())
    tokenfile.write(tokens, flat, np.ones(len(flat)), [len(row) for row in ids], vocab, "test")
    keys = {"model_name_or_path": base, "dataset": tokens, "cutoff_len": ids.shape[1],
            "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "learning_rate": 1e-7,
            "max_steps": 1, "warmup_steps": 0, "weight_decay": 0, "report_to": "none", "output_dir": folder}
    recipe = folder.with_suffix(".yaml")
    recipe.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
    beam("train", recipe, *words)


def exported(folder: Path, variant: str, kind: str, *words) -> Path:
    """A folder that the C program exported."""
    base, run, out = folder / "base", folder / "run", folder / "out"
    masked_base(base, variant, kind)
    train(run, base, variant)
    beam("export", "--run", run, "--out", out, *words)
    return out


def stock(folder: Path, variant: str) -> Path:
    """The same model without masks."""
    folder.mkdir(parents=True)
    shutil.copy(FAMILIES / variant / "model.safetensors", folder)
    (folder / "config.json").write_text(json.dumps(base_config(variant)))
    return folder


def read_ids(folder: Path, sequences: list[list[int]]) -> Path:
    path = folder / "ids.jsonl"
    path.write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in sequences))
    return path
