/* Configurations from text, for tests: each call writes its own temporary file and removes it. */
#ifndef BEAM_TESTS_TRAIN_CONFIG_FILE_H
#define BEAM_TESTS_TRAIN_CONFIG_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/config.h"

/* The two keys every configuration needs, on lines 1 and 2. */
#define NEEDED "model_name_or_path: model\ndataset: train.h5\n"

/* Loads `size` bytes as a file called run.yaml in a folder of its own, with up to three overrides (NULL ends
 * them). */
static inline beam_status load_bytes(const char *bytes, size_t size, beam_config *c, char ***origins,
                                     const char *const overrides[])
{
    char folder[] = "/tmp/beam_config_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64];
    snprintf(path, sizeof path, "%s/run.yaml", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    int n = 0;
    while (overrides && overrides[n])
        n++;
    const beam_status s = beam_config_load(path, overrides, n, c, origins);
    unlink(path);
    rmdir(folder);
    return s;
}

static inline beam_status load(const char *text, beam_config *c, char ***origins,
                               const char *const overrides[])
{
    return load_bytes(text, strlen(text), c, origins, overrides);
}

#endif
