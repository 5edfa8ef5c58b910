/* Rotary position embedding: the table of angles (Su et al. 2021, arXiv:2104.09864), also of models whose
 * context was lengthened by linear interpolation or YaRN (Peng et al. 2023, arXiv:2309.00071). */
#ifndef BEAM_MODEL_ROPE_H
#define BEAM_MODEL_ROPE_H

#include "core/tensor.h"
#include "data/model_config.h"

/* Fills host tables cosine, sine [positions, rotary_dim/2], both f32 or both f64: amplitude times the cosine
 * and sine of position p times frequency i. In f32 every step is rounded to float in the order in which
 * Hugging Face computes it. */
void beam_rope_table(beam_tensor cosine, beam_tensor sine, const beam_rope_config *rope);

#endif
