/* diff.c - tests of comparing model directories, on checkpoints of a few small tensors */
#include "common/quant/diff.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/base/fp8.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

enum { MAX = 8, ROWS = 7, COLS = 5000, COUNT = ROWS * COLS }; /* a row is more than a chunk */

/* A directory in the making. */
struct dir {
    const char *path;
    struct st_tensor t[MAX];
    size_t n;
    size_t files; /* 1: model.safetensors; else shards and an index */
    const char *config, *hf;
};

static const char *path_a, *path_b;
static uint16_t weight[COUNT];      /* BF16 */
static uint8_t code[COUNT];         /* E4M3 of it */
static float scale, other = 0.125f; /* of the codes */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static FILE *create(const struct dir *d, const char *name)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", d->path, name);
    f = fopen(path, "wb");
    if (!f)
        die(path);
    return f;
}

static void save_text(const struct dir *d, const char *name, const char *text)
{
    FILE *f = create(d, name);

    fputs(text, f);
    if (fclose(f))
        die(name);
}

/* Tensor i goes to file i modulo the number of files. */
static void save(const struct dir *d)
{
    char name[64];
    FILE *index = NULL;

    mkdir(d->path, 0777);
    save_text(d, "config.json", d->config ? d->config : "{}");
    if (d->hf)
        save_text(d, "hf_quant_config.json", d->hf);
    if (d->files > 1) {
        index = create(d, "model.safetensors.index.json");
        fputs("{\"weight_map\": {", index);
    }
    for (size_t f = 0; f < d->files; f++) {
        struct st_tensor part[MAX];
        struct err e = {0};
        size_t n = 0, header;
        FILE *out;

        snprintf(name, sizeof name, d->files > 1 ? "part-%zu.safetensors" : "model.safetensors", f);
        out = create(d, name);
        for (size_t i = f; i < d->n; i += d->files) {
            if (index)
                fprintf(index, "%s\"%s\": \"%s\"", i || f ? ", " : "", d->t[i].name, name);
            part[n++] = d->t[i];
        }
        if (st_write_header(out, part, n, &header, &e))
            die(e.msg);
        for (size_t i = 0; i < n; i++)
            fwrite(part[i].data, 1, part[i].bytes, out);
        if (fclose(out))
            die(name);
    }
    if (index) {
        fputs("}}", index);
        fclose(index);
    }
}

static struct st_tensor *add(struct dir *d, const char *name, enum dtype dtype, size_t rows, size_t cols,
                             const void *data)
{
    struct st_tensor *t = &d->t[d->n++];

    *t = (struct st_tensor){.name = (char *)name, .dtype = dtype, .data = data};
    t->ndim = !cols ? 0 : rows ? 2 : 1;
    t->shape[0] = rows ? rows : cols;
    t->shape[1] = cols;
    t->count = (rows ? rows : 1) * (cols ? cols : 1);
    t->bytes = t->count * dtype_bytes(dtype);
    return t;
}

/* A comparison, with what it needs to live. */
struct pair {
    struct ckpt a, b;
    struct diff d;
    struct err e;
    int ret;
};

static void compare(struct pair *p, const struct dir *a, const struct dir *b)
{
    struct progress progress = {0};

    *p = (struct pair){0};
    save(a);
    save(b);
    if (ckpt_open(&p->a, a->path, &p->e) || ckpt_open(&p->b, b->path, &p->e))
        die(p->e.msg);
    p->ret = diff_make(&p->d, &p->a, &p->b, &progress, &p->e);
}

static void finish(struct pair *p)
{
    diff_release(&p->d);
    ckpt_close(&p->b);
    ckpt_close(&p->a);
    scratch_clear();
}

static struct dir dir_a(void)
{
    return (struct dir){.path = path_a, .files = 1};
}

static struct dir dir_b(void)
{
    return (struct dir){.path = path_b, .files = 1};
}

/* The entry of one tensor; an empty one, which no test expects, when there is none. */
static const struct diff_tensor *find(const struct pair *p, const char *layer, const char *part)
{
    static const struct diff_tensor none;

    for (size_t i = 0; i < p->d.tensors; i++)
        if (!strcmp(p->d.tensor[i].layer, layer) && !strcmp(p->d.tensor[i].part, part))
            return &p->d.tensor[i];
    return &none;
}

