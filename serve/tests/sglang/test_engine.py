"""Masked models in SGLang on the processor against beam, and against SGLang without masks."""
import shutil

import pytest
import torch
from conftest import FAMILIES, edit_config, edit_tensors
from engine import ask_beam, serve

LOGPROB_TOLERANCE = 1e-4  # float32 on both sides, other order of sums


def disagreements(calls, scores):
    """(token, layer) pairs where SGLang keeps other experts than beam; and all pairs."""
    differ = pairs = 0
    for layers, score in zip(calls, scores):
        ours = [[set(e) for e in token] for token in score["experts"]]
        assert len(layers) == len(ours[0])
        for layer, (ids, kept) in enumerate(layers):
            assert len(ids) == len(ours)
            for t, token in enumerate(ours):
                differ += token[layer] != {e for e, k in zip(ids[t], kept[t]) if k}
                pairs += 1
    return differ, pairs


def worst_logprob(logprobs, scores):
    return max(abs(a - b) for mine, score in zip(logprobs, scores) for a, b in zip(mine, score["logprobs"]))


def set_gates(folder, bias):
    edit_tensors(folder, lambda name, t: t if ".mask_gate." not in name else
                 torch.full_like(t, bias if name.endswith(".bias") else 0))
    return folder


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


@pytest.mark.parametrize("made", [(family,) for family in FAMILIES] +
                         [("qwen3_moe", "--plain-type"), ("mixtral", "--plain-type")], ids=" ".join)
def test_as_beam(made, exported, tmp_path):
    folder = exported(*made)
    ids, scores = ask_beam(folder, tmp_path)
    active = [n for s in scores for token in s["active"] for n in token]
    assert 1 < sum(active) / len(active) < 3 and 0 in active and 4 in active
    answer = serve(folder)
    assert answer.ids, answer.log
    worst = worst_logprob(answer.logprobs, scores)
    differ, pairs = disagreements(answer.calls, scores)
    print(f"\n{' '.join(made)} float32: logprobs within {worst:.1e}, {differ} of {pairs} decisions differ")
    assert answer.ids == ids
    assert worst <= LOGPROB_TOLERANCE
    assert differ == 0 and pairs > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_gates_that_keep_all_are_the_stock_model(family, exported, tmp_path):
    folder = exported(family)
    base = serve(stock(folder, tmp_path / "stock"))
    keep = serve(set_gates(shutil.copytree(folder, tmp_path / "keep"), 0))
    assert base.ids and not any(base.calls) and all(keep.calls)
    assert (keep.ids, keep.logprobs) == (base.ids, base.logprobs)  # every log-probability, bit for bit


def test_gates_that_drop_all(exported, tmp_path):
    folder = set_gates(shutil.copytree(exported("qwen3_moe"), tmp_path / "drop"), -1e4)
    ids, scores = ask_beam(folder, tmp_path)
    answer = serve(folder)
    assert answer.ids == ids and worst_logprob(answer.logprobs, scores) <= LOGPROB_TOLERANCE


@pytest.mark.parametrize("family", ["qwen3_moe", "deepseek_v2"])
def test_with_remote_code(family, exported, tmp_path):
    """Configuration and model are the plugin's all the same."""
    folder = exported(family)
    ids, _ = ask_beam(folder, tmp_path)
    answer = serve(folder, trust_remote_code=True)
    assert answer.ids == ids and "mode zero" in answer.log, answer.log


def remap():
    """The mode of GPUs, with experts of SGLang that take an id twice."""
    from sglang.srt.layers.moe import fused_moe_native as native
    from sglang.srt.layers.moe.token_dispatcher import StandardDispatchOutput
    from sglang_expert_mask import hook
    hook._choose_mode = lambda: "remap"
    native.moe_forward_native = lambda layer, x, topk, _: native.fused_moe_forward_native(
        layer, StandardDispatchOutput(x, None, topk)).hidden_states


@pytest.mark.parametrize("family", FAMILIES)
def test_remap(family, exported, tmp_path):
    folder = exported(family)
    ids, scores = ask_beam(folder, tmp_path)
    answer = serve(folder, before=remap)
    assert "mode remap" in answer.log
    assert answer.ids == ids and worst_logprob(answer.logprobs, scores) <= LOGPROB_TOLERANCE


def test_disabled(exported, tmp_path):
    folder = exported("olmoe")
    answer = serve(folder, environment={"EXPERT_MASK_DISABLE": "1"})
    base = serve(stock(folder, tmp_path / "stock"))
    assert "every candidate runs" in answer.log
    assert answer.ids and (answer.ids, answer.logprobs) == (base.ids, base.logprobs)
