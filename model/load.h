/* Filling a model's parameters: from a Hugging Face folder, or from random numbers. */
#ifndef BEAM_MODEL_LOAD_H
#define BEAM_MODEL_LOAD_H

#include "model/model.h"

typedef enum { BEAM_GATES_OPEN, BEAM_GATES_ZERO } beam_gate_init;

/* Reads every tensor of the base model, and those of the mask gates if `gates` is true, from the safetensors
 * of `folder`, in either layout of experts (model/hf_map.h), a few MB at a time: the only memory of the size
 * of a tensor is the model's own. BEAM_EMODEL if one is missing or has another shape, or if the folder holds
 * a tensor that would be ignored: another model than the one that was saved. */
beam_status beam_model_load(beam_model *m, const char *folder, bool gates);

/* The same for a list of parameters without a model around it. */
beam_status beam_params_load(beam_params params, const beam_model_config *c, const char *folder, bool gates,
                             beam_backend *be);

/* Only the mask gates, from the safetensors file of an adapter (docs/formats.md). */
beam_status beam_gates_load(beam_params params, const beam_model_config *c, const char *path,
                            beam_backend *be);

/* Before memory is allocated for a list of f32 values: matrices that the folder holds in bf16 become bf16
 * there. Loading then keeps their bits; in other types of file they are read as float. */
beam_status beam_params_as_stored(beam_params params, const beam_model_config *c, const char *folder);

/* Base parameters as a fresh Hugging Face model's: norms 1, biases 0, matrices normal with standard
 * deviation initializer_range, from counters keyed by (seed, name). */
beam_status beam_model_init_base(beam_model *m, uint64_t seed);

/* The router's rows of null experts: normal in the same way. */
beam_status beam_model_init_nulls(beam_model *m, uint64_t seed);

/* Mask gates (method: initialisation). zero: all parameters 0, as in the paper, so every u is 0 and every
 * expert is kept. open: b = init_bias, and a = 1 where the gate has router-aware terms. */
beam_status beam_model_init_gates(beam_model *m, beam_gate_init init, double init_bias);

/* How many numbers a parameter has in the whole model, and n of these from number `first` on: float out[n].
 * Where experts are spread over ranks they may be another rank's, so all ranks ask for the same. */
int64_t beam_model_numbers(const beam_model *m, const beam_param *p);
beam_status beam_model_read(beam_model *m, const beam_param *p, int64_t first, int64_t n, float *out);

/* Element i of a tensor becomes normal number first + i of (seed, stream) times `deviation`, with the bits
 * that one thread would make; or all become `value`. In pieces: a tensor may be larger than the host's
 * memory. */
beam_status beam_tensor_set_normal(beam_backend *be, beam_tensor t, uint64_t seed, uint64_t stream,
                                   int64_t first, double deviation);
beam_status beam_tensor_set_all(beam_backend *be, beam_tensor t, float value);

/* A tensor's values from and to host memory of beam_count(t) floats. Both wait for the device. */
beam_status beam_tensor_set_f32(beam_backend *be, beam_tensor t, const float *values);
beam_status beam_tensor_get_f32(beam_backend *be, beam_tensor t, float *values);

#endif
