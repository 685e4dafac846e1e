/* sha256.h - SHA-256 (FIPS 180-4), for provenance and integrity */
#ifndef COMMON_BASE_SHA256_H
#define COMMON_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_HEX = 65 };

struct sha256 {
    uint32_t h[8];
    uint64_t bytes;
    uint8_t block[64];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n);
void sha256_end(struct sha256 *s, uint8_t out[SHA256_BYTES]);

/* Do without the instructions that some CPUs have for it: for tests. */
extern bool sha256_portable;

/* The digest as 64 lower-case hexadecimal digits and a NUL; ends s. */
void sha256_hex(struct sha256 *s, char out[SHA256_HEX]);

#endif
