/* pattern.c - an entry of compressed-tensors' ignore list: a module's exact name, or a regular expression */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/quant/pattern.h"

#include <pcre2.h>
#include <string.h>

/* Backtracking steps for one name: a thousand times what any sensible expression takes, and still no wait. */
enum { STEPS_MOST = 1000000 };

int pattern_init(struct pattern *p, const char *entry, struct err *e)
{
    PCRE2_UCHAR why[200];
    PCRE2_SIZE at;
    int code;

    *p = (struct pattern){.text = entry};
    if (strncmp(entry, "re:", 3))
        return 0;
    p->code = pcre2_compile((PCRE2_SPTR)entry + 3, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_UTF, &code,
                            &at, NULL);
    if (p->code)
        return 0;
    pcre2_get_error_message(code, why, sizeof why);
    return err_set(e, RC_DATA, "'%s' is not a regular expression: %s (after %zu characters)", entry,
                   (char *)why, (size_t)at);
}

void pattern_release(struct pattern *p)
{
    pcre2_code_free(p->code);
    *p = (struct pattern){0};
}

int pattern_match(const struct pattern *p, const char *name, struct err *e)
{
    pcre2_match_data *data;
    pcre2_match_context *limits;
    int ret;

    if (!p->code)
        return !strcmp(p->text, name);
    data = pcre2_match_data_create(1, NULL);
    limits = pcre2_match_context_create(NULL);
    if (data && limits) {
        pcre2_set_match_limit(limits, STEPS_MOST);
        ret = pcre2_match(p->code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, data, limits);
        if (ret < 0 && ret != PCRE2_ERROR_NOMATCH)
            err_set(e, RC_DATA, "the regular expression '%s' takes too long to match '%s': simplify it",
                    p->text, name);
        ret = ret >= 0 ? 1 : ret == PCRE2_ERROR_NOMATCH ? 0 : -1;
    } else {
        ret = err_set(e, RC_SYS, "out of memory: cannot match '%s'", p->text);
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    return ret;
}
