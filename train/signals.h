/* SIGUSR1, SIGTERM, SIGINT and SIGHUP (a closed terminal) ask a run to save and stop. */
#ifndef BEAM_TRAIN_SIGNALS_H
#define BEAM_TRAIN_SIGNALS_H

#include <stdbool.h>

/* Starts listening. A second SIGINT ends the program at once. Where SIGHUP was ignored it stays so. A reader
 * of the log that went away (SIGPIPE) ends nothing. */
void beam_signals_listen(void);

/* True once one of them has arrived. */
bool beam_signals_stop(void);

#endif
