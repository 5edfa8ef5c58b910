"""config.json's block and the environment. Needs pytest only."""
from types import SimpleNamespace

import pytest
from vllm_expert_mask import spec as S

BLOCK = {"version": 1, "threshold": 0.5, "mask_tensor": "mask_gate", "mask_dtype": "float32", "bias": True,
         "router_features": True, "dropped_output": False, "renormalize": False, "num_masked_layers": 24}


def config(experts="num_experts", **changes):
    block = {k: v for k, v in (BLOCK | changes).items() if v is not None}
    return SimpleNamespace(hidden_size=64, num_experts_per_tok=4, expert_mask=block, **{experts: 8})


@pytest.mark.parametrize("experts", ["num_experts", "n_routed_experts", "num_local_experts"])
def test_what_is_read(experts):
    spec = S.read_spec(config(experts))
    assert spec.cutoff == 0.0
    assert spec.shapes() == {"weight": (8, 64), "bias": (8,), "router_scale": (1,), "rank_bias": (4,)}
    plain = S.read_spec(config(bias=False, router_features=False, threshold=0.8, avg_active=3.1))
    assert plain.shapes() == {"weight": (8, 64)}
    assert abs(plain.cutoff - 1.3862943611198906) < 1e-15


@pytest.mark.parametrize("changes, says", [
    ({"version": 2}, "format version 2"),
    ({"version": None}, "lacks expert_mask.version"),
    ({"version": True}, "not of type int"),
    ({"threshold": 0.0}, "not between 0 and 1"),
    ({"threshold": 1.0}, "not between 0 and 1"),
    ({"threshold": float("nan")}, "not between 0 and 1"),
    ({"threshold": "0.5"}, "not of type float"),
    ({"mask_tensor": "gate"}, "not 'mask_gate'"),
    ({"renormalize": True}, "renormalize"),
    ({"dropped_output": True}, "gives back"),
    ({"dropped_output": None}, "lacks expert_mask.dropped_output"),
    ({"bias": None}, "lacks expert_mask.bias"),
    ({"bias": 1}, "not of type bool"),
    ({"num_masked_layers": None}, "lacks expert_mask.num_masked_layers"),
])
def test_what_is_refused(changes, says):
    with pytest.raises(S.ExpertMaskError, match=says):
        S.read_spec(config(**changes))


def test_a_config_without_the_block():
    with pytest.raises(S.ExpertMaskError, match="no expert_mask object"):
        S.read_spec(SimpleNamespace(hidden_size=64, num_experts_per_tok=4, num_experts=8))


def test_version_of_vllm(monkeypatch):
    S.check_engine("vLLM", "0.29.0", "0.29.")
    S.check_engine("vLLM", "0.29.1+cu130", "0.29.")
    for version in ("0.28.0", "0.30.0", "0.2.9", "dev"):
        with pytest.raises(S.ExpertMaskError, match="untested"):
            S.check_engine("vLLM", version, "0.29.")
    monkeypatch.setenv("EXPERT_MASK_ANY_VLLM", "1")
    S.check_engine("vLLM", "0.31.0", "0.29.")


def test_modes(monkeypatch):
    assert S.mode_asked() is None and not S.disabled()
    monkeypatch.setenv("EXPERT_MASK_MODE", "remap")
    assert S.mode_asked() == "remap"
    monkeypatch.setenv("EXPERT_MASK_MODE", "fast")
    with pytest.raises(S.ExpertMaskError, match="none of auto, skip, remap, zero"):
        S.mode_asked()
    monkeypatch.setenv("EXPERT_MASK_DISABLE", "1")
    assert S.disabled()
