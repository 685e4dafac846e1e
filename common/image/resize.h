/*
 * resize.h - the size a picture is brought to, and the two resamplers that bring it there
 *
 * Both are bit-exact copies of the reference's.
 */
#ifndef COMMON_IMAGE_RESIZE_H
#define COMMON_IMAGE_RESIZE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

/*
 * Which of the reference's two image backends to follow.  TORCHVISION is what a checkpoint that names
 * Qwen2VLImageProcessor gets in transformers 5; PIL is its Qwen2VLImageProcessorPil with Pillow 13, also the
 * older "slow" processor and qwen_vl_utils.  They differ in the precision of the weights, sometimes in the
 * order of the two passes, and in the rounding of the normalisation (patches.h).
 */
enum resample { RESAMPLE_TORCHVISION, RESAMPLE_PIL };

/* A picture with one side more than this many times the other is refused. */
enum { SMART_RESIZE_MAX_ASPECT = 200 };

/*
 * The size near height x width whose sides are multiples of factor and whose area is within [min_pixels,
 * max_pixels] where rounding up to factor allows it (transformers' smart_resize(), in double like the
 * original).  factor and min_pixels are at least 1.  0, or -1 for an empty or too long a picture.
 */
int smart_resize(size_t height, size_t width, size_t factor, size_t min_pixels, size_t max_pixels,
                 size_t *out_height, size_t *out_width, struct err *e);

/*
 * out[out_height, out_width, 3] = rgb[height, width, 3] resampled: bicubic (Keys, a = -0.5), antialiased when
 * it shrinks, one axis after the other with bytes in between.  No size may be 0.  0, or -1 when memory runs
 * out.
 */
int resize_rgb(uint8_t *out, size_t out_height, size_t out_width, const uint8_t *rgb, size_t height,
               size_t width, enum resample how, struct err *e);

#endif
