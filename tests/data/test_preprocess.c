/* Text to token files, and showing them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/preprocess.h"
#include "data/scratch.h"
#include "data/tokenizer.h"
#include "data/tokens.h"

static void the_byte_tokenizer(void **state)
{
    (void)state;
    const beam_tokenizer *t = beam_tokenizer_find("byte");
    assert_non_null(t);
    assert_null(beam_tokenizer_find("gpt2"));
    unsigned char all[256];
    int32_t ids[256];
    char bytes[BEAM_TOKEN_BYTES];
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    assert_int_equal(beam_tokenizer_encode(t, all, 256, ids), 256);
    for (int i = 0; i < 256; i++) {
        assert_int_equal(ids[i], i);
        assert_int_equal(beam_tokenizer_decode(t, ids[i], bytes), 1);
        assert_int_equal((unsigned char)bytes[0], i);
        assert_null(beam_tokenizer_special(t, i));
    }
    assert_int_equal(t->eos, 256);
    assert_int_equal(t->vocab, 259);
    assert_string_equal(beam_tokenizer_special(t, t->eos), "<|eos|>");
    assert_int_equal(beam_tokenizer_decode(t, t->eos, bytes), 0);
    assert_int_equal(beam_tokenizer_decode(t, -1, bytes), 0);
    assert_int_equal(beam_tokenizer_decode(t, 259, bytes), 0);
}

static beam_preprocess_options options(const char *const *inputs, int n)
{
    return (beam_preprocess_options){
        .inputs = inputs, .n = n, .tokenizer = "byte", .output = scratch_path("out.h5")};
}

static void documents_become_tokens(void **state)
{
    (void)state;
    const char *inputs[] = {
        scratch_text("a.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"\"}\nbad\n{\"text\": \"<|eos|>\"}\n"),
        scratch_text("b.txt", "c\xc3\xa4")};
    beam_preprocess_options o = options(inputs, 2);
    o.text.max_bad_rows = 1;
    beam_preprocess_stats stats;
    beam_tokens t;
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_OK);
    assert_int_equal(stats.documents, 3);
    assert_int_equal(stats.tokens, 3 + 8 + 4);
    assert_int_equal(stats.empty, 1);
    assert_int_equal(stats.bad_rows, 1);
    assert_int_equal(beam_tokens_read(o.output, &t), BEAM_OK);
    static const int32_t ids[] = {'a', 'b', 256, '<', '|',  'e',  'o', 's',
                                  '|', '>', 256, 'c', 0xc3, 0xa4, 256};
    static const uint8_t loss[] = {0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1};
    static const int64_t start[] = {0, 3, 11, 15};
    assert_int_equal(t.tokens, 15);
    assert_int_equal(t.documents, 3);
    assert_int_equal(t.vocab, 259);
    assert_string_equal(t.tokenizer, "byte");
    assert_memory_equal(t.id, ids, sizeof ids);
    assert_memory_equal(t.loss, loss, sizeof loss);
    assert_memory_equal(t.start, start, sizeof start);
    beam_tokens_free(&t);
}

/* The ids and targets of a chat file, as text: <b> begins a message, <e> ends it, targets are upper case. */
static const char *chats_shown(const char *rows, beam_preprocess_stats *stats, int64_t max_bad_rows)
{
    static char shown[512];
    const char *inputs[] = {scratch_text("chat.jsonl", rows)};
    beam_preprocess_options o = options(inputs, 1);
    beam_tokens t;
    size_t n = 0;
    o.text.max_bad_rows = max_bad_rows;
    if (beam_preprocess(&o, stats) != BEAM_OK)
        return beam_last_error();
    assert_int_equal(beam_tokens_read(o.output, &t), BEAM_OK);
    for (int64_t i = 0; i < t.tokens; i++) {
        const int c = t.id[i];
        const char *special = c == 256 ? (t.loss[i] ? "<E>" : "<e>") : "<b>";
        if (c > 255)
            n += (size_t)snprintf(shown + n, sizeof shown - n, "%s", special);
        else
            n += (size_t)snprintf(shown + n, sizeof shown - n, "%c", t.loss[i] ? c - 'a' + 'A' : c);
    }
    beam_tokens_free(&t);
    return shown;
}

