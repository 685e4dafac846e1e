/* tensor.c - speed of ranges and FP8 codes, in GB/s of wide values; CSV: benchmark,value,unit */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/progress.h"
#include "common/quant/tensor.h"

enum { COUNT = 1 << 24, REPEAT = 9 };

/* The best of REPEAT runs, in seconds. */
#define BEST(seconds, call)                                                                                  \
    do {                                                                                                     \
        (seconds) = INFINITY;                                                                                \
        for (int i_ = 0; i_ < REPEAT; i_++) {                                                                \
            double t_ = progress_clock();                                                                    \
            call;                                                                                            \
            t_ = progress_clock() - t_;                                                                      \
            (seconds) = t_ < (seconds) ? t_ : (seconds);                                                     \
        }                                                                                                    \
    } while (0)

int main(void)
{
    static const struct {
        const char *name;
        enum dtype dtype;
        enum rounding rounding;
    } row[] = {{"encode-bf16-exact", DT_BF16, ROUND_EXACT},
               {"encode-bf16-modelopt", DT_BF16, ROUND_MODELOPT},
               {"encode-f32-exact", DT_F32, ROUND_EXACT},
               {"encode-f16-exact", DT_F16, ROUND_EXACT}};
    float *w = malloc(COUNT * sizeof *w), *out = calloc(COUNT, sizeof *out), amax;
    uint16_t *half = malloc(COUNT * sizeof *half);
    uint8_t *code = calloc(COUNT, 1);
    struct err e = {0};
    double t;

    if (!w || !out || !half || !code)
        return 4;
    for (size_t i = 0; i < COUNT; i++) {
        w[i] = (float)(int32_t)(i * 2654435761u) * 0x1p-36f;
        half[i] = (uint16_t)(bf16_from_f32(w[i]) & 0xbfff); /* finite as F16, too */
    }
    printf("benchmark,value,unit\n");
    for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
        const void *src = row[k].dtype == DT_F32 ? (const void *)w : half;

        BEST(t, tensor_encode(src, row[k].dtype, COUNT, 1e-4f, row[k].rounding, code, "w", &e));
        printf("%s,%.2f,GB/s\n", row[k].name, 1e-9 * COUNT * (double)dtype_bytes(row[k].dtype) / t);
    }
    BEST(t, tensor_amax(half, DT_BF16, COUNT, "w", &amax, &e));
    printf("encode-amax-bf16,%.2f,GB/s\n", 2e-9 * COUNT / t);
    BEST(t, fp8_decode(out, code, COUNT, 1e-4f));
    printf("fp8-decode,%.2f,GB/s\n", 4e-9 * COUNT / t);
    free(code);
    free(half);
    free(out);
    free(w);
    return e.rc;
}
