#include "decode/library.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* POSIX lets dlsym's result be a function. */
void library_find(const library *l, const char *name, void *to)
{
    void *symbol = dlsym(l->handle, name);
    assert_non_null(symbol);
    memcpy(to, &symbol, sizeof symbol);
}

void library_open(library *l, const char *path)
{
    const char *elsewhere = getenv("BEAM_TEST_MOE_LIBRARY"); /* a program that was taken to another machine */
    l->handle = dlopen(elsewhere ? elsewhere : path, RTLD_NOW | RTLD_LOCAL);
    if (!l->handle)
        fail_msg("%s", dlerror());
    library_find(l, "beam_moe_check", &l->check);
    library_find(l, "beam_moe_workspace", &l->workspace);
    library_find(l, "beam_moe_run", &l->run);
    library_find(l, "beam_moe_route", &l->route);
    library_find(l, "beam_moe_experts", &l->experts);
    library_find(l, "beam_moe_pack_gate_up", &l->pack);
    library_find(l, "beam_moe_error", &l->error);
}
