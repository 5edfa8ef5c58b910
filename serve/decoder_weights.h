/* The parameters that decoding reads: as the folder stores them, or those of a model that is open. */
#ifndef BEAM_SERVE_DECODER_WEIGHTS_H
#define BEAM_SERVE_DECODER_WEIGHTS_H

#include "model/model.h"
#include "serve/beam_moe.h"

/* From a Hugging Face folder: matrices that are bf16 there stay bf16 in memory, all else is float. `c` is its
 * config.json's; its mask gates, if it has some, are read from there, or from the file `gates` of an adapter
 * (NULL: none). Refuses a model that does not fit into the memory of `be`. Close with
 * beam_model_weights_free. */
beam_status beam_decoder_weights_load(beam_model_weights *w, const beam_model_config *c, const char *folder,
                                      const char *gates, beam_backend *be);

/* Numbers of no meaning, bf16 matrices: for timing. Rows of a matrix with n columns are about as large as
 * keeps products near 1; norms are 1. Mask gates, if c->mask.present, keep about `share` of all candidates:
 * W_m random, and its bias the quantile. */
beam_status beam_decoder_weights_random(beam_model_weights *w, const beam_model_config *c, double share,
                                        beam_backend *be);

/* The parameters of an open model, which must outlive the list; close with beam_model_weights_unlist. */
beam_status beam_decoder_weights_borrow(beam_model_weights *w, beam_model *m);

/* A mixture layer of such a list for serve/beam_moe.h. */
beam_moe beam_moe_of(const beam_model_config *c, const beam_mlp_weights *w, beam_expert_rule rule,
                     int threads);

/* BEAM_ECONFIG if the machine does not have so many bytes free for `what`. */
beam_status beam_require_host_memory(size_t bytes, const char *what);

#endif
