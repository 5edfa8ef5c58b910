/* The two halves of beam init: sizing a configuration, and writing it down. */
#ifndef BEAM_CLI_INIT_H
#define BEAM_CLI_INIT_H

#include "cli/forecast.h"

/* What the configuration is about. */
typedef struct {
    char model[BEAM_PATH_MAX];     /* model_name_or_path */
    char name[128];                /* of the model, for folders and comments */
    bool there;                    /* the model's folder, with its weights */
    const beam_forecast *forecast; /* with the sized configuration */
} beam_init_facts;

/* The commented configuration. */
void beam_init_print_config(const beam_init_facts *facts, FILE *to);

#endif
