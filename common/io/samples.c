/* samples.c - what a sample may hold */
#include "common/io/samples.h"

#include <stdlib.h>

void sample_release(struct sample *s)
{
    for (size_t i = 0; i < s->images; i++)
        free(s->image[i].rgb);
    free(s->image);
    free(s->loss);
    free(s->ids);
    free(s->id);
    *s = (struct sample){0};
}

bool sample_id_is_good(const char *s, size_t n)
{
    json_t *v = n ? json_stringn(s, n) : NULL; /* NULL for what is not UTF-8 */
    bool good = v != NULL;

    for (size_t i = 0; good && i < n; i++)
        good = (uint8_t)s[i] >= 0x20 && s[i] != 0x7f;
    json_decref(v);
    return good;
}

int sample_check(const struct sample *s, struct err *e)
{
    for (size_t i = 0; i < s->tokens; i++) {
        if (s->ids[i] < 0)
            return err_set(e, RC_DATA, "ids[%zu] is %d", i, (int)s->ids[i]);
        if (s->loss[i] > (i > 0))
            return err_set(e, RC_DATA, "loss[%zu] is %u%s", i, s->loss[i],
                           i ? "" : ", but no token predicts the first one");
    }
    return 0;
}