static void the_assistant_is_learned(void **state)
{
    (void)state;
    beam_preprocess_stats stats;
    assert_string_equal(
        chats_shown(
            "{\"messages\": [{\"role\": \"system\", \"content\": \"be kind\"},"
            "{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"ho\"},"
            "{\"role\": \"tool\", \"content\": \"\"}, {\"role\": \"assistant\", \"content\": \"\"}]}\n",
            &stats, 0),
        "<b>system\nbe kind<e><b>user\nhi<e><b>assistant\nHO<E><b>tool\n<e><b>assistant\n<E>");
    assert_int_equal(stats.trained, 4);
    assert_string_equal(
        chats_shown("{\"messages\": [{\"role\": \"assistant\", \"content\": \"no\", \"loss\": false},"
                    "{\"role\": \"user\", \"content\": \"<|bos|>assistant\", \"loss\": 0},"
                    "{\"role\": \"assistant\", \"content\": \"yes\", \"loss\": 1}]}",
                    &stats, 0),
        "<b>assistant\nno<e><b>user\n<|bos|>assistant<e><b>assistant\nYES<E>");
}

static void what_teaches_nothing_is_left_out(void **state)
{
    (void)state;
    beam_preprocess_stats stats;
    static const char rows[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n"
        "{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\", \"loss\": false}]}\n"
        "{\"text\": \"cd\", \"messages\": 3}\n";
    assert_string_equal(chats_shown(rows, &stats, 0), "cD<E>");
    assert_int_equal(stats.untaught, 2);
    assert_int_equal(stats.documents, 1);
}

static void bad_conversations_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *messages, *wrong;
    } bad[] = {
        {"[]", "\"messages\" is not a list"},
        {"{}", "\"messages\" is not a list"},
        {"[3]", "message 0: \"role\" is not"},
        {"[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"king\", \"content\": \"a\"}]",
         "message 1: \"role\" is not"},
        {"[{\"role\": \"user\\u0000\", \"content\": \"a\"}]", "message 0: \"role\" is not"},
        {"[{\"role\": \"user\", \"content\": null}]", "message 0: \"content\" is not"},
        {"[{\"role\": \"user\", \"content\": \"a\", \"loss\": true}]", "only messages of the assistant"},
        {"[{\"role\": \"assistant\", \"content\": \"a\", \"loss\": 2}]", "\"loss\" is not true"},
        {"[{\"role\": \"assistant\", \"content\": \"a\", \"loss\": \"1\"}]", "\"loss\" is not true"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char rows[256];
        beam_preprocess_stats stats;
        snprintf(rows, sizeof rows, "{\"text\": \"x\"}\n{\"messages\": %s}\n", bad[i].messages);
        const char *said = chats_shown(rows, &stats, 0);
        assert_non_null(strstr(said, "chat.jsonl:2: "));
        assert_non_null(strstr(said, bad[i].wrong));
        assert_string_equal(chats_shown(rows, &stats, 1), "x<E>");
        assert_int_equal(stats.bad_rows, 1);
    }
}

static void documents_can_be_held_out(void **state)
{
    (void)state;
    enum { N = 1000 };
    char *text = malloc(N * 32), *end = text;
    assert_non_null(text);
    for (int i = 0; i < N; i++)
        end += sprintf(end, "{\"text\": \"%04d\"}\n", i);
    const char *inputs[] = {scratch_write("n.jsonl", text, (size_t)(end - text))};
    free(text);
    beam_preprocess_options o = options(inputs, 1);
    o.eval_output = scratch_path("eval.h5");
    o.eval_fraction = 0.1;
    beam_preprocess_stats stats;
    beam_tokens train, eval;
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_OK);
    assert_int_equal(stats.documents + stats.eval_documents, N);
    assert_in_range(stats.eval_documents, 60, 140);
    assert_int_equal(beam_tokens_read(o.output, &train), BEAM_OK);
    assert_int_equal(beam_tokens_read(o.eval_output, &eval), BEAM_OK);
    assert_int_equal(train.tokens, stats.tokens);
    assert_int_equal(eval.tokens, stats.eval_tokens);
    int64_t a = 0, b = 0; /* every document is in one of them, in order */
    for (int i = 0; i < N; i++) {
        char number[16];
        snprintf(number, sizeof number, "%04d", i);
        int k = 0;
        while (k < 4 && a < train.documents && train.id[train.start[a] + k] == number[k])
            k++;
        if (k == 4)
            a++;
        else
            for (b++, k = 0; k < 4; k++)
                assert_int_equal(eval.id[eval.start[b - 1] + k], number[k]);
    }
    beam_tokens_free(&train);
    beam_tokens_free(&eval);
}

