"""What must not start. A model that ran without its masks, or with wrong ones, would look as if it worked."""
import shutil

import pytest
import sglang
import torch
from conftest import FAMILIES, edit_config, edit_tensors
from engine import serve


def refused(folder, says, environment=None, **options):
    answer = serve(folder, new=1, environment=environment, **options)
    assert not answer.ids and says in answer.log, answer.log


@pytest.fixture
def copy(exported, tmp_path):
    return lambda family="qwen3_moe", *words: shutil.copytree(exported(family, *words), tmp_path / "copy")


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


def test_wrong_shape(copy):
    folder = copy()
    edit_tensors(folder, lambda name, t: torch.cat([t, t]) if name.endswith("mask_gate.bias") else t)
    refused(folder, "mask_gate.bias has the shape")


def test_tensors_that_the_config_does_not_mention(copy):
    refused(block(copy(), bias=False), "which expert_mask of config.json does not mention")


def test_another_number_of_layers(copy):
    refused(block(copy(), num_masked_layers=2), "mask gates in 3 layers, config.json says num_masked_layers: 2")


def test_layers_that_sglang_takes_for_mixtures(copy):
    """SGLang 0.5.23 passes over mlp_only_layers: stock Qwen3-MoE runs such a layer with weights that nobody set."""
    folder = copy()
    edit_tensors(folder, lambda name, t: None if ".layers.1.mlp." in name else t)
    edit_config(folder, lambda c: (c.update(mlp_only_layers=[1]), c["expert_mask"].update(num_masked_layers=2)))
    refused(folder, "lacks 4 tensors of mask gates, for example model.layers.1.mlp.mask_gate.bias")


def test_give_back(copy):
    refused(block(copy(), dropped_output=True), "dropped_output")


def test_plain_type_of_deepseek(copy):
    refused(copy("deepseek_v2", "--plain-type"), "latent attention")


def test_weights_that_were_not_loaded(copy):
    refused(copy(), "the mask gates were not loaded", load_format="dummy")


def test_lora(copy):
    refused(copy(), "LoRA is not supported", enable_lora=True, max_lora_rank=8, lora_target_modules=["q_proj"])


def test_models_of_transformers(copy):
    refused(copy(), "would run this model without its masks", model_impl="transformers")


def test_a_mode_that_repeats_experts(copy):
    """moe_forward_native counts an expert once per token."""
    refused(copy(), "EXPERT_MASK_MODE=remap is not possible here", environment={"EXPERT_MASK_MODE": "remap"})


def test_another_external_package(copy):
    refused(copy(), "pass the argument `trust_remote_code=True`",
            environment={"SGLANG_EXTERNAL_MODEL_PACKAGE": "other"})


def test_another_version(copy, monkeypatch):
    monkeypatch.setattr(sglang, "__version__", "0.6.0")
    refused(copy(), "SGLang 0.6.0 is untested")


WITHOUT = {"SGLANG_PLUGINS": "none"}


def test_without_the_plugin(copy):
    refused(copy(), "pass the argument `trust_remote_code=True`", environment=WITHOUT)


@pytest.mark.parametrize("words, options", [((), {"trust_remote_code": True}), (("--plain-type",), {})])
def test_without_the_plugin_and_its_configurations(copy, words, options):
    refused(copy("qwen3_moe", *words), "Cannot find model module", environment=WITHOUT, **options)
