/* positions.c - M-RoPE positions and angles against transformers' and the definition */
#include "common/model/positions.h"

#include "tests/unit/grids.h"
#include "tests/unit/unit.h"

#define MAX_TOKENS 1024

/* A model as small as the goldens ask for. */
static const struct config base = {
    .vocab = 600,
    .head_dim = 16,
    .mrope = {2, 3, 3},
    .theta = 1e6,
    .has_vision = true,
    .image_token = 519,
    .video_token = 520,
    .vision_start = 516,
    .vision = {.merge = 2},
};

static size_t read_ids(const json_t *list, int32_t *ids)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return json_array_size(list);
}

static void golden(const json_t *item)
{
    const char *id = json_string_value(json_object_get(item, "id"));
    const json_t *axes = json_object_get(item, "position_ids");
    int32_t ids[MAX_TOKENS], position[3 * MAX_TOKENS], delta = -12345;
    struct grid grid[8];
    struct err e = {0};
    size_t n = read_ids(json_object_get(item, "ids"), ids), same = 0;
    size_t grids = read_grids(json_object_get(item, "grids"), grid);
    int ret = positions_build(&base, ids, n, grid, grids, position, &delta, &e);

    for (size_t a = 0; a < 3; a++)
        for (size_t i = 0; i < n; i++)
            same += position[a * n + i] == json_integer_value(json_array_get(json_array_get(axes, a), i));
    CHECK(ret == 0 && n > 0 && json_array_size(axes) == 3 && same == 3 * n, "%s: %zu of %zu positions %s", id,
          same, 3 * n, e.msg);
    CHECK(delta == json_integer_value(json_object_get(item, "rope_delta")), "%s: rope_delta %d", id, delta);
}

static void goldens(void)
{
    struct err e = {0};
    json_t *doc = json_read("tests/golden/positions.json", NULL, &e), *item;
    size_t i;

    CHECK(json_array_size(json_object_get(doc, "items")) == 11, "eleven rows");
    json_array_foreach(json_object_get(doc, "items"), i, item) golden(item);
    json_decref(doc);
}

#define ROW(...) {__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void refusals(void)
{
    static const struct {
        const char *what, *says;
        int32_t ids[12];
        size_t n;
        struct grid grid[2];
        size_t grids;
    } list[] = {
        {"too few",
         "3 image tokens from token 2 on, its picture 1 of 1 x 4 x 4 patches needs 4",
         ROW(5, 516, 519, 519, 519, 517),
         {{1, 4, 4}},
         1},
        {"too many",
         "5 image tokens from token 2 on, its picture 1 of 1 x 4 x 4 patches needs 4",
         ROW(5, 516, 519, 519, 519, 519, 519),
         {{1, 4, 4}},
         1},
        {"second picture short",
         "its picture 2 of 1 x 2 x 4 patches needs 2",
         ROW(516, 519, 517, 516, 519, 517),
         {{1, 2, 2}, {1, 2, 4}},
         2},
        {"pictures without a token between",
         "2 image tokens from token 1 on, its picture 1",
         ROW(516, 519, 519, 517),
         {{1, 2, 2}, {1, 2, 2}},
         2},
        {"image tokens and no picture",
         "1 image tokens from token 0 on, but only 0 pictures",
         ROW(519, 5),
         {{0}},
         0},
        {"picture and no image tokens", "1 pictures, but image tokens for 0", ROW(5, 6), {{1, 2, 2}}, 1},
        {"video token", "video is not supported", ROW(5, 516, 520, 517), {{0}}, 0},
        {"frames", "video is not supported", ROW(519, 519), {{2, 2, 2}}, 1},
        {"id beyond the vocabulary", "token 1 of the sample is 600", ROW(5, 600), {{0}}, 0},
        {"negative id", "token 0 of the sample is -1", ROW(-1, 5), {{0}}, 0},
        {"odd side", "multiples of 2", ROW(519, 5), {{1, 3, 2}}, 1},
        {"empty picture", "multiples of 2", ROW(519, 5), {{1, 0, 2}}, 1},
        {"absurd picture", "too large", ROW(519, 5), {{1, (size_t)1 << 62, 16}}, 1},
        {"huge picture", "too large", ROW(519, 5), {{1, 65536, 65536}}, 1},
    };

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        int32_t position[36], delta;
        struct err e = {0};
        int ret =
            positions_build(&base, list[i].ids, list[i].n, list[i].grid, list[i].grids, position, &delta, &e);

        CHECK(ret == -1 && e.rc == RC_DATA && strstr(e.msg, list[i].says), "%s: %s", list[i].what, e.msg);
    }
}

/* A text model has no special tokens: the same ids are plain ones. */
static void text_model(void)
{
    const int32_t ids[] = {519, 520, 516};
    struct config c = base;
    int32_t position[9], delta;
    struct err e = {0};
    bool same = true;

    c.has_vision = false;
    c.image_token = c.video_token = c.vision_start = -1;
    same = positions_build(&c, ids, 3, NULL, 0, position, &delta, &e) == 0 && delta == 0;
    for (int i = 0; i < 9; i++)
        same = same && position[i] == i % 3;
    CHECK(same, "text model: 0, 1, 2 on all axes (%s)", e.msg);
    CHECK(positions_build(&c, ids, 0, NULL, 0, position, &delta, &e) == 0 && delta == 0, "an empty row");
}

/*
 * The definition in double: cos(p * theta^(-2j/d)).  fp32 errs by three roundings of the angle, 2^-24 each
 * and up to 1 ulp more in the power, and one of the result: |error| <= |angle| * 2^-21.4 + 2^-24.
 */
static void angles(void)
{
    enum { N = 7, HALF = 64 };
    static const int32_t position[3 * N] = {
        0, 1, 2, 3, 1000, 20000, 127999, /* T, H and W differ everywhere but at 0 */
        0, 2, 3, 5, 1100, 21000, 127998, 0, 4, 1, 9, 1200, 22000, 127997};
    static const struct {
        double theta;
        size_t mrope[3];
    } models[] = {{1e6, {16, 24, 24}}, {1e4, {64, 0, 0}}, {250000, {1, 2, 61}}};
    static float cosine[N * HALF], sine[N * HALF];

    for (size_t m = 0; m < 3; m++) {
        struct config c = base;
        size_t good = 0;

        c.head_dim = 2 * HALF;
        c.theta = models[m].theta;
        memcpy(c.mrope, models[m].mrope, sizeof c.mrope);
        positions_angles(&c, position, N, cosine, sine);
        for (size_t i = 0; i < N; i++) {
            for (size_t j = 0; j < HALF; j++) {
                const size_t axis = (j >= c.mrope[0]) + (j >= c.mrope[0] + c.mrope[1]);
                const double angle = position[axis * N + i] * pow(c.theta, -2.0 * (double)j / (2 * HALF));
                const double bound = angle * exp2(-21.4) + exp2(-24);

                good += unit_near((double)cosine[i * HALF + j], cos(angle), 0, bound) &&
                        unit_near((double)sine[i * HALF + j], sin(angle), 0, bound);
            }
        }
        CHECK(good == N * HALF, "theta %g: %zu of %d angles", models[m].theta, good, N * HALF);
    }
}

int main(void)
{
    goldens();
    refusals();
    text_model();
    angles();
    return unit_end();
}
