/* patches.c - the normalised values of a picture's bytes */
#include "common/image/patches.h"

void patches_table(float table[3][256], const float mean[3], const float std[3], enum resample how)
{
    for (int c = 0; c < 3; c++) {
        float m = mean[c] * 255.0f, s = std[c] * 255.0f;

        for (int v = 0; v < 256; v++) {
            if (how == RESAMPLE_TORCHVISION)
                table[c][v] = ((float)v - m) / s;
            else
                table[c][v] = ((float)(v * (1 / 255.0)) - mean[c]) / std[c];
        }
    }
}
