/* How many numbers a model has, from its shape alone. */
#ifndef BEAM_MODEL_COUNT_H
#define BEAM_MODEL_COUNT_H

#include "core/status.h"
#include "data/model_config.h"

typedef struct {
    int64_t total;  /* of the base model; a tied head counts once, with the embedding */
    int64_t active; /* of those, what one token passes through: K of the E experts of a layer, and the rest */
    int64_t gates;  /* of mask gates, on top */
} beam_parameter_count;

beam_status beam_model_count(beam_parameter_count *out, const beam_model_config *c);

#endif
