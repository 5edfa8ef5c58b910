/* The keys of every family. What is ignored here does not change the model's output; each says why. */
#include "model/families/readers.h"

#define FIXED(key_, accepted_, note_)                                                                        \
    {                                                                                                        \
        .key = key_, .kind = BEAM_ROW_ONLY, .accepted = accepted_, .note = note_                             \
    }
#define JOINT(key_, accepted_, note_)                                                                        \
    {                                                                                                        \
        .key = key_, .kind = BEAM_ROW_JOINT, .accepted = accepted_, .note = note_                            \
    }
#define UNUSED(key_, note_)                                                                                  \
    {                                                                                                        \
        .key = key_, .kind = BEAM_ROW_UNUSED, .note = note_                                                  \
    }
#define GENERATION(key_) UNUSED(key_, "setting of text generation")
#define OUTPUTS(key_)    UNUSED(key_, "what a call of transformers' model returns")
#define CLASSES(key_)    UNUSED(key_, "for classification heads")
#define CODE(key_)       UNUSED(key_, "how transformers computes, not what")
#define ORIGIN(key_)     UNUSED(key_, "where the file comes from")
#define ENCODER(key_)    UNUSED(key_, "for models with an encoder and a decoder")
#define TOKENIZER(key_)  UNUSED(key_, "for the tokenizer")

static const beam_key_row rows[] = {
    JOINT("model_type", "a name above", "names the family"),
    JOINT("architectures", "list of one", "must fit model_type and expert_mask"),
    JOINT("expert_mask", "see formats.md", "the mask gates of an exported model"),

    BEAM_INTEGER("vocab_size", vocab_size, 1, 1 << 24, 0, .flags = BEAM_ROW_NEEDED, .note = "tokens"),
    BEAM_INTEGER("hidden_size", hidden_size, 1, 1 << 17, 0, .flags = BEAM_ROW_NEEDED,
                 .note = "width of the residual stream"),
    BEAM_INTEGER("num_hidden_layers", layers, 1, BEAM_MAX_LAYERS, 0, .flags = BEAM_ROW_NEEDED,
                 .note = "layers"),
    BEAM_INTEGER("num_attention_heads", heads, 1, 1024, 0, .flags = BEAM_ROW_NEEDED, .note = "query heads"),
    BEAM_NUMBER("initializer_range", initializer_range, 0, 10, 0.02,
                .note = "standard deviation of random weights"),
    BEAM_SWITCH("tie_word_embeddings", tie_word_embeddings, 0, .note = "the head is the embedding"),
    JOINT("eos_token_id", "a token or a list; default null", "end of text; of a list the first counts"),
    JOINT("rope_theta", "2 to 1e12; default 10000, mixtral 1e6", "base of the rotary frequencies"),
    JOINT("rope_scaling", "see below", "rotary positions, older form"),
    JOINT("rope_parameters", "see below", "rotary positions, newer form"),

    FIXED("hidden_act", "\"silu\"", "the activation of experts and dense layers"),
    FIXED("attention_dropout", "0", "no dropout"),
    FIXED("partial_rotary_factor", "1", "all rotary dimensions rotate"),
    FIXED("quantization_config", "null", "use the model's unquantized weights"),
    FIXED("compression_config", "null", "use the model's unquantized weights"),
    FIXED("per_layer_config", "null", "every layer has the sizes of the file"),
    FIXED("is_encoder_decoder", "false", "a decoder only"),
    FIXED("add_cross_attention", "false", "a decoder only"),

    UNUSED("dtype", "tensors are read in the type they are stored in"),
    UNUSED("torch_dtype", "tensors are read in the type they are stored in"),
    UNUSED("use_bfloat16", "tensors are read in the type they are stored in"),
    UNUSED("use_cache", "keys and values of earlier calls: speed only"),
    UNUSED("output_router_logits", "router_aux_loss_coef alone decides on the balance loss"),
    UNUSED("pretraining_tp", "how a training run was cut into pieces"),
    UNUSED("ep_size", "how a training run was cut into pieces"),
    UNUSED("auto_map", "names Python code, which beam never runs"),
    UNUSED("chunk_size_feed_forward", "not used by these families"),
    UNUSED("pruned_heads", "not used by these families"),
    UNUSED("bos_token_id", "the token file says where texts begin"),
    UNUSED("pad_token_id", "beam does not compute padding; as a token it trains like any other"),
    UNUSED("sep_token_id", "not used by these families"),
    UNUSED("decoder_start_token_id", "not used by these families"),
    TOKENIZER("tokenizer_class"),
    TOKENIZER("prefix"),
    CODE("attn_implementation"),
    CODE("_attn_implementation"),
    CODE("_attn_implementation_autoset"),
    CODE("experts_implementation"),
    CODE("_experts_implementation"),
    CODE("torchscript"),
    OUTPUTS("return_dict"),
    OUTPUTS("output_hidden_states"),
    OUTPUTS("output_attentions"),
    OUTPUTS("tie_last_hidden_states"),
    ORIGIN("_name_or_path"),
    ORIGIN("name_or_path"),
    ORIGIN("_commit_hash"),
    ORIGIN("transformers_version"),
    ORIGIN("unsloth_*"),
    CLASSES("id2label"),
    CLASSES("label2id"),
    CLASSES("num_labels"),
    CLASSES("problem_type"),
    CLASSES("finetuning_task"),
    CLASSES("task_specific_params"),
    ENCODER("is_decoder"),
    ENCODER("cross_attention_hidden_size"),
    ENCODER("tie_encoder_decoder"),
    UNUSED("tf_legacy_loss", "for TensorFlow"),
    GENERATION("max_length"),
    GENERATION("max_new_tokens"),
    GENERATION("min_length"),
    GENERATION("do_sample"),
    GENERATION("early_stopping"),
    GENERATION("num_beams"),
    GENERATION("num_beam_groups"),
    GENERATION("diversity_penalty"),
    GENERATION("temperature"),
    GENERATION("top_k"),
    GENERATION("top_p"),
    GENERATION("typical_p"),
    GENERATION("repetition_penalty"),
    GENERATION("length_penalty"),
    GENERATION("no_repeat_ngram_size"),
    GENERATION("encoder_no_repeat_ngram_size"),
    GENERATION("bad_words_ids"),
    GENERATION("num_return_sequences"),
    GENERATION("output_scores"),
    GENERATION("return_dict_in_generate"),
    GENERATION("forced_bos_token_id"),
    GENERATION("forced_eos_token_id"),
    GENERATION("remove_invalid_values"),
    GENERATION("exponential_decay_length_penalty"),
    GENERATION("suppress_tokens"),
    GENERATION("begin_suppress_tokens"),
};

beam_key_rows beam_common_keys(void)
{
    return (beam_key_rows)BEAM_ROWS(rows);
}
