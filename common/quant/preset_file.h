/* preset_file.h - presets from JSON files: private to preset.c */
#ifndef COMMON_QUANT_PRESET_FILE_H
#define COMMON_QUANT_PRESET_FILE_H

#include "common/quant/preset.h"

/* Fill p, which has its defaults.  A key that is not known is an error: a preset is written by hand. */
int preset_file(struct preset *p, const char *path, struct err *e);

#endif