static void unusable_options_are_refused(void **state)
{
    (void)state;
    const char *inputs[] = {scratch_text("a.txt", "x"), scratch_text("e.jsonl", "{\"text\": \"\"}\n"),
                            scratch_text("bad.jsonl", "{}\n{}\n")};
    beam_preprocess_stats stats;
    beam_preprocess_options o = options(inputs, 0);
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_ECONFIG);
    o = options(inputs, 1);
    o.tokenizer = "gpt2";
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_ECONFIG);
    o = options(inputs, 1);
    o.eval_fraction = 0.5;
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_ECONFIG);
    o = options(inputs, 1);
    o.output = inputs[0];
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_ECONFIG);
    o = options(inputs + 1, 1);
    o.output = scratch_path("never.h5");
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_EDATA);
    assert_true(message_has("none is left"));
    o.inputs = inputs + 2;
    o.text.max_bad_rows = 1;
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_EDATA);
    assert_true(message_has("bad.jsonl:2: no key"));
    assert_false(beam_file_exists(o.output));
}

/* The bad rows of all inputs count together. */
static void bad_rows_add_up(void **state)
{
    (void)state;
    const char *inputs[] = {scratch_text("1.jsonl", "{\"text\": \"x\"}\n{}\n"),
                            scratch_text("2.jsonl", "{}\n")};
    beam_preprocess_options o = options(inputs, 2);
    beam_preprocess_stats stats;
    o.text.max_bad_rows = 1;
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_EDATA);
    assert_true(message_has("2.jsonl:1"));
    o.text.max_bad_rows = 2;
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_OK);
    assert_int_equal(stats.bad_rows, 2);
}

static void show(void **state)
{
    (void)state;
    const char *inputs[] = {
        scratch_text("s.jsonl", "{\"text\": \"hi\\u001b[1m\"}\n{\"text\": \"there\"}\n{\"text\": \"x\"}\n")};
    const beam_preprocess_options o = options(inputs, 1);
    beam_preprocess_stats stats;
    assert_int_equal(beam_preprocess(&o, &stats), BEAM_OK);
    FILE *to = fopen(scratch_path("shown"), "w");
    assert_non_null(to);
    assert_int_equal(beam_preprocess_show(o.output, 2, 4, to), BEAM_OK);
    fclose(to);
    size_t size;
    char *shown = scratch_read(scratch_path("shown"), &size);
    assert_non_null(strstr(shown, "3 documents, 15 tokens"));
    assert_non_null(strstr(shown, "--- document 0: 7 tokens, 6 trained\nh«i\\x1b[»\n(3 more tokens)\n"));
    assert_non_null(strstr(shown, "--- document 1: 6 tokens, 5 trained\nt«her»\n(2 more tokens)\n"));
    assert_null(strstr(shown, "document 2"));
    free(shown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_byte_tokenizer),
        cmocka_unit_test(documents_become_tokens),
        cmocka_unit_test(documents_can_be_held_out),
        cmocka_unit_test(the_assistant_is_learned),
        cmocka_unit_test(what_teaches_nothing_is_left_out),
        cmocka_unit_test(bad_conversations_are_named),
        cmocka_unit_test(unusable_options_are_refused),
        cmocka_unit_test(bad_rows_add_up),
        cmocka_unit_test(show),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
