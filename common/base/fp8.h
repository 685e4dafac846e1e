/*
 * fp8.h - FP8 E4M3 arithmetic on arrays: one definition for scoring, evaluation and export
 *
 * Per tensor and symmetric: x ~ code * scale, scale = amax / 448.
 */
#ifndef COMMON_BASE_FP8_H
#define COMMON_BASE_FP8_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

/*
 * How a quotient becomes a code.  ROUND_EXACT: once, from the fp32 quotient.  ROUND_MODELOPT: as ModelOpt's
 * CUDA code does for bf16 weights, which takes amax * fp32(1/448) for the scale, divides by the scale rounded
 * to bf16, and rounds the quotient to bf16 before it rounds to E4M3.  Activations are rounded once either
 * way.  ROUND_MODELOPT_CPU: as ModelOpt does where it has no GPU: the scales are true quotients, and only the
 * quotient of weight and scale is rounded to bf16.  It is for exports that are compared with such ones:
 * nothing is measured in it.
 */
enum rounding { ROUND_EXACT, ROUND_MODELOPT, ROUND_MODELOPT_CPU };

const char *rounding_text(enum rounding r); /* "exact", "modelopt", "modelopt-cpu" */
int rounding_parse(const char *text, enum rounding *r, struct err *e); /* RC_DATA: no such rounding */
extern const char *const rounding_choices[]; /* of measurements; NULL-terminated, for OPT_CHOICE */
extern const char *const rounding_export_choices[]; /* all */

/*
 * The scale of a tensor of range amax, which is finite and not negative.  amax 0, or so small that the scale
 * would
 * vanish: 1, so that the codes are 0 and there is no 0/0.  The result is finite and positive.
 */
float fp8_scale(float amax, enum rounding r);

/* code[i] = e4m3(x[i] / scale), saturating at 448; NaN gives a NaN code. */
void fp8_encode(uint8_t *code, const float *x, size_t n, float scale);

/* The ModelOpt form for weights that are bf16 in their file: e4m3(bf16(x[i] / bf16(scale))). */
void fp8_encode_twice(uint8_t *code, const float *x, size_t n, float scale);

/* The same on a CPU: e4m3(bf16(x[i] / scale)). */
void fp8_encode_twice_cpu(uint8_t *code, const float *x, size_t n, float scale);

/* x[i] = code[i] * scale. */
void fp8_decode(float *x, const uint8_t *code, size_t n, float scale);

/* y[i] = e4m3(x[i] / scale) * scale, without the codes: what decode(encode(x)) gives.  y may be x. */
void fp8_round(float *y, const float *x, size_t n, float scale);

#endif
