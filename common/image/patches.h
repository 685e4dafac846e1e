/*
 * patches.h - the normalised values of a picture's bytes
 *
 * Normalisation is a table of 256 values a channel.  The reference's backends round differently, in the last
 * bit of most values: TORCHVISION  v = f32((f32(u8) - M) / S), M = f32(mean * 255), S = f32(std * 255) PIL v
 * = f32((f32(u8 * (1/255)) - mean) / std), the product in double
 */
#ifndef COMMON_IMAGE_PATCHES_H
#define COMMON_IMAGE_PATCHES_H

#include <stddef.h>
#include <stdint.h>

#include "common/image/resize.h"

/* The normalised value of every byte of every channel.  std is not 0. */
void patches_table(float table[3][256], const float mean[3], const float std[3], enum resample how);

#endif
