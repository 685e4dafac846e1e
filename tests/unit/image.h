/* image.h - what the golden files of pictures hold: digests and shapes; included after unit.h */
#ifndef TESTS_UNIT_IMAGE_H
#define TESTS_UNIT_IMAGE_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/sha256.h"

static bool same_digest(const void *data, size_t n, const json_t *want)
{
    char hex[SHA256_HEX];
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, data, n);
    sha256_hex(&s, hex);
    return want && !strcmp(hex, json_string_value(want));
}

static size_t at(const json_t *array, size_t i)
{
    return (size_t)json_integer_value(json_array_get(array, i));
}

#endif
