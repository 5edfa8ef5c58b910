/* Reading an exported folder back, as the next program will. */
#ifndef BEAM_SERVE_VERIFY_H
#define BEAM_SERVE_VERIFY_H

#include "serve/export.h"

/* `folder` is what beam_export made of `m`: its config.json gives the same masks, and every tensor has the
 * model's values, rounded to the dtype in which it is stored; there are no others. BEAM_EIO if not. */
beam_status beam_export_verify(beam_model *m, const beam_export_options *options, const char *folder);

#endif
