/* A library in HDF5's folder of plugins that must never be loaded: merely that runs this. */
#include <unistd.h>

__attribute__((constructor)) static void run(void)
{
    _exit(99);
}
