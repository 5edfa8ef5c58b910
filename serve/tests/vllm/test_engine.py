"""Masked models in vLLM on the processor against beam, and against vLLM without masks."""
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import BEAM, FAMILIES, edit_config, edit_tensors
from engine import PROMPTS, ask_beam, engine, generate, recorded

# float32 on both sides, other order of sums: on the worst of these models beam and transformers are each 8e-5 from
# transformers in float64.
LOGPROB_TOLERANCE = 2e-4


def decisions(calls, layers):
    """Of one prompt in one step: [token][layer] set of kept experts."""
    assert len(calls) == layers
    return [[set(ids[t][kept[t]].tolist()) for ids, kept in calls] for t in range(len(calls[0][0]))]


def disagreements(llm, monkeypatch, prompts, scores):
    """(token, layer) pairs where vLLM keeps other experts than beam; and all pairs."""
    differ = pairs = 0
    for prompt, score in zip(prompts, scores):
        if len(prompt) > 64:
            continue  # comes in several steps
        with recorded(monkeypatch) as calls:
            generate(llm, [prompt], new=1)
        ours = [[set(e) for e in token] for token in score["experts"]]
        theirs = decisions(calls, len(ours[0]))
        differ += sum(a != b for o, t in zip(ours, theirs) for a, b in zip(o, t))
        pairs += len(prompt) * len(ours[0])
    return differ, pairs


def worst_logprob(logprobs, scores):
    return max((abs(a - b) for mine, score in zip(logprobs, scores) for a, b in zip(mine, score["logprobs"])),
               default=0.0)


def stock(folder, to):
    """The same model without masks, as the base architecture."""
    shutil.copytree(folder, to)
    edit_tensors(to, lambda name, t: None if ".mask_gate." in name else t)

    def edit(config):
        del config["expert_mask"], config["auto_map"]
        config["architectures"] = [config["architectures"][0].replace("ExpertMask", "")]
        config["model_type"] = config["model_type"].removeprefix("expert_mask_")
    edit_config(to, edit)
    return to


def set_gates(folder, bias):
    edit_tensors(folder, lambda name, t: t if ".mask_gate." not in name else
                 torch.full_like(t, bias if name.endswith(".bias") else 0))
    return folder


@pytest.mark.parametrize("made", [(family,) for family in FAMILIES] + [("qwen3_moe", "--plain-type")],
                         ids=" ".join)
def test_as_beam(made, exported, tmp_path, monkeypatch):
    folder = exported(*made)
    ids, scores = ask_beam(folder, tmp_path)
    active = [n for s in scores for token in s["active"] for n in token]
    assert 1 < sum(active) / len(active) < 3 and 0 in active and 4 in active
    with engine(folder) as llm:
        mine, logprobs = generate(llm)
        differ, pairs = disagreements(llm, monkeypatch, PROMPTS, scores)
    worst = worst_logprob(logprobs, scores)
    print(f"\n{' '.join(made)} float32: logprobs within {worst:.1e}, {differ} of {pairs} decisions differ")
    assert mine == ids
    assert worst <= LOGPROB_TOLERANCE
    assert differ == 0 and pairs > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16(family, exported, tmp_path, monkeypatch):
    """bf16 activations round the router's input: candidates and masks near the edge differ."""
    folder = exported(family)
    _, scores = ask_beam(folder, tmp_path)
    with engine(folder, dtype="bfloat16") as llm:
        _, logprobs = generate(llm)
        differ, pairs = disagreements(llm, monkeypatch, PROMPTS, scores)
    off = [abs(a - b) for mine, s in zip(logprobs, scores) for a, b in zip(mine, s["logprobs"])]
    print(f"\n{family} bfloat16: logprobs on average within {sum(off) / len(off):.1e}, "
          f"{differ} of {pairs} decisions differ")
    assert differ <= pairs / 5


@pytest.mark.parametrize("family", FAMILIES)
def test_gates_that_keep_all_are_the_stock_model(family, exported, tmp_path):
    folder = exported(family)
    with engine(stock(folder, tmp_path / "stock")) as llm:
        base = generate(llm)
    keep = shutil.copytree(folder, tmp_path / "keep")
    with engine(set_gates(keep, 0)) as llm:
        assert generate(llm) == base  # every log-probability, bit for bit


