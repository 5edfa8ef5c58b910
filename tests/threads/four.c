/* Every CPU backend that a test opens has four threads, whatever the test asks for: the linker brings the
 * calls here (--wrap). Results do not depend on the number of threads. */
#include "kernels/backend.h"

beam_status __real_beam_backend_cpu(beam_backend *out, int threads);
beam_status __wrap_beam_backend_cpu(beam_backend *out, int threads);

beam_status __wrap_beam_backend_cpu(beam_backend *out, int threads)
{
    (void)threads;
    return __real_beam_backend_cpu(out, 4);
}
