/* SHA256SUMS: the hashes of a folder's files, one `HASH  NAME` per line, as the program sha256sum writes and
 * checks them (`sha256sum -c SHA256SUMS`). safetensors has no checksums of its own. */
#ifndef BEAM_DATA_SUMS_H
#define BEAM_DATA_SUMS_H

#include <stdbool.h>

#include "core/status.h"

/* Writes folder/SHA256SUMS over the regular files of the folder, except hidden ones, in the order of their
 * names. */
beam_status beam_sums_write(const char *folder);

/* Hashes the files that folder/SHA256SUMS names. BEAM_EMODEL if one is missing or another than it was, or the
 * list is damaged. *found = false: there is no such list, and nothing was done. */
beam_status beam_sums_verify(const char *folder, bool *found);

#endif
