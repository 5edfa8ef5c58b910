/* Lines of ids and multiple-choice questions: what is accepted, and file and line of what is not. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "data/cmocka_all.h"
#include "data/ids.h"
#include "data/scratch.h"

enum { VOCAB = 100 };

static void lines_come_back(void **state)
{
    (void)state;
    const char *path = scratch_text("ids.jsonl", "{\"ids\": [1, 2, 99]}\n"
                                                 "\n"
                                                 "   \n"
                                                 "{\"loss\": [0, 1], \"ids\": [0, 5], \"note\": \"x\"}\n"
                                                 "{\"ids\": [7]}"); /* no newline at the end */
    beam_id_lines l;
    assert_int_equal(beam_ids_read(path, VOCAB, &l), BEAM_OK);
    assert_int_equal(l.n, 3);
    assert_int_equal(l.longest, 3);
    assert_memory_equal(l.line[0].id, ((int32_t[]){1, 2, 99}), 3 * sizeof(int32_t));
    assert_memory_equal(l.line[0].loss, ((uint8_t[]){1, 1, 1}), 3);
    assert_int_equal(l.line[0].number, 1);
    assert_int_equal(l.line[1].n, 2);
    assert_memory_equal(l.line[1].loss, ((uint8_t[]){0, 1}), 2);
    assert_int_equal(l.line[1].number, 4);
    assert_int_equal(l.line[2].id[0], 7);
    beam_ids_free(&l);
    beam_ids_free(&l); /* an emptied list frees again */
}

static void more_lines_than_the_first_allocation(void **state)
{
    (void)state;
    enum { LINES = 1000 };
    char text[LINES * 16];
    size_t n = 0;
    for (int i = 0; i < LINES; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "{\"ids\":[%d]}\n", i % VOCAB);
    beam_id_lines l;
    assert_int_equal(beam_ids_read(scratch_write("many.jsonl", text, n), VOCAB, &l), BEAM_OK);
    assert_int_equal(l.n, LINES);
    for (int i = 0; i < LINES; i++)
        assert_int_equal(l.line[i].id[0], i % VOCAB);
    beam_ids_free(&l);
}

static void wrong_lines_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
    } wrong[] = {
        {"{\"ids\": [1, 100]}", "\"ids\"[1] is not an integer from 0 to 99"},
        {"{\"ids\": [-1]}", "\"ids\"[0] is not an integer"},
        {"{\"ids\": [1.0]}", "\"ids\"[0] is not an integer"},
        {"{\"ids\": [\"1\"]}", "\"ids\"[0] is not an integer"},
        {"{\"ids\": [9223372036854775807]}", "\"ids\"[0] is not an integer"},
        {"{\"ids\": []}", "at least one"},
        {"{\"ids\": 3}", "at least one"},
        {"{\"id\": [3]}", "at least one"},
        {"{\"ids\": [1, 2], \"loss\": [1]}", "as many entries as \"ids\" (2)"},
        {"{\"ids\": [1, 2], \"loss\": [0, 2]}", "\"loss\"[1] is not an integer from 0 to 1"},
        {"{\"ids\": [1], \"ids\": [2]}", "not valid JSON"},
        {"[1, 2]", "a JSON object"},
        {"{\"ids\": [1]", "not valid JSON"},
        {"{\"ids\": [1]} {\"ids\": [2]}", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[256];
        beam_id_lines l;
        snprintf(text, sizeof text, "{\"ids\": [1]}\n\n%s\n", wrong[i].line);
        assert_int_equal(beam_ids_read(scratch_text("wrong.jsonl", text), VOCAB, &l), BEAM_EDATA);
        assert_true(message_has("wrong.jsonl:3:"));
        assert_true(message_has(wrong[i].message));
        assert_int_equal(l.n, 0);
        assert_null(l.line);
    }
}

static void a_zero_byte_is_no_end(void **state)
{
    (void)state;
    static const char text[] = "{\"ids\": [1]}\0{\"ids\": [200]}\n";
    beam_id_lines l;
    assert_int_equal(beam_ids_read(scratch_write("zero.jsonl", text, sizeof text - 1), VOCAB, &l),
                     BEAM_EDATA);
}

