/* samples.c - made-up samples of any length */
#include <stdlib.h>

#include "tests/bench/gpu/parts/speed.h"

struct sample *speed_samples(const struct config *c, size_t n, size_t tokens, size_t h, size_t w)
{
    struct sample *s = calloc(n, sizeof *s);
    size_t units = h * w / 4;

    for (size_t i = 0; i < n; i++) {
        s[i] = (struct sample){.index = i,
                               .id = (char *)"random",
                               .tokens = tokens,
                               .ids = calloc(tokens, sizeof(int32_t)),
                               .loss = malloc(tokens)};
        for (size_t t = 0; t < tokens; t++) {
            s[i].ids[t] = (int32_t)((t * 7919 + i * 104729 + 1) % 150000 % c->vocab);
            s[i].loss[t] = t > units + 1;
        }
        if (units) {
            s[i].ids[0] = c->vision_start;
            for (size_t t = 1; t <= units; t++)
                s[i].ids[t] = c->image_token;
            s[i].image = calloc(1, sizeof *s[i].image);
            s[i].images = 1;
            s[i].image[0] = (struct sample_image){h, w, c->vision.patch, malloc(h * w * c->vision.patch_dim)};
            for (size_t b = 0; b < h * w * c->vision.patch * c->vision.patch * 3; b++)
                s[i].image[0].rgb[b] = (uint8_t)(b * 2654435761u >> 13);
        }
    }
    return s;
}

void speed_samples_free(struct sample *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < s[i].images; k++)
            free(s[i].image[k].rgb);
        free(s[i].image);
        free(s[i].ids);
        free(s[i].loss);
    }
    free(s);
}