static void test_names(void)
{
    struct dir a = dir_a(), b = dir_b();
    struct pair p;

    add(&a, "model.layers.10.mlp.down_proj.weight", DT_BF16, 2, 3, weight);
    add(&a, "model.layers.2.mlp.down_proj.weight", DT_BF16, 2, 3, weight + 6);
    add(&a, "visual.merger.mlp.0.bias", DT_BF16, 0, 3, weight);
    add(&a, "lm_head.weight", DT_BF16, 2, 3, weight);
    add(&a, "bare", DT_F32, 0, 0, &scale);
    b.files = 3;
    add(&b, "lm_head.weight", DT_BF16, 2, 3, weight);
    add(&b, "model.language_model.layers.10.mlp.down_proj.weight", DT_BF16, 2, 3, weight);
    add(&b, "bare", DT_F32, 0, 0, &scale);
    add(&b, "model.visual.merger.mlp.0.bias", DT_BF16, 0, 3, weight);
    add(&b, "model.language_model.layers.2.mlp.down_proj.weight", DT_BF16, 2, 3, weight + 6);
    compare(&p, &a, &b);
    CHECK(p.ret == 0 && p.d.tensors == 5 && p.d.layers == 5, "tensors of two naming styles pair: %s",
          p.e.msg);
    CHECK(p.b.indexed && p.b.shards == 3 && !p.a.indexed && !diff_any(&p.d),
          "one file and three shards of the same tensors are equal");
    CHECK(!strcmp(p.d.layer[0].name, "") &&
              !strcmp(p.d.layer[1].name, "language_model.layers.2.mlp.down_proj") &&
              !strcmp(p.d.layer[2].name, "language_model.layers.10.mlp.down_proj"),
          "layers are in the order of their numbers");
    finish(&p);

    add(&b, "lm_head.bias", DT_BF16, 0, 3, weight);
    add(&b, "model.lm_head.bias", DT_BF16, 0, 3, weight);
    compare(&p, &a, &b);
    CHECK(p.ret == -1 && p.e.rc == RC_DATA && strstr(p.e.msg, "'lm_head.bias'") &&
              strstr(p.e.msg, "'model.lm_head.bias'") && strstr(p.e.msg, path_b),
          "two names of one tensor: %s", p.e.msg);
    finish(&p);
}

static void test_what(void)
{
    struct dir a = dir_a(), b = dir_b();
    uint16_t changed[6];
    struct pair p;

    memcpy(changed, weight, sizeof changed);
    changed[4] ^= 1;
    add(&a, "a.weight", DT_BF16, 2, 3, weight);
    add(&b, "a.weight", DT_BF16, 2, 3, changed);
    add(&a, "b.weight", DT_BF16, 2, 3, weight);
    add(&b, "b.weight", DT_BF16, 3, 2, weight);
    add(&a, "c.weight", DT_BF16, 2, 3, weight);
    add(&b, "c.weight", DT_F16, 2, 3, weight);
    add(&a, "d.weight", DT_BF16, 2, 3, weight);
    add(&b, "e.weight", DT_BF16, 2, 3, weight);
    add(&a, "f.weight", DT_BF16, 0, 1, weight);
    add(&b, "f.weight", DT_BF16, 0, 0, weight);
    add(&a, "g.weight", DT_BF16, 2, 3, weight);
    add(&b, "g.weight", DT_BF16, 2, 3, weight);
    add(&a, "h.ids", DT_I64, 0, 1, weight);
    add(&b, "h.ids", DT_I64, 0, 1, weight + 4);
    a.config = "{\"a\": 1}";
    b.hf = "{}";
    compare(&p, &a, &b);
    CHECK(p.ret == 0 && p.d.tensors == 8 && p.d.layers_differ == 7 && p.d.tensors_differ == 7, "counts %s",
          p.e.msg);
    CHECK(p.d.tensors_only[0] == 1 && p.d.tensors_only[1] == 1, "counts of missing tensors");
    CHECK(find(&p, "a", "weight")->what == DIFF_BYTES &&
              find(&p, "a", "weight")->values.max_abs ==
                  fabsf(bf16_to_f32(weight[4]) - bf16_to_f32(changed[4])),
          "one bit: bytes, and its size");
    CHECK(find(&p, "b", "weight")->what == DIFF_SHAPE && !find(&p, "b", "weight")->values.known,
          "another shape: no numbers");
    CHECK(find(&p, "c", "weight")->what == DIFF_DTYPE && find(&p, "c", "weight")->values.known,
          "another dtype: its numbers");
    CHECK(find(&p, "d", "weight")->what == DIFF_ONLY_A && find(&p, "e", "weight")->what == DIFF_ONLY_B,
          "missing on either side");
    CHECK(find(&p, "f", "weight")->what == DIFF_SHAPE, "[1] and [] are two shapes");
    CHECK(find(&p, "g", "weight")->what == 0 && find(&p, "g", "weight")->t[0], "an equal one");
    CHECK(find(&p, "h", "ids")->what == DIFF_BYTES && !find(&p, "h", "ids")->values.known,
          "whole numbers: bytes alone");
    CHECK(p.d.file[0] == DIFF_BYTES && p.d.file[1] == DIFF_ONLY_B && p.d.there[1], "configurations");
    finish(&p);
}

/* The largest difference, computed apart, element by element. */
static float largest(float s)
{
    float most = 0;

    for (size_t i = 0; i < COUNT; i++)
        most = fmaxf(most, fabsf(bf16_to_f32(weight[i]) - e4m3_to_f32(code[i]) * s));
    return most;
}

