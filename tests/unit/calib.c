/*
 * calib.c - caption sources: the published files, the bundled COCO layout, and files that are not what they
 * seem
 */
#include "common/io/calib.h"

#include <sqlite3.h>

#include "common/io/coco.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

static bool refused(const void *data, size_t n, const char *want)
{
    const char *path = scratch_put("source", data, n);
    struct calib c;
    struct err e = {0};
    bool right = calib_read(&c, path, &e) == -1 && e.rc == RC_DATA && strstr(e.msg, path) &&
                 strstr(e.msg, want);

    if (!right)
        printf("# rc %d: %s\n", e.rc, e.msg);
    calib_release(&c);
    return right;
}

static void published(void)
{
    static const char *const size[] = {"", "_large", "_medium", "_small"};
    static const size_t rows[] = {4096, 512, 128, 16};
    struct calib c, first = {0}, text;
    struct err e = {0};
    char path[96];

    for (size_t i = 0; i < 4; i++) {
        bool same = true;

        snprintf(path, sizeof path, "data/coco2017/coco2017_vlm_calib%s.db", size[i]);
        CHECK(calib_read(&c, path, &e) == 0 && c.kind == CALIB_DATABASE &&
              c.n == rows[i], "%s has %zu captions (%s)", path, rows[i], e.msg);
        if (i == 0) {
            CHECK(c.remark && strstr(c.remark, "says 4096 samples and holds 8192 rows, 4096 of them repeats"),
                  "the doubled rows are remarked on");
            CHECK(c.root && !strcmp(c.root, "data/coco2017/../coco2017/source-data"),
                  "meta tells the pictures' folder");
            CHECK(c.item[41].caption &&
                  !strcmp(c.item[41].caption, "A picture of something and it appears like "
                                              "sustenance. \n"),
                  "captions stay as they are");
            CHECK(c.item[0].image_id == 448463 && c.item[0].caption_id == 54008 &&
                      !strcmp(c.item[0].picture, "train2017/000000448463.jpg") &&
                      !strcmp(c.item[0].split, "train2017"),
                  "the first row");
        } else {
            CHECK(!c.remark && !c.root, "a database without meta needs no remark");
        }
        snprintf(path, sizeof path, "data/coco2017/coco2017_captions%s.txt", size[i]);
        CHECK(calib_read(&text, path, &e) == 0 && text.kind == CALIB_CAPTIONS && text.n == rows[i], "%s (%s)",
              path, e.msg);
        for (size_t k = 0; k < text.n && k < c.n; k++)
            same = same && text.item[k].line == k + 1 && text.item[k].image_id == -1 &&
                   !text.item[k].picture &&
                   strstr(c.item[k].caption, text.item[k].caption);
        CHECK(same, "its lines are the database's captions");
        calib_release(&text);
        if (i == 0)
            first = c;
        else
            calib_release(&c);
    }
    CHECK(calib_read(&c, "data/coco2017/coco2017_vlm_eval_100.jsonl", &e) == 0 && c.kind == CALIB_EVAL &&
          c.n == 100,
          "the evaluation list (%s)", e.msg);
    CHECK(!strcmp(c.item[41].caption, first.item[41].caption) &&
          c.item[41].image_id == first.item[41].image_id,
          "its captions are verbatim, its pictures known by number");
    calib_release(&c);
    calib_release(&first);
}

static void coco(void)
{
    struct calib c;
    struct err e = {0};
    char *root;

    CHECK(calib_read(&c, "data/shapes2017", &e) == 0 && c.kind == CALIB_COCO && c.n == 480 &&
              !strcmp(c.item[0].split, "train2017") && !strcmp(c.item[479].split, "val2017") &&
              !strcmp(c.root, "data/shapes2017"),
          "a directory is all its splits (%s)", e.msg);
    calib_release(&c);
    CHECK(calib_read(&c, "data/shapes2017/annotations/captions_val2017.json", &e) == 0 && c.n == 160 &&
              !strcmp(c.item[0].picture, "val2017/000000100001.jpg") && c.item[1].caption_id == 1000011,
          "one split (%s)", e.msg);
    calib_one_per_image(&c, true);
    CHECK(c.n == 80 && c.item[0].caption_id == 1000011 && c.item[79].image_id == 100080,
          "last captions by picture");
    calib_release(&c);
    root = coco_root("data/annotations/captions_x.json", &e);
    CHECK(!strcmp(root, "data"), "the root of annotations/");
    free(root);
    root = coco_root("annotations/captions_x.json", &e);
    CHECK(!strcmp(root, "."), "the root of the present folder");
    free(root);
    root = coco_root("elsewhere/captions_x.json", &e);
    CHECK(!strcmp(root, "elsewhere/.."), "the root of a folder with another name");
    free(root);
}