static long peak_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* 1 GiB of zero bytes that take no room on disk: nothing of a line beyond 16 MiB is kept. */
static void a_long_line_is_not_held(void **state)
{
    (void)state;
    const char *path = scratch_write("long.jsonl", "{\"ids\": [1]}\n", 13);
    const long before = peak_kib();
    beam_id_lines l;
    assert_int_equal(truncate(path, (off_t)1 << 30), 0);
    assert_int_equal(beam_ids_read(path, VOCAB, &l), BEAM_EDATA);
    assert_true(message_has("long.jsonl:2: the line has more than 16777216 bytes"));
    assert_true(peak_kib() - before < 256 * 1024);
}

static void nothing_to_read(void **state)
{
    (void)state;
    beam_id_lines l;
    beam_questions q;
    assert_int_equal(beam_ids_read(scratch_text("none.jsonl", "\n \n"), VOCAB, &l), BEAM_EDATA);
    assert_true(message_has("holds no line"));
    assert_int_equal(beam_ids_read(scratch_path("absent.jsonl"), VOCAB, &l), BEAM_EIO);
    assert_true(message_has("absent.jsonl: cannot open"));
    assert_int_equal(beam_questions_read(scratch_text("none.jsonl", ""), &q), BEAM_EDATA);
    assert_int_equal(beam_questions_read(scratch_path("absent.jsonl"), &q), BEAM_EIO);
}

static void questions_come_back(void **state)
{
    (void)state;
    const char *path =
        scratch_text("q.jsonl", "{\"id\": \"a\", \"context\": \"2 + 2 =\", \"choices\": "
                                "[\" 3\", \" 4\"], \"label\": 1}\n\n"
                                "{\"context\": \"\", \"choices\": [\"\\u00e9\", \"b\", \"c\"]}\n");
    beam_questions q;
    assert_int_equal(beam_questions_read(path, &q), BEAM_OK);
    assert_int_equal(q.n, 2);
    assert_string_equal(q.at[0].id, "a");
    assert_string_equal(q.at[0].context, "2 + 2 =");
    assert_int_equal(q.at[0].n, 2);
    assert_string_equal(q.at[0].choice[1], " 4");
    assert_int_equal(q.at[0].label, 1);
    assert_string_equal(q.at[1].id, "");
    assert_string_equal(q.at[1].choice[0], "\xc3\xa9");
    assert_int_equal(q.at[1].n, 3);
    assert_int_equal(q.at[1].label, -1);
    assert_int_equal(q.at[1].number, 3);
    beam_questions_free(&q);
}

static void wrong_questions_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
    } wrong[] = {
        {"{\"context\": \"a\", \"choices\": [\"b\"]}", "2 to 16 texts"},
        {"{\"context\": \"a\"}", "2 to 16 texts"},
        {"{\"choices\": [\"a\", \"b\"]}", "2 to 16 texts"},
        {"{\"context\": \"a\", \"choices\": [\"b\", 3]}", "\"choices\"[1] is not a text"},
        {"{\"context\": \"a\", \"choices\": [\"b\", \"\"]}", "\"choices\"[1] is not a text"},
        {"{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"label\": 2}", "not one of the 2 choices"},
        {"{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"label\": -1}", "not one of the 2 choices"},
        {"{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"label\": 4294967296}",
         "not one of the 2 choices"},
        {"{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"label\": \"b\"}", "not one of the 2 choices"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        beam_questions q;
        assert_int_equal(beam_questions_read(scratch_text("wrong.jsonl", wrong[i].line), &q), BEAM_EDATA);
        assert_true(message_has("wrong.jsonl:1:"));
        assert_true(message_has(wrong[i].message));
        assert_null(q.at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_back),         cmocka_unit_test(more_lines_than_the_first_allocation),
        cmocka_unit_test(wrong_lines_are_named),   cmocka_unit_test(a_zero_byte_is_no_end),
        cmocka_unit_test(a_long_line_is_not_held), cmocka_unit_test(nothing_to_read),
        cmocka_unit_test(questions_come_back),     cmocka_unit_test(wrong_questions_are_named),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
