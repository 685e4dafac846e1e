/* chunks.c - files of checksummed records: what is torn is cut off, what is damaged is refused */
#include "common/io/chunks.h"

#include "common/base/mem.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

static const struct chunks_type type = {"OCTTEST\n", 3, "test records", "make it again"};
static const char *path;

/* Three chunks and the end; their payloads are "", "ab" in two parts, and 1000 bytes of 'c'. */
static void write_file(bool end)
{
    char big[1000];
    const struct chunks_part two[] = {{"a", 1}, {"b", 1}}, many[] = {{big, sizeof big}};
    json_t *head = json_pack("{s:s}", "key", "value");
    struct chunks_out o;
    struct err e = {0};

    memset(big, 'c', sizeof big);
    if (chunks_create(&o, &type, path, head, &e) || chunks_put(&o, 7, NULL, 0, &e) ||
        chunks_put(&o, 8, two, 2, &e) || chunks_put(&o, 9, many, 1, &e) || (end && chunks_end(&o, &e)))
        CHECK(0, "a file is written: %s", e.msg);
    chunks_close(&o);
    json_decref(head);
}

/*
 * Chunks that chunks_read() gives of these bytes; -1: refused, with rc RC_DATA and the file's name and the
 * remedy.
 */
static long count(const uint8_t *data, size_t n, bool whole)
{
    struct chunks c;
    struct err e = {0};
    long chunks;

    scratch_put("records", data, n);
    if (chunks_read(&c, &type, path, whole, &e))
        return e.rc == RC_DATA && strstr(e.msg, path) && strstr(e.msg, "make it again") ? -1 : -2;
    chunks = c.head ? (long)c.n : -3;
    chunks_release(&c);
    return chunks;
}

static void test_read(void)
{
    struct chunks c;
    struct err e = {0};

    write_file(true);
    CHECK(chunks_read(&c, &type, path, true, &e) == 0 && c.n == 3 && c.ended, "a whole file is read %s",
          e.msg);
    CHECK(c.n == 3 && c.chunk[0].kind == 7 && c.chunk[0].bytes == 0 && c.chunk[1].kind == 8 &&
          c.chunk[1].bytes == 2 &&
              !memcmp(c.chunk[1].data, "ab", 2) && c.chunk[2].bytes == 1000 && c.chunk[2].data[999] == 'c',
          "its chunks are those that were written");
    CHECK(!strcmp(json_string_value(json_object_get(c.head, "key")), "value"), "so is its header");
    chunks_release(&c);
}

/* Every length that a kill can leave, and every bit of every byte. */
static void test_damage(void)
{
    uint8_t *whole = NULL;
    struct err e = {0};
    size_t n, head, starts[5], torn = 0, refused = 0, flips = 0, tail = 0;
    long want = 0;

    write_file(true);
    if (file_read(path, &whole, &n, &e)) {
        CHECK(0, "the file is read: %s", e.msg);
        return;
    }
    head = 64 + strlen("{\"key\":\"value\"}");
    starts[0] = head;
    starts[1] = head + 48;
    starts[2] = starts[1] + 50;
    starts[3] = starts[2] + 1048;
    starts[4] = starts[3] + 48;
    CHECK(starts[4] == n, "a chunk takes 48 bytes beyond its payload");
    for (size_t k = 0; k < n; k++) {
        while (want < 3 && k >= starts[want + 1])
            want++;
        torn += count(whole, k, false) == (k < head ? -3 : want);
        refused += count(whole, k, true) == -1;
    }
    CHECK(torn == n, "cut anywhere, the chunks before the cut remain: %zu of %zu", torn, n);
    CHECK(refused == n, "and a whole file is refused: %zu of %zu", refused, n);
    for (size_t k = 0; k < n; k++) {
        long got;

        whole[k] ^= 1u << k % 8;
        flips += count(whole, n, true) == -1;
        got = count(whole, n, false);
        /* The last chunk here is the end: without it the file is one that was not finished. */
        tail += got == -1 || (k >= starts[3] + 16 && got == 3);
        whole[k] ^= 1u << k % 8;
    }
    CHECK(flips == n, "any byte changed is found: %zu of %zu", flips, n);
    CHECK(tail == n, "and refused, but for the sum of the last chunk: %zu of %zu", tail, n);
    memset(whole + starts[2] + 500, 0, n - starts[2] - 500);
    CHECK(count(whole, starts[3], false) == 2, "zeros at the end of the last chunk: torn");
    memset(whole + starts[2], 0, n - starts[2]);
    CHECK(count(whole, n, false) == 2, "nothing but zeros: torn");
    free(whole);
}

