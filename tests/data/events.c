#include "data/events.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/crc32c.h"
#include "data/scratch.h"

typedef struct {
    const unsigned char *at, *end;
} bytes;

/* One field of a protobuf message: its key, and what it holds as a number or as bytes. */
typedef struct {
    unsigned key;
    uint64_t number;
    bytes content;
} field;

static uint64_t take_fixed(bytes *b, int size)
{
    uint64_t v = 0;
    assert_true(b->end - b->at >= size);
    for (int i = 0; i < size; i++)
        v |= (uint64_t)*b->at++ << 8 * i;
    return v;
}

static uint64_t take_varint(bytes *b)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        const uint64_t byte = take_fixed(b, 1);
        v |= (byte & 127) << shift;
        if (byte < 128)
            return v;
    }
    fail_msg("a varint of more than ten bytes");
    return 0;
}

static bytes take(bytes *b, uint64_t size)
{
    assert_true((uint64_t)(b->end - b->at) >= size);
    b->at += size;
    return (bytes){b->at - size, b->at};
}

static bool next_field(bytes *b, field *f)
{
    if (b->at == b->end)
        return false;
    *f = (field){.key = (unsigned)take_varint(b)};
    switch (f->key & 7) {
    case 0:
        f->number = take_varint(b);
        break;
    case 1:
        f->number = take_fixed(b, 8);
        break;
    case 2:
        f->content = take(b, take_varint(b));
        break;
    case 5:
        f->number = take_fixed(b, 4);
        break;
    default:
        fail_msg("a field of kind %u", f->key & 7);
    }
    return true;
}

static void text_of(bytes b, char *text, size_t size)
{
    const size_t n = (size_t)(b.end - b.at);
    assert_true(n < size);
    memcpy(text, b.at, n);
    text[n] = '\0';
}

static void add_point(event_file *e, event_point p)
{
    e->at = realloc(e->at, (size_t)(e->n + 1) * sizeof *e->at);
    assert_non_null(e->at);
    e->at[e->n++] = p;
}

static void read_value(event_file *e, event_point p, bytes b)
{
    bool valued = false;
    for (field f; next_field(&b, &f);) {
        const uint32_t bits = (uint32_t)f.number;
        if (f.key == 0x0a)
            text_of(f.content, p.tag, sizeof p.tag);
        if (f.key == 0x15) {
            memcpy(&p.value, &bits, sizeof bits);
            valued = true;
        }
    }
    assert_true(valued && p.tag[0]);
    add_point(e, p);
}

/* Time and step stand before the rest. */
static void read_event(event_file *e, bytes b)
{
    event_point p = {0};
    for (field f; next_field(&b, &f);) {
        if (f.key == 0x09)
            memcpy(&p.wall_time, &f.number, sizeof p.wall_time);
        if (f.key == 0x10)
            p.step = (int64_t)f.number;
        if (f.key == 0x1a)
            text_of(f.content, e->version, sizeof e->version);
        if (f.key == 0x2a)
            for (field value; next_field(&f.content, &value);)
                read_value(e, p, value.content);
        if (f.key == 0x3a) {
            assert_memory_equal(f.content.at, "\x08\x01", 2);
            e->start = p.step;
        }
    }
    assert_true(p.wall_time > 0);
}

static uint32_t unmasked(uint64_t crc)
{
    const uint32_t rotated = (uint32_t)crc - 0xa282ead8u;
    return rotated << 15 | rotated >> 17;
}

event_file events_read(const void *data, size_t size)
{
    event_file e = {.start = -1};
    bytes b = {data, (const unsigned char *)data + size};
    while (b.at < b.end && !e.torn) {
        const size_t left = (size_t)(b.end - b.at);
        bytes length = {b.at, b.end};
        const uint64_t n = left < 12 ? 0 : take_fixed(&length, 8);
        e.torn = left < 12 || left - 12 < n || left - 12 - n < 4;
        if (e.torn)
            break;
        assert_int_equal(unmasked(take_fixed(&length, 4)), beam_crc32c(0, b.at, 8));
        b.at = length.at;
        const bytes event = take(&b, n);
        assert_int_equal(unmasked(take_fixed(&b, 4)), beam_crc32c(0, event.at, n));
        read_event(&e, event);
        e.records++;
    }
    return e;
}

void events_free(event_file *e)
{
    free(e->at);
    *e = (event_file){0};
}

static int is_event_file(const struct dirent *d)
{
    return strstr(d->d_name, "tfevents") != NULL;
}

event_file events_of_folder(const char *folder)
{
    event_file all = {.start = -1};
    struct dirent **names;
    const int n = scandir(folder, &names, is_event_file, alphasort);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        char path[2048];
        size_t size;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        char *text = scratch_read(path, &size);
        event_file e = events_read(text, size);
        int kept = 0;
        for (int k = 0; k < all.n; k++)
            if (e.start < 0 || all.at[k].step < e.start)
                all.at[kept++] = all.at[k];
        all.n = kept;
        for (int k = 0; k < e.n; k++)
            add_point(&all, e.at[k]);
        all.records += e.records;
        all.torn = all.torn || e.torn;
        events_free(&e);
        free(text);
        free(names[i]);
    }
    free(names);
    return all;
}
