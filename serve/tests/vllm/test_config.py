"""What config.json's `model_type` becomes: `expert_mask_<base>` by default, the base's with --plain-type."""
import json
import pickle
import subprocess
import sys

import pytest
from conftest import FAMILIES
from engine import LLM  # noqa: F401  (sets the environment first)
from transformers import AutoModelForCausalLM
from vllm.transformers_utils.config import get_config
from vllm_expert_mask import register


def known(config):
    return {k: v for k, v in config.to_dict().items() if k not in ("model_type", "auto_map", "_name_or_path")}


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_configuration_is_the_stock_one(family, trust, exported):
    register()
    register()
    named, plain = exported(family), exported(family, "--plain-type")
    assert json.loads((named / "config.json").read_text())["model_type"] == f"expert_mask_{family}"
    config, stock = (get_config(str(folder), trust_remote_code=trust) for folder in (named, plain))
    assert type(config).__module__ == "vllm_expert_mask.config"  # whatever trust says
    assert isinstance(config, type(stock)) and type(stock).__module__.startswith("transformers.")
    assert config.model_type == config.get_text_config().model_type == stock.model_type == family
    assert known(config) == known(stock) and config.expert_mask["version"] == 1
    sent = pickle.loads(pickle.dumps(config))
    assert type(sent) is type(config) and sent.model_type == family and known(sent) == known(config)


def test_transformers_beside_vllm_still_refuses(exported):
    """A stock configuration class would make it run the stock model here, without masks."""
    register()
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        AutoModelForCausalLM.from_pretrained(exported("qwen3_moe"), trust_remote_code=False)


def test_registering_leaves_cuda_alone():
    """vLLM may fork processes after it."""
    program = "import vllm_expert_mask as p, torch; p.register(); assert not torch.cuda.is_initialized()"
    subprocess.run([sys.executable, "-c", program], check=True)