static void test_fp8(void)
{
    struct dir a = dir_a(), b = dir_b();
    const struct diff_tensor *t;
    struct pair p;
    const float most = largest(scale);

    add(&a, "x.weight", DT_BF16, ROWS, COLS, weight);
    add(&b, "x.weight", DT_F8_E4M3, ROWS, COLS, code);
    add(&b, "x.weight_scale", DT_F32, 0, 0, &scale);
    compare(&p, &a, &b);
    t = find(&p, "x", "weight");
    CHECK(t->what == DIFF_DTYPE && t->values.known && t->values.max_abs == most,
          "FP8 codes against BF16: %g, apart %g", t->values.max_abs, most);
    CHECK(t->values.max_abs > 0 && diff_relative(&t->values) <= 0x1p-4,
          "that is within half a step of E4M3: %g of amax", diff_relative(&t->values));
    CHECK(find(&p, "x", "weight_scale")->what == DIFF_ONLY_B && p.d.layer[0].values.max_abs == most,
          "the layer has the numbers of its weight");
    finish(&p);

    add(&a, "x.weight_scale", DT_F32, 0, 0, &other);
    a.t[0] = b.t[0];
    compare(&p, &a, &b);
    t = find(&p, "x", "weight");
    CHECK(t->what == DIFF_SCALE && t->values.known && t->values.max_abs > 0,
          "equal codes under other scales are other weights: %g", t->values.max_abs);
    CHECK(p.d.tensors_differ == 2 && find(&p, "x", "weight_scale")->what == DIFF_BYTES,
          "as are their scales");
    finish(&p);

    b.n = 1;
    compare(&p, &a, &b);
    t = find(&p, "x", "weight");
    CHECK(t->what == DIFF_SCALE && !t->values.known && !p.d.layer[0].values.known,
          "codes without a scale are no numbers");
    finish(&p);
}

/* A scale per row, of codes in FP8 and in whole numbers. */
static void test_rows(void)
{
    struct dir a = dir_a(), b = dir_b();
    static int8_t whole[COUNT];
    static float plain[COUNT];
    float rows[ROWS];
    struct pair p;

    for (size_t i = 0; i < COUNT; i++) {
        rows[i / COLS] = 0.5f * (float)(1 + i / COLS);
        whole[i] = (int8_t)(i % 255 - 127);
        plain[i] = (float)whole[i] * rows[i / COLS];
    }
    plain[COUNT - 1] += 0.25f;
    add(&a, "x.weight", DT_I8, ROWS, COLS, whole);
    add(&a, "x.weight_scale", DT_F32, ROWS, 1, rows);
    add(&b, "x.weight", DT_F32, ROWS, COLS, plain);
    compare(&p, &a, &b);
    CHECK(p.d.layer[0].values.known && p.d.layer[0].values.max_abs == 0.25 &&
              p.d.layer[0].values.amax == 127 * 0.5 * ROWS,
          "codes with a scale per row: %g of %g", p.d.layer[0].values.max_abs, p.d.layer[0].values.amax);
    finish(&p);

    a.t[1].shape[0] = ROWS - 1;
    a.t[1].count = ROWS - 1;
    a.t[1].bytes = (ROWS - 1) * sizeof *rows;
    compare(&p, &a, &b);
    CHECK(!p.d.layer[0].values.known, "scales that do not fit the rows make no numbers");
    finish(&p);
}

static void test_not_finite(void)
{
    const float x[] = {1, NAN, 3, INFINITY}, y[] = {1.5f, NAN, 3, 4};
    struct dir a = dir_a(), b = dir_b();
    struct pair p;

    add(&a, "x.weight", DT_F32, 2, 2, x);
    add(&b, "x.weight", DT_F32, 2, 2, y);
    add(&a, "y.weight", DT_F32, 0, 0, x + 1);
    add(&b, "y.weight", DT_F32, 0, 0, x + 1);
    add(&a, "z.weight", DT_F32, 2, 2, x);
    a.t[2].shape[0] = a.t[2].count = a.t[2].bytes = 0;
    b.t[b.n++] = a.t[2];
    b.t[2].dtype = DT_BF16;
    compare(&p, &a, &b);
    CHECK(p.d.layer[0].values.max_abs == 0.5 && p.d.layer[0].values.amax == 3 &&
              p.d.layer[0].values.not_finite == 2,
          "NaN and infinities are counted apart");
    CHECK(find(&p, "y", "weight")->t[1] && !find(&p, "y", "weight")->what, "one NaN, the same bytes: equal");
    CHECK(p.d.layer[2].values.known && diff_relative(&p.d.layer[2].values) == 0,
          "empty tensors have no distance");
    finish(&p);
}

static void make_weights(void)
{
    float f[COUNT], amax = 0;
    uint32_t state = 1;

    for (size_t i = 0; i < COUNT; i++) {
        state = state * 1664525u + 1013904223u;
        weight[i] = bf16_from_f32(((float)(state >> 8) * 0x1p-23f - 1) * 0.3f);
        f[i] = bf16_to_f32(weight[i]);
        amax = fmaxf(amax, fabsf(f[i]));
    }
    scale = fp8_scale(amax, ROUND_EXACT);
    for (size_t i = 0; i < COUNT; i++)
        code[i] = e4m3_from_f32(f[i] / scale);
}

int main(void)
{
    path_a = scratch("a");
    path_b = scratch("b");
    make_weights();
    test_names();
    test_what();
    test_fp8();
    test_rows();
    test_not_finite();
    return unit_end();
}
