/* mt.c - MT19937 and sampling against what CPython 3.11 answered */
#include "common/base/mt.h"

#include "tests/unit/unit.h"

#define GOLDEN "tests/golden/mt/sample.tsv"

/* One line of the golden file: seed, n, k, first and last 8, weighted sum, next 32 bits. */
static void sample(const char *line)
{
    unsigned long long seed, sum, want_sum;
    unsigned n, k, next;
    char list[256] = "", got[256] = "";
    uint32_t *v;
    struct mt m;
    struct err e = {0};
    size_t length = 0;
    int fields = sscanf(line, "%llu\t%u\t%u\t%255[-0-9,]\t%llu\t%u", &seed, &n, &k, list, &want_sum, &next);

    v = malloc((k + 1) * sizeof *v);
    mt_init(&m, seed);
    if (fields != 6 || mt_sample(&m, n, k, v, &e)) {
        CHECK(0, "line '%s'", line);
        free(v);
        return;
    }
    sum = 0;
    for (unsigned i = 0; i < k; i++) {
        sum += (i + 1) * (unsigned long long)v[i];
        if (k <= 16 || i < 8 || i >= k - 8)
            length += (size_t)snprintf(got + length, sizeof got - length, "%s%u", length ? "," : "", v[i]);
    }
    CHECK(!strcmp(k ? got : "-", list) && sum == want_sum &&
          mt_u32(&m) == next, "Random(%llu).sample(range(%u), %u)", seed, n, k);
    free(v);
}

int main(void)
{
    char line[1024];
    FILE *f = fopen(GOLDEN, "r");
    struct mt m;

    /* CPython: Random(5489).getrandbits(32) twice. */
    mt_init(&m, 5489);
    CHECK(mt_u32(&m) == 3382763572u && mt_u32(&m) == 956215839u, "the generator itself");
    if (!f) {
        perror(GOLDEN);
        return 1;
    }
    while (fgets(line, sizeof line, f))
        if (line[0] != '#')
            sample(line);
    fclose(f);
    return unit_end();
}
