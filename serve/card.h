/* README.md of an exported folder: the model card. */
#ifndef BEAM_SERVE_CARD_H
#define BEAM_SERVE_CARD_H

#include "serve/export.h"

/* `margins`: of the self-test; all 0 without one. */
beam_status beam_card_write(const char *folder, beam_model *m, const beam_export_options *options,
                            const beam_mask_margins *margins);

#endif
