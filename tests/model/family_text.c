#include "model/family_text.h"

#include <stdio.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/scratch.h"

beam_status family_read(const char *text, beam_model_config *c)
{
    memset(c, 0x5a, sizeof *c);
    return beam_model_config_read(scratch_text("config.json", text), c);
}

beam_model_config family_accept(const char *text)
{
    beam_model_config c;
    if (family_read(text, &c) != BEAM_OK)
        fail_msg("%s\n%s", beam_last_error(), text);
    return c;
}

void family_refuse(const family_refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        beam_model_config c;
        const beam_status s = family_read(cases[i].text, &c);
        if (s != BEAM_EMODEL)
            print_message("case %zu gave status %d: %s\n", i, (int)s, cases[i].text);
        assert_int_equal(s, BEAM_EMODEL);
        assert_true(message_has(cases[i].message));
        assert_true(message_has("config.json"));
    }
}

const char *family_source_path(const char *name)
{
    static char path[1024];
    const int n = snprintf(path, sizeof path, "%s/%s", BEAM_SOURCE_FOLDER, name);
    assert_true(n > 0 && (size_t)n < sizeof path);
    return path;
}
