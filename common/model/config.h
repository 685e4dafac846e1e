/*
 * config.h - the shape of a Qwen2.5-VL or plain Qwen2.5 text model, all of it from config.json
 *
 * Both layouts are read: flat (as published) and nested (text_config, vision_config; transformers 4.52 and
 * later). Nothing falls back to a library's class default: a missing key is an error that names it.  Absent
 * means false for tie_word_embeddings and use_sliding_window, and head_dim is hidden / heads.  What no file
 * holds is fixed: vision norm eps 1e-6, vision rope theta 10000 (taken from vision_config.rope_parameters
 * where newer files write it).
 */
#ifndef COMMON_MODEL_CONFIG_H
#define COMMON_MODEL_CONFIG_H

#include "common/io/json.h"

enum { CONFIG_MAX_FULL = 256 };

struct vision_config {
    size_t depth, hidden, intermediate, heads, head_dim, out_hidden;
    size_t patch, temporal_patch, merge, channels; /* merge: spatial_merge_size */
    size_t patch_dim;                              /* channels * temporal_patch * patch * patch */
    size_t window;              /* merged units per window side: window_size / merge / patch */
    bool full[CONFIG_MAX_FULL]; /* full[i]: block i attends over the whole frame */
    float eps, theta;
};

struct config {
    size_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocab;
    size_t mrope[3]; /* frequencies that turn with T, H, W; sum head_dim / 2; text: {head_dim / 2, 0, 0} */
    size_t max_position;
    float eps;
    double theta;
    bool tied; /* lm_head is embed_tokens */
    bool has_vision;
    int32_t image_token, video_token, vision_start; /* -1 without vision */
    struct vision_config vision;
    const char *architecture; /* borrowed from the JSON */
};

/* name: the file, for messages.  Refuses what is not implemented (sliding windows, other rope types). */
int config_read(struct config *c, const json_t *config_json, const char *name, struct err *e);

#endif
