/* speed.h - what the parts of speed.c share */
#ifndef TESTS_BENCH_GPU_PARTS_SPEED_H
#define TESTS_BENCH_GPU_PARTS_SPEED_H

#include "common/io/samples.h"
#include "common/model/model.h"

extern struct backend *be; /* what is measured */

double speed_now(void); /* seconds */
_Noreturn void speed_fail(const char *what);
void *speed_room(size_t bytes); /* on the device */
void speed_wait(void);          /* until the device has finished */
int speed_ascending(const void *a, const void *b); /* of doubles, for qsort() */

/* n samples of `tokens` random tokens; the first of each are a picture of h x w patches, if not 0. */
struct sample *speed_samples(const struct config *c, size_t n, size_t tokens, size_t h, size_t w);
void speed_samples_free(struct sample *s, size_t n);

/* Products, beside them those of a backend that searches for algorithms, or NULL.  And everything else that a backend does. */
void speed_products(struct backend *rival);
void speed_operations(void);

/* Whole passes of the model in dir, evaluations among them; scoring alone: of pictures, or of text. */
void speed_model(const char *dir);
void speed_scoring(struct model *m, bool pictures);

void speed_evaluation(struct model *m);

#endif
