/* Text for people: wrapped where a terminal is narrower, one line where there is none. */
#define _XOPEN_SOURCE 700 /* posix_openpt */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/terminal.h"
#include "data/cmocka_all.h"

static void wraps(const char *text, int used, int indent, int columns, const char *expected)
{
    char *got = NULL;
    size_t size;
    FILE *to = open_memstream(&got, &size);
    assert_non_null(to);
    beam_print_wrapped(to, text, used, indent, columns);
    assert_int_equal(beam_terminal_columns(to), 0);
    assert_int_equal(beam_text_columns(to), 100);
    assert_int_equal(fclose(to), 0);
    assert_string_equal(got, expected);
    free(got);
}

static void test_wrapped(void **state)
{
    (void)state;
    wraps("", 0, 0, 40, "\n");
    wraps("one two three", 0, 0, 40, "one two three\n");
    wraps("one two\nthree", 0, 0, 7, "one two\nthree\n");
    wraps("one two three", 3, 2, 10, "one two\n  three\n");
    wraps("one two three", 4, 2, 10, "one\n  two\n  three\n");
    wraps("one\n\ntwo", 0, 0, 40, "one\n\ntwo\n");
    wraps("\n\n one ", 0, 0, 40, "one\n");
    wraps("a-word-that-is-longer x", 0, 1, 5, "a-word-that-is-longer\n x\n");
    wraps("\303\244\303\244\303\244 \303\244\303\244\303\244", 0, 0, 7,
          "\303\244\303\244\303\244 \303\244\303\244\303\244\n");
}

/* What a terminal of so many columns shows of a message. */
static void shows(int columns, const char *text, const char *expected)
{
    char got[512];
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
        skip();
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    const struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    assert_int_equal(ioctl(slave, TIOCSWINSZ, &size), 0);
    FILE *to = fdopen(slave, "w");
    assert_non_null(to);
    beam_print_message(to, "beam x: ", "warning: ", text);
    assert_int_equal(fclose(to), 0);
    size_t used = 0;
    ssize_t n;
    /* A line at a time, and EIO after the last. */
    while ((n = read(master, got + used, sizeof got - 1 - used)) > 0)
        used += (size_t)n;
    got[used] = '\0';
    assert_string_equal(got, expected); /* a terminal makes \r\n of \n */
    close(master);
}

static void test_message(void **state)
{
    (void)state;
    static const char text[] = "one two three four five six seven";
    shows(50, text, "beam x: warning: one two three four five six seven\r\n");
    shows(49, text, "beam x: warning: one two three four five six\r\n  seven\r\n");
    shows(0, text, "beam x: warning: one two three four five six seven\r\n");
    shows(7, text, "beam x: warning: one two three four five\r\n  six seven\r\n"); /* at least 40 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrapped),
        cmocka_unit_test(test_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
