/* slide.c - windows over long texts: every token with loss counts once, with enough before it */
#include "common/model/slide.h"

#include "tests/unit/unit.h"

static void windows(size_t tokens, size_t window, size_t stride, size_t want)
{
    int32_t *ids = malloc(tokens * sizeof *ids);
    uint8_t *loss = malloc(tokens);
    size_t *counted = calloc(tokens, sizeof *counted), bad = 0, last = 0;
    struct sample s[2] = {{.ids = ids, .loss = loss, .tokens = tokens, .id = (char *)"a"},
                          {.ids = ids, .loss = loss, .tokens = 1, .id = (char *)"b"}};
    struct slide slide;
    struct err e = {0};

    for (size_t i = 0; i < tokens; i++) {
        ids[i] = (int32_t)i;
        loss[i] = i % 7 != 0;
    }
    CHECK(slide_make(&slide, s, 2, window, stride, &e) == 0 &&
          slide.n == want + 1, "%zu tokens, %zu by %zu: %zu windows", tokens, window, stride, slide.n - 1);
    for (size_t k = 0; k + 1 < slide.n; k++) {
        const struct sample *v = &slide.view[k];

        bad += slide.of[k] != 0 || v->tokens > window || v->loss[0] != 0;
        for (size_t i = 0; i < v->tokens; i++) {
            counted[v->ids[i]] += v->loss[i];
            bad += v->ids[i] != v->ids[0] + (int32_t)i;
            bad += v->loss[i] && k > 0 && i < window - stride; /* less before it than promised */
        }
        last = (size_t)v->ids[v->tokens - 1];
    }
    bad += last != tokens - 1 || slide.of[slide.n - 1] != 1 || slide.view[slide.n - 1].tokens != 1;
    for (size_t i = 0; i < tokens; i++)
        bad += counted[i] != loss[i];
    CHECK(bad == 0, "each token with loss once, in order, with its context");
    slide_release(&slide);
    free(counted);
    free(loss);
    free(ids);
}

int main(void)
{
    struct sample_image image = {0};
    struct sample picture = {.tokens = 9, .images = 1, .image = &image, .id = (char *)"seen"};
    struct slide slide;
    struct err e = {0};

    windows(1, 8, 4, 1);
    windows(8, 8, 4, 1);
    windows(9, 8, 4, 2);
    windows(12, 8, 4, 2);
    windows(13, 8, 4, 3);
    windows(100, 8, 1, 93);
    windows(100, 2, 1, 99);
    windows(1000, SIZE_MAX, 1, 1);
    /* without overlap each window but the first repeats one token: 8, then 7 new ones each */
    windows(22, 8, 8, 3);
    windows(23, 8, 8, 4);
    CHECK(slide_make(&slide, &picture, 1, 8, 4, &e) == -1 && strstr(e.msg, "'seen'") &&
          strstr(e.msg, "picture"),
          "a picture cannot be cut");
    slide_release(&slide);
    return unit_end();
}
