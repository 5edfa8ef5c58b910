"""What must not start. A model that ran without its masks, or with wrong ones, would look as if it worked."""
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import FAMILIES, edit_config, edit_tensors
from engine import engine, generate


def refused(folder, says, error=ValueError, **options):
    with pytest.raises(error, match=says):
        with engine(folder, **options):
            pass


@pytest.fixture
def copy(exported, tmp_path):
    return lambda family="qwen3_moe": shutil.copytree(exported(family), tmp_path / "copy")


def block(folder, **changes):
    edit_config(folder, lambda c: c["expert_mask"].update(changes))
    return folder


@pytest.mark.parametrize("tensor", ["weight", "bias", "router_scale", "rank_bias"])
def test_missing_tensor(copy, tensor):
    folder = copy()
    gone = f"model.layers.2.mlp.mask_gate.{tensor}"
    edit_tensors(folder, lambda name, t: None if name == gone else t)
    refused(folder, f"lacks 1 tensors of mask gates, for example {gone}")


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_gates(copy, family):
    folder = copy(family)
    edit_tensors(folder, lambda name, t: None if ".mask_gate." in name else t)
    refused(folder, "tensors of mask gates")


@pytest.mark.parametrize("tensor", ["weight", "bias", "router_scale", "rank_bias"])
def test_wrong_shape(copy, tensor):
    folder = copy()
    edit_tensors(folder, lambda name, t: torch.cat([t, t]) if name.endswith(f"mask_gate.{tensor}") else t)
    refused(folder, f"mask_gate.{tensor} has the shape")


@pytest.mark.parametrize("family", FAMILIES)
def test_stock_architecture_with_gates(copy, family):
    """vLLM's own check; the reason why gates are modules of their own."""
    folder = copy(family)
    edit_config(folder, lambda c: c.update(architectures=[c["architectures"][0].replace("ExpertMask", "")]))
    refused(folder, "mask_gate", error=(ValueError, KeyError))


def test_tensors_that_the_config_does_not_mention(copy):
    refused(block(copy(), bias=False), "mask_gate.bias, which expert_mask of config.json does not mention")


def test_features_that_the_config_does_not_mention(copy):
    refused(block(copy(), router_features=False), "which expert_mask of config.json does not mention")


def test_number_of_layers(copy):
    refused(block(copy(), num_masked_layers=3), "gates in 2 layers, config.json says num_masked_layers: 3")


def test_format_version(copy):
    refused(block(copy(), version=2), "format version 2")


def test_given_back_vectors(copy):
    refused(block(copy(), dropped_output=True), "gives back")


def test_no_block(copy):
    folder = copy()
    edit_config(folder, lambda c: c.pop("expert_mask"))
    refused(folder, "no expert_mask object")


def test_lora(exported):
    refused(exported("qwen3_moe"), "LoRA", enable_lora=True)


def test_quantised_experts_on_a_processor(exported):
    refused(exported("qwen3_moe"), "expert_mask: ", quantization="fp8", dtype="bfloat16")


def test_modes(exported, monkeypatch):
    monkeypatch.setenv("EXPERT_MASK_MODE", "skip")
    refused(exported("qwen3_moe"), "EXPERT_MASK_MODE=skip is not possible with CPU")
    monkeypatch.setenv("EXPERT_MASK_MODE", "fast")
    refused(exported("qwen3_moe"), "EXPERT_MASK_MODE=fast")


def test_kernels_that_are_none(exported, monkeypatch, tmp_path):
    monkeypatch.setenv("EXPERT_MASK_KERNEL", str(tmp_path / "none.so"))
    refused(exported("qwen3_moe"), "EXPERT_MASK_KERNEL: .*none.so")


def test_version_of_vllm(exported, monkeypatch):
    import vllm
    monkeypatch.setattr(vllm, "__version__", "0.99.0")
    refused(exported("qwen3_moe"), "vLLM 0.99.0 is untested")


def test_a_kernel_that_was_exchanged_later(exported, monkeypatch):
    """Some path of vLLM that builds another kernel than the one that was prepared: no token is made."""
    from vllm_expert_mask import cpu
    monkeypatch.setattr(cpu, "masked_cpu_class", lambda stock, gate: stock)
    with pytest.raises(ValueError, match="CPUUnquantizedExperts, which applies no masks"):
        with engine(exported("qwen3_moe")) as llm:
            generate(llm)


@pytest.mark.parametrize("trust, says", [(False, "Cannot find model module"),
                                         (True, "not compatible with vLLM")])
def test_models_of_transformers(exported, trust, says):
    """vLLM's other way to run a model, asked for although the plugin is there."""
    refused(exported("qwen3_moe"), says, model_impl="transformers", trust_remote_code=trust)


PROGRAM = """
import json, sys
from vllm import LLM
for folder, options in json.loads(sys.argv[1]):
    try:
        LLM(folder, enforce_eager=True, skip_tokenizer_init=True, max_model_len=64, **options)
        print("SAID", json.dumps("nothing"))
    except Exception as error:
        print("SAID", json.dumps(str(error)))
"""
UNKNOWN = "Model architectures ['ExpertMaskQwen3MoeForCausalLM'] are not supported for now"
INCOMPATIBLE = "implementation of 'ExpertMaskQwen3MoeForCausalLM' is not compatible with vLLM"
TRUST, TRANSFORMERS = {"trust_remote_code": True}, {"trust_remote_code": True, "model_impl": "transformers"}
WITHOUT_PLUGIN = [((), {}, "Please pass the argument `trust_remote_code=True`"), ((), TRUST, UNKNOWN),
                  ((), TRANSFORMERS, INCOMPATIBLE), (("--plain-type",), {}, UNKNOWN),
                  (("--plain-type",), TRUST, UNKNOWN), (("--plain-type",), TRANSFORMERS, INCOMPATIBLE)]


def test_without_the_plugin(exported, tmp_path):
    """As exported and with the base's model_type; with and without the folder's own code."""
    asked = [(str(exported("qwen3_moe", *words)), options) for words, options, _ in WITHOUT_PLUGIN]
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(asked)], capture_output=True, text=True,
                          env=os.environ | {"VLLM_PLUGINS": "", "HF_MODULES_CACHE": str(tmp_path)})
    said = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SAID ")]
    assert len(said) == len(WITHOUT_PLUGIN), done.stderr
    for (words, options, says), message in zip(WITHOUT_PLUGIN, said):
        assert says in message, (words, options)