@pytest.mark.parametrize("family", ["qwen3_moe", "qwen2_moe"])  # without and with a shared expert
def test_gates_that_drop_all(family, exported, tmp_path, monkeypatch):
    folder = set_gates(shutil.copytree(exported(family), tmp_path / "drop"), -1e4)
    ids, scores = ask_beam(folder, tmp_path)
    with engine(folder) as llm, recorded(monkeypatch) as calls:
        mine, logprobs = generate(llm)
    assert calls and not any(kept.any() for _, kept in calls)
    assert mine == ids and worst_logprob(logprobs, scores) <= LOGPROB_TOLERANCE


def test_gates_without_optional_tensors_and_another_threshold(exported, tmp_path, monkeypatch):
    folder = shutil.copytree(exported("qwen3_moe"), tmp_path / "plain")
    edit_tensors(folder, lambda name, t: t if ".mask_gate." not in name or name.endswith(".weight") else None)
    edit_config(folder, lambda c: c["expert_mask"].update(bias=False, router_features=False, threshold=0.4))
    ids, scores = ask_beam(folder, tmp_path)
    with engine(folder) as llm:
        mine, logprobs = generate(llm)
        assert disagreements(llm, monkeypatch, PROMPTS, scores)[0] == 0
    assert mine == ids and worst_logprob(logprobs, scores) <= LOGPROB_TOLERANCE


def test_modes_and_switching_off(exported, tmp_path, monkeypatch):
    folder = exported("qwen3_moe")
    with engine(folder) as llm:
        remap = generate(llm)
    monkeypatch.setenv("EXPERT_MASK_MODE", "zero")
    with engine(folder) as llm:
        zero = generate(llm)
    assert zero[0] == remap[0]
    monkeypatch.setenv("EXPERT_MASK_DISABLE", "1")
    with engine(folder) as llm:
        off = generate(llm)
    with engine(stock(folder, tmp_path / "stock")) as llm:
        assert generate(llm) == off
    assert off[1] != remap[1]


@pytest.mark.parametrize("family", ["qwen3_moe", "deepseek_v2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_beam_kernel(family, dtype, exported, tmp_path, monkeypatch):
    """Experts through libbeam_moe.so, which lies beside the program in a build folder."""
    library = Path(BEAM).resolve().parent.parent / "serve" / "libbeam_moe.so"
    monkeypatch.setenv("EXPERT_MASK_KERNEL", str(library))
    folder = exported(family)
    ids, scores = ask_beam(folder, tmp_path)
    with engine(folder, dtype=dtype) as llm, recorded(monkeypatch) as calls:
        mine, logprobs = generate(llm)
    assert calls
    if dtype == "float32":
        assert mine == ids and worst_logprob(logprobs, scores) <= LOGPROB_TOLERANCE
    monkeypatch.delenv("EXPERT_MASK_KERNEL")
    with engine(folder, dtype=dtype) as llm:
        _, theirs = generate(llm)
    off = [abs(a - b) for x, y in zip(logprobs, theirs) for a, b in zip(x, y)]
    print(f"\n{family} {dtype}: libbeam_moe and vLLM's experts on average within {sum(off) / len(off):.1e}")
    assert sum(off) / len(off) <= (1e-5 if dtype == "float32" else 0.1)


def test_a_token_does_not_depend_on_its_batch(exported):
    with engine(exported("qwen2_moe")) as llm:
        together = generate(llm)[0]
        assert together[1] == together[4]
        assert [generate(llm, [p])[0][0] for p in PROMPTS] == together


def test_bf16_export(exported, text, tmp_path):
    """Gates stored in bf16 are read as they are."""
    from conftest import beam
    exported("qwen3_moe")
    folder = tmp_path / "half"
    beam("export", "--run", text / "qwen3_moe-run", "--out", folder, "--dtype", "bfloat16", cwd=text)
    assert json.loads((folder / "config.json").read_text())["expert_mask"]["mask_dtype"] == "bfloat16"
    ids, scores = ask_beam(folder, tmp_path)
    with engine(folder) as llm:
        mine, logprobs = generate(llm)
    assert worst_logprob(logprobs, scores) <= LOGPROB_TOLERANCE and mine == ids
