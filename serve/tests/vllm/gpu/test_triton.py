"""Mode skip on a GPU: Triton experts that get -1 for dropped candidates.

NOT YET RUN: no GPU was at hand. Run it before you trust that mode (docs/serving_vllm.md):
    serve/tests/vllm/run.sh build/cpu/cli/beam gpu
"""
import sys
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs an NVIDIA GPU", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).parent.parent))

from engine import PROMPTS, ask_beam, engine, generate  # noqa: E402
from test_engine import disagreements, set_gates  # noqa: E402

MODELS = ["qwen3_moe", "qwen2_moe", "olmoe", "mixtral", "wide"]


@pytest.fixture
def poisoned(monkeypatch):
    """Rows that nobody writes hold NaN: whoever reads one shows."""
    from vllm_expert_mask.experts import MaskedTritonExperts
    apply, calls = MaskedTritonExperts.apply, []

    def poison(self, **arguments):
        arguments["workspace13"].fill_(torch.nan)
        arguments["workspace2"].fill_(torch.nan)
        calls.append(bool((arguments["topk_ids"] < 0).any()))
        return apply(self, **arguments)
    monkeypatch.setattr(MaskedTritonExperts, "apply", poison)
    return calls


def same(a, b, tolerance=0.02):
    assert a[0] == b[0]
    for mine, theirs in zip(a[1], b[1]):
        assert all(abs(x - y) <= tolerance for x, y in zip(mine, theirs))


@pytest.mark.parametrize("family", MODELS)
def test_skip_is_zero_weights(family, exported, monkeypatch, poisoned):
    """Tokens are those of mode zero, which computes every candidate; no NaN of a skipped row comes out."""
    folder = exported(family)
    with engine(folder, dtype="bfloat16") as llm:
        together = generate(llm)
        alone = [generate(llm, [p]) for p in PROMPTS[:2]]
    assert any(poisoned)
    monkeypatch.setenv("EXPERT_MASK_MODE", "zero")
    with engine(folder, dtype="bfloat16") as llm:
        same(together, generate(llm))
        for prompt, result in zip(PROMPTS, alone):
            same(result, generate(llm, [prompt]))


def test_everything_dropped(exported, tmp_path, poisoned):
    import shutil
    folder = set_gates(shutil.copytree(exported("qwen2_moe"), tmp_path / "drop"), -1e4)
    ids, _ = ask_beam(folder, tmp_path)
    with engine(folder, dtype="bfloat16") as llm:
        _, logprobs = generate(llm)
    assert all(x == x for sequence in logprobs for x in sequence)  # no NaN


@pytest.mark.parametrize("family", MODELS)
def test_as_beam(family, exported, tmp_path, monkeypatch):
    folder = exported(family)
    _, scores = ask_beam(folder, tmp_path)
    with engine(folder, dtype="bfloat16") as llm:
        differ, pairs = disagreements(llm, monkeypatch, PROMPTS, scores)
    print(f"\n{family} on the GPU, bfloat16: {differ} of {pairs} decisions differ")
    assert differ <= pairs / 5


def test_cuda_graphs(exported):
    folder = exported("wide")
    with engine(folder, dtype="bfloat16") as llm:
        eager = generate(llm)
    with engine(folder, dtype="bfloat16", enforce_eager=False) as llm:
        same(eager, generate(llm))
