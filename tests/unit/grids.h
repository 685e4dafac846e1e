/* grids.h - for tests: the grids of pictures as goldens list them */
#ifndef TESTS_UNIT_GRIDS_H
#define TESTS_UNIT_GRIDS_H

#include "common/io/json.h"
#include "common/model/positions.h"

/* Grids [t, h, w] of a list; their number. */
static size_t read_grids(const json_t *list, struct grid *grid)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *g = json_array_get(list, i);

        grid[i].t = (size_t)json_integer_value(json_array_get(g, 0));
        grid[i].h = (size_t)json_integer_value(json_array_get(g, 1));
        grid[i].w = (size_t)json_integer_value(json_array_get(g, 2));
    }
    return json_array_size(list);
}

#endif
