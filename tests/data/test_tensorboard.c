/* Event files: what is written reads back, by a reader that also reads TensorBoard's own. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/cmocka_all.h"
#include "data/crc32c.h"
#include "data/events.h"
#include "data/file.h"
#include "data/scratch.h"
#include "data/tensorboard.h"

/* RFC 3720, appendix B.4, and the usual check value. */
static void checksums(void **state)
{
    (void)state;
    unsigned char bytes[32] = {0};
    assert_int_equal(beam_crc32c(0, "", 0), 0);
    assert_int_equal(beam_crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(beam_crc32c(beam_crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
    assert_int_equal(beam_crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_int_equal(beam_crc32c(0, bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(beam_crc32c(0, bytes, 32), 0x46dd794eu);
}

/* A file by TensorBoard 2.21's EventFileWriter: version, start at 300, two values. */
static void the_reader_reads_tensorboards_own(void **state)
{
    (void)state;
    static const char golden[] =
        "H\0\0\0\0\0\0\0\xfe\x92H\x9d\x09L\x97\x89{\x8d\xc0\xda"
        "A\x1a\x0d"
        "brain.Event:2R.\x0a,"
        "tensorboard.summary.writer.event_file_writerR\xdazS\x10\0\0\0\0\0\0\0\x95\xfb\xfe\x18\x09"
        "\0\0\0\0\0\0\xf8?\x10\xac\x02:\x02\x08\x01q;x\x8a"
        "9\0\0\0\0\0\0\0\x8b\x07"
        "7\xf1\x09\0\0\0\0\0\0\x04@\x10\xac\x02*+\x0a\x11\x0a\x0atrain/loss\x15\0\0\0?\x0a\x16\x0a\x0f"
        "active/layer_07\x15\0\0@\xc0\xfd\xff\xdaU";
    event_file e = events_read(golden, sizeof golden - 1);
    assert_false(e.torn);
    assert_string_equal(e.version, "brain.Event:2");
    assert_int_equal(e.start, 300);
    assert_int_equal(e.records, 3);
    assert_int_equal(e.n, 2);
    assert_string_equal(e.at[0].tag, "train/loss");
    assert_string_equal(e.at[1].tag, "active/layer_07");
    assert_true(e.at[0].step == 300 && e.at[0].wall_time == 2.5 && e.at[0].value == 0.5f);
    assert_true(e.at[1].step == 300 && e.at[1].wall_time == 2.5 && e.at[1].value == -3);
    events_free(&e);
}

static event_file read_back(const beam_tensorboard *w)
{
    size_t size;
    char *bytes = scratch_read(w->path, &size);
    const event_file e = events_read(bytes, size);
    free(bytes);
    assert_false(e.torn);
    assert_string_equal(e.version, "brain.Event:2");
    return e;
}

static void values_read_back(void **state)
{
    (void)state;
    static const int64_t steps[] = {0, 1, 127, 128, 300, INT64_MAX};
    static const double values[] = {0, -1.5, 1e300, -INFINITY, NAN, 0.1};
    beam_tensorboard w;
    assert_int_equal(beam_make_folder(scratch_path("values")), BEAM_OK);
    assert_int_equal(beam_tensorboard_open(&w, scratch_path("values"), 128), 0);
    assert_non_null(strstr(w.path, "values/events.out.tfevents."));
    for (int i = 0; i < 6; i++) {
        beam_tensorboard_add(&w, steps[i], "a", values[i]);
        beam_tensorboard_add(&w, steps[i], "group/b", 2 * values[i]);
        if (i % 2)
            assert_int_equal(beam_tensorboard_flush(&w), 0);
    }
    event_file e = read_back(&w); /* before it is closed */
    beam_tensorboard_close(&w);
    beam_tensorboard_close(&w);
    assert_int_equal(e.start, 128);
    assert_int_equal(e.records, 2 + 6); /* one for the values of a step */
    assert_int_equal(e.n, 12);
    for (int i = 0; i < 12; i++) {
        const float value = (float)((1 + i % 2) * values[i / 2]);
        assert_string_equal(e.at[i].tag, i % 2 ? "group/b" : "a");
        assert_true(e.at[i].step == steps[i / 2]);
        assert_true(fabs(e.at[i].wall_time - (double)time(NULL)) < 60);
        assert_true(isnan(value) ? isnan(e.at[i].value) : e.at[i].value == value);
    }
    events_free(&e);
}

/* More values than one record takes. */
static void a_step_of_many_values(void **state)
{
    (void)state;
    enum { MANY = 500 };
    beam_tensorboard w;
    char tag[BEAM_TENSORBOARD_TAG + 1];
    assert_int_equal(beam_make_folder(scratch_path("many")), BEAM_OK);
    assert_int_equal(beam_tensorboard_open(&w, scratch_path("many"), 0), 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(tag, sizeof tag, "%0*d", 1 + i % BEAM_TENSORBOARD_TAG, i);
        beam_tensorboard_add(&w, 7, tag, i);
    }
    assert_int_equal(beam_tensorboard_flush(&w), 0);
    beam_tensorboard_close(&w);
    event_file e = read_back(&w);
    assert_int_equal(e.n, MANY);
    for (int i = 0; i < MANY; i++) {
        snprintf(tag, sizeof tag, "%0*d", 1 + i % BEAM_TENSORBOARD_TAG, i);
        assert_string_equal(e.at[i].tag, tag);
        assert_true(e.at[i].step == 7 && e.at[i].value == (float)i);
    }
    events_free(&e);
}

static void each_start_has_its_file(void **state)
{
    (void)state;
    beam_tensorboard first, second;
    const char *folder = scratch_path("starts");
    assert_int_equal(beam_make_folder(folder), BEAM_OK);
    assert_int_equal(beam_tensorboard_open(&first, folder, 1), 0);
    assert_int_equal(beam_tensorboard_open(&second, folder, 3), 0);
    for (int step = 1; step <= 4; step++)
        beam_tensorboard_add(&first, step, "loss", step);
    beam_tensorboard_add(&second, 3, "loss", 30);
    assert_true(beam_tensorboard_flush(&first) == 0 && beam_tensorboard_flush(&second) == 0);
    beam_tensorboard_close(&first);
    beam_tensorboard_close(&second);
    assert_int_equal(scratch_count(folder, "events.out.tfevents."), 2);
    event_file e = events_of_folder(folder);
    assert_int_equal(e.n, 3);
    assert_true(e.at[0].value == 1 && e.at[1].value == 2 && e.at[2].value == 30);
    events_free(&e);
}

static void no_folder(void **state)
{
    (void)state;
    beam_tensorboard w;
    char folder[2000];
    errno = 0;
    assert_int_equal(beam_tensorboard_open(&w, scratch_path("absent"), 0), -1);
    assert_int_equal(errno, ENOENT);
    beam_tensorboard_add(&w, 1, "loss", 1);
    assert_int_equal(beam_tensorboard_flush(&w), 0);
    beam_tensorboard_close(&w);
    memset(folder, 'x', sizeof folder - 1);
    folder[sizeof folder - 1] = '\0';
    assert_int_equal(beam_tensorboard_open(&w, folder, 0), -1);
    assert_int_equal(errno, ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums),
        cmocka_unit_test(the_reader_reads_tensorboards_own),
        cmocka_unit_test(values_read_back),
        cmocka_unit_test(a_step_of_many_values),
        cmocka_unit_test(each_start_has_its_file),
        cmocka_unit_test(no_folder),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