static void test_order(void)
{
    uint8_t *data = NULL, *one;
    struct err e = {0};
    size_t n;

    write_file(true);
    if (file_read(path, &data, &n, &e)) {
        CHECK(0, "the file is read: %s", e.msg);
        return;
    }
    one = data + 64 + strlen("{\"key\":\"value\"}");
    memmove(one, one + 48, n - (size_t)(one + 48 - data));
    CHECK(count(data, n - 48, false) == -1, "a chunk that was taken out is missed");
    free(data);
    write_file(true);
    if (file_read(path, &data, &n, &e) == 0) {
        uint8_t *twice = mem_zalloc(n + 48, 1, &e);

        memcpy(twice, data, n);
        memcpy(twice + n, data + n - 48, 48);
        CHECK(count(twice, n + 48, false) == -1, "nothing follows the end");
        free(twice);
    }
    free(data);
}

static void test_type(void)
{
    const struct chunks_type other = {"OCTOTHER", 3, "other records", "make it again"};
    const struct chunks_type newer = {"OCTTEST\n", 4, "test records", "make it again"};
    struct chunks c;
    struct err e = {0};

    write_file(true);
    CHECK(chunks_read(&c, &other, path, true, &e) && e.rc == RC_DATA &&
          strstr(e.msg, "not a file of other records"),
          "another magic: %s", e.msg);
    e = (struct err){0};
    CHECK(chunks_read(&c, &newer, path, true, &e) && e.rc == RC_DATA && strstr(e.msg, "format version 3"),
          "another version: %s", e.msg);
    e = (struct err){0};
    CHECK(chunks_read(&c, &newer, "/nonexistent", true, &e) && e.rc == RC_SYS, "no file: %s", e.msg);
}

static void test_resume(void)
{
    const struct chunks_part more[] = {{"d", 1}};
    struct chunks c;
    struct chunks_out o, second;
    struct err e = {0};

    for (size_t keep = 0; keep <= 3; keep++) {
        write_file(false);
        if (truncate(path, (off_t)(keep == 3 ? 1225 : 1200)))
            CHECK(0, "the file is cut");
        CHECK(chunks_read(&c, &type, path, false, &e) == 0 && !c.ended && c.n == (keep == 3 ? 3 : 2),
              "a torn file is read %s", e.msg);
        if (keep > c.n)
            keep = c.n;
        CHECK(chunks_resume(&o, &c, keep, &e) == 0 && chunks_put(&o, 5, more, 1, &e) == 0 &&
              chunks_end(&o, &e) == 0,
              "it goes on after %zu chunks %s", keep, e.msg);
        CHECK(chunks_create(&second, &type, path, c.head, &e) == -1 && e.rc == RC_SYS &&
                  strstr(e.msg, "written by another process"),
              "nobody else writes to it meanwhile: %s", e.msg);
        e = (struct err){0};
        chunks_close(&o);
        chunks_release(&c);
        CHECK(chunks_read(&c, &type, path, true, &e) == 0 && c.n == keep + 1 && c.chunk[keep].kind == 5 &&
                  c.chunk[keep].data[0] == 'd',
              "and is whole: %s", e.msg);
        chunks_release(&c);
    }
}

int main(void)
{
    path = scratch("records");
    test_read();
    test_damage();
    test_order();
    test_type();
    test_resume();
    return unit_end();
}
