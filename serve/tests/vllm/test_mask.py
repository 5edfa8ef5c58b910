"""The mask rule against docs/method.md written out token by token in float64. Needs pytest and torch."""
import math

import pytest
import torch
from vllm_expert_mask.mask import MaskGate
from vllm_expert_mask.spec import MaskSpec

T, D, E, K = 50, 24, 10, 4


def make(bias=True, router_features=True, threshold=0.5, seed=0):
    spec = MaskSpec(D, E, K, threshold, bias, router_features, 1)
    gate, random = MaskGate(spec), torch.Generator().manual_seed(seed)
    for p in gate.parameters():
        p.data = torch.randn(p.shape, generator=random) * (0.3 if p.dim() == 2 else 1)
    x = torch.randn(T, D, generator=random)
    weights, ids = torch.softmax(torch.randn(T, E, generator=random), 1).topk(K)
    return gate, x, weights, ids.int()


def expected_logits(gate, x, weights, ids):
    """u of each candidate, as the formulas stand there; g in any order and scale."""
    w, b, a, c = (None if p is None else p.double().tolist()
                  for p in (gate.weight, gate.bias, gate.router_scale, gate.rank_bias))
    out = []
    for xs, gs, es in zip(x.double().tolist(), weights.double().tolist(), ids.tolist()):
        ranks = sorted(range(K), key=lambda i: (-gs[i], es[i]))
        row = [sum(p * q for p, q in zip(w[e], xs)) + (b[e] if b else 0) for e in es]
        if a:
            for rank, i in enumerate(ranks):
                row[i] += a[0] * math.log(K * max(gs[i] / sum(gs), 2.0 ** -126)) + c[rank]
        out.append(row)
    return torch.tensor(out)


@pytest.mark.parametrize("bias, features", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_rule(bias, features, threshold):
    gate, x, weights, ids = make(bias, features, threshold)
    u = expected_logits(gate, x, weights, ids)
    assert (gate.logits(x, weights, ids.long()) - u).abs().max() < 1e-5
    kept = u >= math.log(threshold / (1 - threshold))
    assert 0.05 < kept.float().mean() < 0.95
    gate.mode = "skip"
    w, e = gate(x, weights, ids)
    assert torch.equal(e, torch.where(kept, ids, -1)) and e.dtype == torch.int32
    assert torch.equal(w, torch.where(kept, weights, 0.0))  # kept weights: the same bits


def test_order_and_scale_of_candidates_do_not_matter():
    gate, x, weights, ids = make()
    order = torch.tensor([2, 0, 3, 1])
    straight = gate.logits(x, weights, ids.long())
    shuffled = gate.logits(x, 16 * weights[:, order], ids[:, order].long())
    assert (shuffled - straight[:, order]).abs().max() < 1e-5


def test_equal_weights_rank_by_id():
    gate, x, _, _ = make()
    ids, weights = torch.tensor([[7, 2, 5, 3]]), torch.full((1, K), 0.25)
    assert (gate.logits(x[:1], weights, ids) - expected_logits(gate, x[:1], weights, ids)).abs().max() < 1e-5


def test_modes():
    gate, x, weights, ids = make()
    results = {}
    for gate.mode in ("skip", "remap", "zero"):
        results[gate.mode] = gate(x, weights, ids)
    kept = results["skip"][1] >= 0
    assert all(torch.equal(w, results["skip"][0]) for w, _ in results.values())
    assert torch.equal(results["zero"][1], ids)
    some, none = kept.any(1), ~kept.any(1)
    assert some.any() and none.any()
    for t in range(T):
        remapped = set(results["remap"][1][t].tolist())
        assert remapped == (set(ids[t][kept[t]].tolist()) if some[t] else {int(ids[t][0])})


def test_zero_gates_keep_all_and_equality_keeps():
    gate, x, weights, ids = make()
    for p in gate.parameters():
        p.data.zero_()
    for gate.mode in ("skip", "remap", "zero"):
        w, e = gate(x, weights, ids)
        assert torch.equal(w, weights) and torch.equal(e, ids)
    gate.cutoff = 1e-30
    assert (gate(x, weights, ids)[0] == 0).all()


def test_padding_rows_nan_and_wide_inputs():
    gate, x, weights, ids = make()
    gate.mode = "skip"
    plain = gate(x, weights, ids)
    wide = gate(torch.cat([x, torch.full((T, 8), 3.0)], 1), weights, ids)
    assert torch.equal(plain[1], wide[1])
    gate.bias.data += 100
    ids[3], x[4], gate.mode = -1, math.nan, "remap"
    w, e = gate(x, weights, ids)
    assert (e[3] == -1).all() and (w[3] == 0).all()
    assert (w[4] == 0).all() and (e[4] == ids[4, 0]).all()
    assert (w[5] == weights[5]).all()


def test_weights_that_underflowed():
    gate, x, weights, ids = make()
    gate.router_scale.data.fill_(0)
    weights[0, K - 1] = 0
    assert torch.isfinite(gate.logits(x, weights, ids.long())).all()


def test_bf16_inputs_are_decided_in_float32():
    gate, x, weights, ids = make()
    x = x.bfloat16()
    assert torch.equal(gate.logits(x, weights, ids.long()), gate.logits(x.float(), weights, ids.long()))
