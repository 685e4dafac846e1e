/*
 * exported.h - for tests: checkpoints written to a scratch directory, and ModelOpt's record of what it wrote
 */
#ifndef TESTS_UNIT_EXPORTED_H
#define TESTS_UNIT_EXPORTED_H

#include "common/quant/export.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

/* Plan and write; the message of a failure goes to e. */
static inline int export_as(const char *layout, const char *model, const char *scheme, enum rounding r,
                     size_t shard_bytes, const char *out, struct err *e)
{
    const struct export_opts o = {layout_find(layout), r, shard_bytes, false};
    struct export_plan plan = {0};
    struct progress progress = {0};
    struct scheme s = {0};
    struct ckpt c = {0};
    int ret = -1;

    if (ckpt_open(&c, model, e) == 0 && scheme_read(&s, scheme, false, e) == 0 &&
        export_plan(&plan, &c, &s, &o, e) == 0)
        ret = export_write(&plan, &(struct export_target){.dir = out}, NULL, &progress, e);
    CHECK(ret || progress.done == plan.items, "progress counts every tensor");
    export_release(&plan);
    scheme_release(&s);
    ckpt_close(&c);
    return ret;
}

static inline const char *torch_name(enum dtype t)
{
    return t == DT_F8_E4M3 ? "float8_e4m3fn" : t == DT_BF16 ? "bfloat16" : t == DT_F32 ? "float32"
        : t == DT_I8 ? "int8" : "?";
}

/* A tensor as a row of tensors.tsv: name, dtype, shape, sha256 of its bytes. */
static inline void describe(const struct st_tensor *t, char *out, size_t size)
{
    char hex[SHA256_HEX], shape[100] = "";
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, t->data, t->bytes);
    sha256_hex(&s, hex);
    for (size_t i = 0; i < t->ndim; i++)
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%zu", i ? "," : "", t->shape[i]);
    snprintf(out, size, "%s\t%s\t[%s]\t%s\t", t->name, torch_name(t->dtype), shape, hex);
}

/* Every row of tensors.tsv is a tensor of c, to the bit, and there are no others. */
static inline void same_tensors(const struct ckpt *c, const char *tsv_path)
{
    char *row, *save = NULL;
    struct err e = {0};
    uint8_t *tsv;
    size_t n, same = 0, rows = 0;

    if (file_read(tsv_path, &tsv, &n, &e))
        exit(1);
    strtok_r((char *)tsv, "\n", &save);
    while ((row = strtok_r(NULL, "\n", &save))) {
        const size_t length = strcspn(row, "\t");
        char want[400] = "", tensor[200];
        const struct st_tensor *t;

        snprintf(tensor, sizeof tensor, "%.*s", (int)length, row);
        t = ckpt_find(c, tensor);
        if (t)
            describe(t, want, sizeof want);
        same += t && !strncmp(row, want, strlen(want));
        rows++;
    }
    CHECK(same == rows && rows == c->tensors && rows > 130, "%s: %zu of %zu tensors as ModelOpt wrote them",
          tsv_path, same, rows);
    free(tsv);
}

#endif
