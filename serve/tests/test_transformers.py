"""Masked models in Hugging Face transformers against the C program that exported them: what docs/serving.md
promises. Run by run.sh; BEAM names the program.

Both compute in float32. Log-probabilities and logits may differ by LIMIT; decisions may not differ, as no fixture
has a router or mask logit near a tie."""
import copy
import importlib.util
import json
import shutil

import models
import pytest
import torch
import transformers
from models import VARIANTS, beam, expected, exported
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

LIMIT = 1e-5
KINDS = ("random", "give", "paper", "dropped")
FIRST = {"qwen3_moe": "Qwen3Moe", "qwen2_moe": "Qwen2Moe", "deepseek_v2": "DeepseekV2", "olmoe": "Olmoe",
         "mixtral": "Mixtral"}  # families, and how their classes begin


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Exported folders by variant, kind of masks and options, each made once."""
    made = {}

    def make(variant, kind, *words):
        key = (variant, kind, *words)
        if key not in made:
            made[key] = exported(tmp_path_factory.mktemp(variant) / kind, variant, kind, *words)
        return made[key]
    return make


def load(folder, **options):
    options = {"trust_remote_code": True, "dtype": torch.float32, "attn_implementation": "eager"} | options
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def logits_of(model, variant):
    with torch.no_grad():
        return model(input_ids=expected(variant)["ids"].long(), use_cache=False).logits.float()


@pytest.fixture(scope="session")
def same_base(tmp_path_factory):
    """Skips variants that this transformers computes differently without masks: 4.57 has another YaRN for
    DeepSeek-V2 and other windows for Qwen2-MoE than 5, which published the fixtures."""
    known = {}

    def check(variant):
        if variant not in known:
            folder = models.stock(tmp_path_factory.mktemp("stock") / variant, variant)
            error = (logits_of(load(folder), variant).flatten(0, 1) - expected(variant)["base.logits"]).abs().max()
            known[variant] = bool(error <= LIMIT)
        if not known[variant]:
            assert transformers.__version__.startswith("4.")
            pytest.skip("the base model itself differs in this transformers")
    return check


def compare_with_score(model, folder, variant, tmp_path):
    """Log-probabilities and kept experts against `beam score`."""
    ids = expected(variant)["ids"]
    lines = beam("score", "--model", folder, "--input", models.read_ids(tmp_path, ids.tolist()), "--experts")
    kept, hooks = [], []
    for module in model.modules():
        if type(module).__name__ == "MaskGate":
            hooks.append(module.register_forward_hook(lambda _, args, keep: kept.append((args[1], keep))))
    logprob = logits_of(model, variant).log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None].long())[..., 0]
    for hook in hooks:
        hook.remove()
    for row, line in enumerate(map(json.loads, lines.splitlines())):
        assert (logprob[row] - torch.tensor(line["logprobs"])).abs().max() <= LIMIT
        for t, layers in enumerate(line["experts"]):
            at = row * ids.shape[1] + t
            ours = [sorted(e[at][k[at]].tolist()) for e, k in kept]
            assert ours == [sorted(layer) for layer in layers]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_beam_score(folders, same_base, variant, kind, tmp_path):
    same_base(variant)
    folder = folders(variant, kind)
    model = load(folder)
    assert type(model).__name__.startswith("ExpertMask")
    compare_with_score(model, folder, variant, tmp_path)
    if kind in ("random", "give"):
        wanted = expected(variant)[("hard" if kind == "random" else "give") + ".logits"]
        assert (logits_of(model, variant).flatten(0, 1) - wanted).abs().max() <= LIMIT


@pytest.mark.parametrize("variant", VARIANTS)
def test_self_test(folders, same_base, variant):
    same_base(variant)
    found = load(folders(variant, "random")).self_test()
    assert found["experts_differ"] == found["argmax_differs"] == 0 and found["layers"] > 0
    assert found["logprob_error"] <= LIMIT and found["logit_error"] <= LIMIT


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_masks_are_the_stock_model(folders, variant, tmp_path):
    """Bit for bit, whatever transformers computes. Every u is 0, which is the cutoff: all is kept."""
    stock = load(models.stock(tmp_path / "stock", variant))
    folder = tmp_path / "zero"
    shutil.copytree(folders(variant, "paper"), folder)
    tensors = load_file(folder / "model.safetensors")
    zero = {name: t * ("mask_gate" not in name) for name, t in tensors.items()}
    save_file(zero, folder / "model.safetensors", {"format": "pt"})
    masked = load(folder)
    assert torch.equal(logits_of(stock, variant), logits_of(masked, variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_generates_like_beam(folders, same_base, variant):
    same_base(variant)
    folder = folders(variant, "give")
    model = load(folder)
    for prompt in expected(variant)["ids"][:, :6].tolist():
        said = json.loads(beam("generate", "--model", folder, "--ids", ",".join(map(str, prompt)), "--temperature", "0",
                               "--max-new-tokens", "12", "--json"))
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert out[0, len(prompt):].tolist() == said["outputs"][0]["ids"]


@pytest.mark.parametrize("family", FIRST)
def test_bfloat16_masks(folders, same_base, family):
    """Masks that were rounded: the self-test is that of the rounded ones."""
    same_base(family)
    folder = folders(family, "random", "--dtype", "bfloat16")
    tensors = load_file(folder / "model.safetensors")
    assert {t.dtype for n, t in tensors.items() if "mask_gate" in n} == {torch.bfloat16}
    found = load(folder).self_test()
    assert found["experts_differ"] == 0 and found["logprob_error"] <= LIMIT
    # In bfloat16 the fixtures' odd sizes are for the plain loop over experts only.
    plain = {"experts_implementation": "eager"} if transformers.__version__[0] > "4" else {}
    half = load(folder, dtype=torch.bfloat16, **plain)
    assert {p.dtype for n, p in half.named_parameters() if "mask_gate" in n} == {torch.float32}
    assert half.self_test()["experts_differ"] <= 0.1 * found["tokens"] * found["layers"]


@pytest.mark.parametrize("trust", (None, False))
@pytest.mark.parametrize("family", FIRST)
def test_refused_without_our_code(folders, family, trust, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load(folders(family, "random"), trust_remote_code=trust)


def test_plain_type_loads_with_our_code(folders, same_base):
    model = load(folders("qwen3_moe", "random", "--plain-type"))
    assert type(model).__name__ == "ExpertMaskQwen3MoeForCausalLM"
    assert (logits_of(model, "qwen3_moe").flatten(0, 1) - expected("qwen3_moe")["hard.logits"]).abs().max() <= LIMIT


@pytest.mark.parametrize("wrong", ("missing", "shape", "unexpected", "layers", "version"))
def test_broken_folders_raise(folders, wrong, tmp_path):
    folder = tmp_path / wrong
    shutil.copytree(folders("qwen3_moe", "random"), folder)
    path, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    tensors, name = load_file(path), "model.layers.1.mlp.mask_gate.bias"
    if wrong == "missing":
        tensors.pop(name)
    elif wrong == "shape":
        tensors[name] = tensors[name][1:].clone()
    elif wrong == "unexpected":
        config["expert_mask"]["bias"] = False
    elif wrong == "layers":
        config["expert_mask"]["num_masked_layers"] = 3
    else:
        config["expert_mask"]["version"] = 2
    save_file(tensors, path, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises((ValueError, RuntimeError)):
        load(folder)


def test_self_test_notices(folders, tmp_path):
    """It can fail."""
    model = load(folders("olmoe", "random"))
    gate = model.model.layers[0].mlp.mask_gate
    gate.bias.data += 3
    assert model.self_test()["experts_differ"] > 0


def test_copies_and_saves(folders, tmp_path):
    """A deep copy masks too, with gates of its own; what save_pretrained writes loads again."""
    model = load(folders("qwen3_moe", "give"))
    wanted = logits_of(model, "qwen3_moe")
    other = copy.deepcopy(model)
    for layer in other.model.layers:
        layer.mlp.mask_gate.bias.data -= 100
    assert not torch.equal(logits_of(other, "qwen3_moe"), wanted)
    assert torch.equal(logits_of(model, "qwen3_moe"), wanted)
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(logits_of(load(tmp_path / "saved"), "qwen3_moe"), wanted)
    assert beam("inspect", tmp_path / "saved")


@pytest.mark.parametrize("family", FIRST)
def test_masks_on_a_stock_model(folders, same_base, family, tmp_path):
    """Masks alone, put on the base by transformers and by the C program."""
    same_base(family)
    base, run, adapter = models.stock(tmp_path / "base", family), tmp_path / "run", tmp_path / "adapter"
    models.train(run, base, family, "mask.init_bias=0.05", "learning_rate=0.3", "max_steps=3")
    beam("export", "--run", run, "--out", adapter, "--adapter-only")
    beam("export", "--run", run, "--out", tmp_path / "whole")
    spec = importlib.util.spec_from_file_location("modeling_expert_mask", adapter / "modeling_expert_mask.py")
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    model = code.add_masks(load(base), adapter)
    found = code.self_test(model, adapter)
    assert found["experts_differ"] == 0 and found["logprob_error"] <= LIMIT
    assert torch.equal(logits_of(model, family), logits_of(load(tmp_path / "whole"), family))
    other = next(name for name in FIRST if name != family)
    with pytest.raises(ValueError):
        code.add_masks(load(models.stock(tmp_path / "other", other)), adapter)
