/* Rotary position embedding: the table of angles (Su et al. 2021, arXiv:2104.09864). */
#ifndef BEAM_MODEL_ROPE_H
#define BEAM_MODEL_ROPE_H

#include "core/tensor.h"

/* Fills host tables cosine, sine [positions, head_dim/2], both f32 or both f64: the angle of position p and
 * pair i is p * theta^(-2i/head_dim). In f32 frequency and angle are rounded to float, as Hugging Face
 * computes them. */
void beam_rope_table(beam_tensor cosine, beam_tensor sine, double theta);

#endif
