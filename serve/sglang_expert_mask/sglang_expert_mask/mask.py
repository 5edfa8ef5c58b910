"""The mask rule, in plain torch. Letters: T tokens, D hidden size, E experts, K candidates per token."""

import torch
import torch.nn.functional as F

from .spec import MaskSpec


class MaskGate(torch.nn.Module):
    """Decides which of a token's candidates run:

        keep e  if  (W x + b)_e + a log(K g'_e) + c[rank of e]  >=  cutoff,    g' = g / sum of g

    x is what the router sees, g are the candidates' weights as the router gives them; those of kept ones stay
    as they are. Parameters are float32 whatever the model's dtype: a decision has no tolerance.

    What becomes of a dropped candidate is up to `mode`; its weight is 0 in all of them:
        skip   its id is -1, so that nothing is computed or read for it
        remap  its id is that of the token's best kept expert: no other expert is read for it
        zero   its id stays
    """

    def __init__(self, spec: MaskSpec):
        super().__init__()
        self.cutoff, self.mode = spec.cutoff, "zero"
        shapes = spec.shapes()
        for name in ("weight", "bias", "router_scale", "rank_bias"):
            shape = shapes.get(name)
            self.register_parameter(name, shape and torch.nn.Parameter(
                torch.empty(shape, dtype=torch.float32), requires_grad=False))

    def logits(self, x: torch.Tensor, weights: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Mask logits [T, K] of candidates `ids` >= 0; x [T, D], or wider if the engine pads it."""
        w = self.weight
        u = F.linear(x[:, :w.shape[1]].float(), w, self.bias).gather(1, ids)
        if self.router_scale is None:
            return u
        g = weights.float()
        share = (g / g.sum(1, keepdim=True)).clamp(min=torch.finfo(torch.float32).tiny)
        # Engines may give candidates in any order. Equal weights: the lower id is first.
        mine, other = g[:, :, None], g[:, None, :]
        ahead = (other > mine) | ((other == mine) & (ids[:, None, :] < ids[:, :, None]))
        return u + self.router_scale * torch.log(ids.shape[1] * share) + self.rank_bias[ahead.sum(2)]

    def forward(self, x: torch.Tensor, weights: torch.Tensor, ids: torch.Tensor):
        """Candidates [T, K] as the router chose them (-1: a padding row of the engine) to (weights, ids)."""
        real = ids >= 0
        keep = (self.logits(x, weights, ids.clamp(min=0).long()) >= self.cutoff) & real  # NaN drops
        weights = torch.where(keep, weights, torch.zeros_like(weights))
        if self.mode == "skip":
            ids = torch.where(keep, ids, torch.full_like(ids, -1))
        elif self.mode == "remap":  # a token that keeps none: all go to one candidate
            ids = torch.where(keep | ~real, ids, ids.gather(1, weights.argmax(1, keepdim=True)))
        return weights.contiguous(), ids.contiguous()
