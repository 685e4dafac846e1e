/* facts_read.h - the configurations of a checkpoint; for facts.c alone */
#ifndef COMMON_QUANT_FACTS_READ_H
#define COMMON_QUANT_FACTS_READ_H

#include "common/quant/facts.h"

/* From all of config.json, and from all of hf_quant_config.json (NULL: there is none).  path is for messages.
 */
int facts_read_config(struct facts_source *s, const json_t *config, const char *path, struct err *e);
int facts_read_hf(struct facts_source *s, const json_t *hf, const char *path, struct err *e);

void facts_release_source(struct facts_source *s); /* safe on a zeroed struct */

#endif
