#!/usr/bin/env python3
"""A GGUF file of random weights in bf16, in the shape of an OLMoE config.json, for timing llama.cpp.

    random_gguf.py CONFIG --out FILE

Matrices are normal with the config's initializer_range, as those of `random:` models are; norms are ones. There is no
vocabulary, only its size: llama.cpp's benches draw token ids. Needs numpy and gguf from PyPI.
"""

import argparse
import json

import numpy
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, get_tensor_name_map

ROWS = 4096  # of a matrix at a time: numpy draws in float32, and 128 experts of a large layer do not fit beside it


def shapes(c):
    """(name as in Hugging Face, shape in memory) of every tensor; the experts of a layer are one tensor."""
    d, f, e, v = c["hidden_size"], c["intermediate_size"], c["num_experts"], c["vocab_size"]
    kv = d * c["num_key_value_heads"] // c["num_attention_heads"]
    yield "model.embed_tokens", (v, d)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm", (d,)
        yield at + "post_attention_layernorm", (d,)
        for name, rows in (("q", d), ("k", kv), ("v", kv), ("o", d)):
            yield f"{at}self_attn.{name}_proj", (rows, d)
        yield at + "self_attn.q_norm", (d,)
        yield at + "self_attn.k_norm", (kv,)
        yield at + "mlp.gate", (e, d)
        yield at + "mlp.experts.gate_proj", (e, f, d)
        yield at + "mlp.experts.up_proj", (e, f, d)
        yield at + "mlp.experts.down_proj", (e, d, f)
    yield "model.norm", (d,)
    yield "lm_head", (v, d)


def bf16(values):
    """The upper halves of float32, rounded to nearest even."""
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def random_matrix(rng, shape, scale):
    out = numpy.empty(shape, numpy.uint16).reshape(-1, shape[-1])
    for first in range(0, len(out), ROWS):
        part = out[first:first + ROWS]
        part[:] = bf16(rng.standard_normal(part.shape, numpy.float32) * numpy.float32(scale))
    return out.reshape(shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("config")
    parser.add_argument("--out", required=True, metavar="FILE")
    args = parser.parse_args()
    with open(args.config, encoding="utf-8") as file:
        config = json.load(file)
    if config["model_type"] != "olmoe":
        parser.error(f"{args.config} is of model_type {config['model_type']}; this script knows olmoe")

    writer = GGUFWriter(args.out, "olmoe")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_count(config["num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])

    names = get_tensor_name_map(MODEL_ARCH.OLMOE, config["num_hidden_layers"])
    tensors = [(names.get_name(name) + ".weight", shape) for name, shape in shapes(config)]
    for name, shape in tensors:
        # bf16 is announced by bytes: numpy has no such type.
        is_norm = len(shape) == 1
        writer.add_tensor_info(name, shape if is_norm else (*shape[:-1], shape[-1] * 2),
                               numpy.dtype(numpy.float32 if is_norm else numpy.uint8),
                               4 * shape[0] if is_norm else 2 * int(numpy.prod(shape)),
                               raw_dtype=None if is_norm else GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = numpy.random.default_rng(0)
    for _, shape in tensors:
        writer.write_tensor_data(numpy.ones(shape, numpy.float32) if len(shape) == 1
                                 else random_matrix(rng, shape, config["initializer_range"]))
    writer.close()


if __name__ == "__main__":
    main()
