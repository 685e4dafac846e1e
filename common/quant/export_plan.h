/* export_plan.h - what the parts of export_plan() share; private to export*.c */
#ifndef COMMON_QUANT_EXPORT_PLAN_H
#define COMMON_QUANT_EXPORT_PLAN_H

#include "common/quant/export.h"

/* Codes are made and written this many at a time, INT8 codes in whole rows. */
enum { EXPORT_CHUNK = 1 << 22 };

/* What stands after the last dot, or the whole name. */
const char *export_last(const char *name);

/* The canonical name of the module that a tensor "X.weight" belongs to; "" for other tensors. */
int export_module(const char *tensor, char out[NAME_BYTES], struct err *e);

bool export_is_embedding(const char *canonical);
bool export_is_tied(const json_t *config); /* lm_head is the embedding */

/* A new item of that name; moves the others. */
struct export_item *export_add_item(struct export_plan *p, const char *name, struct err *e);
struct export_item *export_find_item(const struct export_plan *p, const char *name); /* NULL: there is none */

/* Every module that the scheme quantizes becomes codes, every norm that carries smoothing is marked. */
int export_select(struct export_plan *p, struct err *e);

/*
 * A checkpoint in the model's directory would change the model, a pool in the checkpoint's would go with it;
 * the pool may hold checkpoints.  What -f replaces is a quantized checkpoint, not the model that one was made
 * from.
 */
int export_check_places(const struct export_plan *p, const struct export_target *to, struct err *e);

/* Scales of the selected modules and of the KV cache, in the files of their weights. */
int export_add_scales(struct export_plan *p, struct err *e);

#endif
