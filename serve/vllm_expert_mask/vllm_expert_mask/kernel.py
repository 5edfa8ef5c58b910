"""Experts on a processor by libbeam_moe.so (serve/beam_moe.h): only kept ones are computed and read."""

import ctypes
from ctypes import POINTER, byref, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_void_p

import torch
from vllm.model_executor.layers.fused_moe.activation import MoEActivation

from .spec import ExpertMaskError

ABI = 1
TYPES = {torch.float32: 0, torch.bfloat16: 1}


class Matrix(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("type", c_int32), ("reserved", c_int32)]


class Layer(ctypes.Structure):
    """beam_moe, field by field; the library refuses a size or an abi that is not its own."""
    _fields_ = ([("size", c_uint32), ("abi", c_uint32), ("device", c_int32), ("threads", c_int32)]
                + [(n, c_int64) for n in ("hidden_size", "experts", "null_experts", "top_k", "expert_size",
                                          "shared_size")]
                + [("hidden_type", c_int32), ("normalize", c_int32), ("scale", c_double), ("groups", c_int32),
                   ("kept_groups", c_int32)]
                + [(n, Matrix) for n in ("router", "gate_up", "down", "shared_gate_up", "shared_down",
                                         "shared_gate", "mask_router")]
                + [(n, POINTER(c_float)) for n in ("mask_bias", "mask_scale", "mask_rank_bias")]
                + [("threshold", c_double), ("give_back", Matrix), ("keep", c_int32), ("anchor", c_int32),
                   ("share", c_double)])


class Pairs(ctypes.Structure):
    _fields_ = [(n, c_void_p) for n in ("id", "weight", "candidate", "gain")]


def _open(path: str):
    try:
        lib = ctypes.CDLL(path)
    except OSError as error:
        raise ExpertMaskError(f"EXPERT_MASK_KERNEL: {error}") from error
    lib.beam_moe_workspace.restype = c_size_t
    lib.beam_moe_workspace.argtypes = [c_void_p, c_int64]
    lib.beam_moe_experts.argtypes = [c_void_p, c_void_p, c_void_p, c_int64, c_void_p, c_void_p, c_size_t,
                                     c_void_p]
    lib.beam_moe_pack_gate_up.argtypes = [c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int32]
    lib.beam_moe_error.restype = ctypes.c_char_p
    return lib


class ExpertsKernel:
    """One layer's experts: w13 [E, 2F, D], gate rows before up rows, is packed in place; w2 [E, D, F] is used
    as it is. Both must stay where they are."""

    def __init__(self, path: str, w13: torch.Tensor, w2: torch.Tensor, top_k: int):
        if w13.dtype not in TYPES or not (w13.is_contiguous() and w2.is_contiguous()):
            raise ExpertMaskError(f"libbeam_moe takes float32 and bfloat16 experts, not {w13.dtype}")
        self.lib = _open(path)
        experts, rows, hidden = w13.shape
        self.weights, kind = (w13, w2), TYPES[w13.dtype]
        for e in range(experts):
            gate, up = w13[e].clone().chunk(2)
            self._check(self.lib.beam_moe_pack_gate_up(w13[e].data_ptr(), gate.data_ptr(), up.data_ptr(),
                                                       rows // 2, hidden, kind))
        self.layer = Layer(size=ctypes.sizeof(Layer), abi=ABI, hidden_size=hidden, experts=experts,
                           top_k=top_k, expert_size=rows // 2, hidden_type=kind,
                           router=Matrix(w2.data_ptr(), kind),  # must be there, is not read: vLLM has routed
                           gate_up=Matrix(w13.data_ptr(), kind), down=Matrix(w2.data_ptr(), kind))

    def _check(self, code: int) -> None:
        if code:
            raise ExpertMaskError(f"libbeam_moe: {self.lib.beam_moe_error(code).decode()}")

    def run(self, x: torch.Tensor, weights: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """x [T, D]; weights [T, K] float32, ids [T, K] int32, -1 for dropped ones."""
        x, y, tokens = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format), len(x)
        size = self.lib.beam_moe_workspace(byref(self.layer), tokens)
        room = torch.empty(size, dtype=torch.uint8)
        pairs = Pairs(ids.data_ptr(), weights.data_ptr())
        self._check(self.lib.beam_moe_experts(byref(self.layer), x.data_ptr(), y.data_ptr(), tokens,
                                              byref(pairs), room.data_ptr(), size, None))
        return y


def kernel_class(masked: type, path: str) -> type:
    """`masked` with the products done by the library at `path`."""

    class KernelExperts(masked):
        def process_weights_after_loading(self, layer):
            for name in ("use_grouped_topk", "renormalize", "scoring_func", "custom_routing_function"):
                setattr(self, name, getattr(layer, name))
            if self.w1_bias is not None or self.w2_bias is not None:
                raise ExpertMaskError("libbeam_moe has no experts with biases")
            self.kernel = ExpertsKernel(path, layer.w13_weight.data, layer.w2_weight.data,
                                        self.moe_config.experts_per_token)

        def apply(self, hidden_states, w1, w2, router_logits, activation, global_num_experts, expert_map,
                  a1q_scale, apply_router_weight_on_input, num_expert_group=None,
                  e_score_correction_bias=None, routed_scaling_factor=None, topk_group=None):
            if activation != MoEActivation.SILU or apply_router_weight_on_input or expert_map is not None:
                raise ExpertMaskError("libbeam_moe computes SwiGLU experts, all of them on each rank")
            weights, ids = self._select_experts(hidden_states, router_logits, num_expert_group, topk_group,
                                                e_score_correction_bias, routed_scaling_factor)
            return self.kernel.run(hidden_states, weights.float(), ids.int())

    return KernelExperts
