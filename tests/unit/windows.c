/* windows.c - the window permutation, its segments and its angles against transformers' and the definition */
#include "common/model/windows.h"

#include "tests/unit/grids.h"
#include "tests/unit/unit.h"

static size_t number(const json_t *o, const char *key)
{
    return (size_t)json_integer_value(json_object_get(o, key));
}

/* list[i] == v[i] for all i, and n of them. */
static bool equals(const json_t *list, const int32_t *v, size_t n)
{
    bool same = json_array_size(list) == n;

    for (size_t i = 0; same && i < n; i++)
        same = json_integer_value(json_array_get(list, i)) == v[i];
    return same;
}

static struct vision_config tower(size_t window_size, size_t patch, size_t merge)
{
    return (struct vision_config){.head_dim = 24,
                                  .merge = merge,
                                  .patch = patch,
                                  .window = window_size / merge / patch,
                                  .theta = 10000};
}

/* Angles of a permuted row against row y and column x of its patch, in double; the bound is that of
 * tests/unit/positions. */
static bool row_turns(const struct windows *w, size_t row, double y, double x)
{
    enum { QUARTER = 6 };

    for (size_t j = 0; j < 2 * QUARTER; j++) {
        const double angle = (j < QUARTER ? y : x) * pow(10000, -2.0 * (double)(j % QUARTER) / (2 * QUARTER));
        const double bound = angle * exp2(-21.4) + exp2(-24);

        if (!unit_near((double)w->cosine[row * 2 * QUARTER + j], cos(angle), 0, bound) ||
            !unit_near((double)w->sine[row * 2 * QUARTER + j], sin(angle), 0, bound))
            return false;
    }
    return true;
}

static size_t longest(const json_t *cu)
{
    json_int_t most = 0;

    for (size_t i = 1; i < json_array_size(cu); i++) {
        json_int_t n =
            json_integer_value(json_array_get(cu, i)) - json_integer_value(json_array_get(cu, i - 1));

        most = n > most ? n : most;
    }
    return (size_t)most;
}

static void golden(const json_t *item, size_t k)
{
    const struct vision_config v =
        tower(number(item, "window_size"), number(item, "patch_size"), number(item, "merge"));
    const json_t *yx = json_object_get(item, "row_yx"), *reverse = json_object_get(item, "reverse");
    const size_t area = v.merge * v.merge;
    struct grid grid[8];
    size_t grids = read_grids(json_object_get(item, "grids"), grid), rows = 0, back = 0, turns = 0;
    struct err e = {0};
    struct windows w;
    int ret = windows_build(&w, &v, grid, grids, &e);

    CHECK(ret == 0 && w.units > 0 && equals(json_object_get(item, "window_index"), w.unit, w.units),
          "golden %zu: permutation of %zu units %s", k, w.units, e.msg);
    CHECK(equals(json_object_get(item, "cu_window"), w.cu_window, w.window_segments + 1),
          "golden %zu: cu_window", k);
    CHECK(equals(json_object_get(item, "cu_full"), w.cu_full, w.full_segments + 1), "golden %zu: cu_full", k);
    CHECK(w.max_window == longest(json_object_get(item, "cu_window")) &&
              w.max_full == longest(json_object_get(item, "cu_full")),
          "golden %zu: longest segments %zu, %zu", k, w.max_window, w.max_full);
    for (size_t m = 0; m < w.units; m++)
        back += json_integer_value(json_array_get(reverse, (size_t)w.unit[m])) == (json_int_t)m;
    CHECK(back == w.units && json_array_size(reverse) == w.units, "golden %zu: reverse undoes it", k);
    for (size_t i = 0; i < w.patches; i++)
        rows += (size_t)w.row[i] == (size_t)w.unit[i / area] * area + i % area;
    CHECK(rows == w.patches && w.patches == area * w.units, "golden %zu: rows move with their unit", k);
    for (size_t i = 0; i < w.patches && yx; i++) { /* the largest goldens come without it */
        const json_t *at = json_array_get(yx, (size_t)w.row[i]);

        turns += row_turns(&w, i, json_number_value(json_array_get(at, 0)),
                           json_number_value(json_array_get(at, 1)));
    }
    if (yx)
        CHECK(turns == w.patches && json_array_size(yx) == w.patches,
              "golden %zu: rows turn with their place", k);
    windows_release(&w);
}

static void goldens(void)
{
    struct err e = {0};
    json_t *doc = json_read("tests/golden/windows.json", NULL, &e), *item;
    size_t i;

    CHECK(json_array_size(json_object_get(doc, "items")) == 14, "fourteen rows");
    json_array_foreach(json_object_get(doc, "items"), i, item) golden(item, i);
    json_decref(doc);
}

static void edges(void)
{
    const struct vision_config v = tower(112, 14, 2);
    const struct grid bad[] = {{1, 3, 4}, {0, 4, 4}, {1, 65536, 65536}},
                      many[] = {{1, 32768, 65534}, {1, 32768, 65534}};
    struct windows w;
    struct err e = {0};

    CHECK(windows_build(&w, &v, NULL, 0, &e) == 0 && w.patches == 0 && w.window_segments == 0 &&
              w.full_segments == 0 && w.cu_window[0] == 0 && w.cu_full[0] == 0,
          "no picture: no segment (%s)", e.msg);
    windows_release(&w);
    for (size_t i = 0; i < 3; i++) {
        e = (struct err){0};
        CHECK(windows_build(&w, &v, &bad[i], 1, &e) == -1 && e.rc == RC_DATA, "bad grid: %s", e.msg);
        windows_release(&w);
    }
    e = (struct err){0};
    CHECK(windows_build(&w, &v, many, 2, &e) == -1 && strstr(e.msg, "too many"), "too many patches: %s",
          e.msg);
    windows_release(&w);
    windows_release(&w);
}

int main(void)
{
    goldens();
    edges();
    return unit_end();
}