static void text_forms(void)
{
    static const char captions[] = "  one\r\n\n\t\n\xe3\x80\x80two three \xc2\xa0\nlast";
    static const char eval[] = "{\"image_relpath\": \"v/7.png\", \"caption\": \" a \\n\"}\n\n"
                               "{\"split\":\"v\",\"image_relpath\":\"v/x7.png\",\"caption\":\"b\"}";
    struct calib c;
    struct err e = {0};

    CHECK(calib_read(&c, scratch_text("source", captions), &e) == 0 && c.n == 3 &&
              !strcmp(c.item[0].caption, "one") &&
              !strcmp(c.item[1].caption, "two three") && c.item[1].line == 4 &&
              !strcmp(c.item[2].caption, "last"),
          "captions are stripped, blank lines skipped");
    calib_release(&c);
    CHECK(calib_read(&c, scratch_text("source", eval), &e) == 0 && c.n == 2 && !c.item[0].split &&
              c.item[0].image_id == 7 && !strcmp(c.item[0].caption, " a \n") && c.item[1].image_id == -1 &&
              c.item[1].line == 3,
          "evaluation lines: split may be missing, captions are verbatim");
    calib_release(&c);
}

static void refusals(void)
{
    char data[40960];
    FILE *f = fopen("data/coco2017/coco2017_vlm_calib_medium.db", "rb");
    size_t n = f ? fread(data, 1, sizeof data, f) : 0;
    struct calib c;
    struct err e = {0};

    CHECK(n > 8192, "a database to cut");
    CHECK(refused(data, n - 5000, "malformed"), "a truncated database");
    CHECK(refused(data, 100, "'"), "the head of a database");
    CHECK(refused("", 0, "holds no captions"), "an empty file");
    CHECK(refused("\n \n", 3, "holds no captions"), "blank lines");
    CHECK(refused("a\0b\n", 4, "line 1 holds a NUL"), "a binary file");
    CHECK(refused("{\"image_relpath\":\"a\",\"caption\":\"b\"}\n{\"image_rel", 45,
                  "line 2 is not valid JSON"),
          "truncated JSON lines");
    CHECK(refused("{\"image_relpath\":\"a\"}\n", 22, "line 1: "), "a line without its caption");
    CHECK(refused("{\"images\":[],\"annotations\":[]}", 30, "must be named captions_SPLIT.json"),
          "annotations of no known split");
    CHECK(calib_read(&c, "no/such.db", &e) == -1 && e.rc == RC_SYS, "a missing file");
    e = (struct err){0};
    CHECK(calib_read(&c, "data", &e) == -1 && e.rc == RC_DATA && strstr(e.msg, "not in the COCO layout"),
          "a directory of something else");
    if (f)
        fclose(f);
}

static void foreign_tables(void)
{
    static const struct {
        const char *name, *sql, *want;
    } t[] = {
        {"no such table", "CREATE TABLE t (a)", "no such table"},
        {"a caption that is a blob",
         "CREATE TABLE vlm_calib_samples (id, split, image_relpath, image_id, caption_id, caption);"
         "INSERT INTO vlm_calib_samples VALUES (3, 's', 's/1', 1, 2, x'00ff')",
         "row 3 of vlm_calib_samples is not"},
        {"a NULL picture",
         "CREATE TABLE vlm_calib_samples (id, split, image_relpath, image_id, caption_id, caption);"
         "INSERT INTO vlm_calib_samples VALUES (1, 's', NULL, 1, 2, 'c')",
         "row 1 of vlm_calib_samples is not"},
        {"no rows", "CREATE TABLE vlm_calib_samples (id, split, image_relpath, image_id, caption_id, caption)",
         "holds no captions"},
    };

    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        const char *path = scratch("foreign.db");
        struct calib c;
        struct err e = {0};
        sqlite3 *db;

        unlink(path);
        if (sqlite3_open(path, &db) != SQLITE_OK ||
            sqlite3_exec(db, t[i].sql, NULL, NULL, NULL) != SQLITE_OK)
            exit(1);
        sqlite3_close(db);
        CHECK(calib_read(&c, path, &e) == -1 && e.rc == RC_DATA && strstr(e.msg, t[i].want), "%s: %s",
              t[i].name, e.msg);
    }
}

int main(void)
{
    published();
    coco();
    text_forms();
    refusals();
    foreign_tables();
    return unit_end();
}
