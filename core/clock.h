/* Time that only goes forward, for measuring. */
#ifndef BEAM_CORE_CLOCK_H
#define BEAM_CORE_CLOCK_H

/* Seconds since an arbitrary moment. */
double beam_seconds(void);

#endif
