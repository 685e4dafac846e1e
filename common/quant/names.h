/*
 * names.h - what layers are called, and which of them share one decision
 *
 * Canonical names are what every document uses:
 *   visual.patch_embed.proj          visual.blocks.0.attn.qkv         visual.merger.mlp.0
 *   language_model.layers.3.self_attn.q_proj                          lm_head
 * Checkpoints say "model.layers.3..." (hub style) or "model.language_model.layers.3...", "model.visual..."
 * (in-memory style); reports of earlier tools add ".quant_recipe" or begin at "layers.3...".  The functions
 * take the names of modules and of tensors ("....q_proj.weight") alike.
 */
#ifndef COMMON_QUANT_NAMES_H
#define COMMON_QUANT_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

enum { NAME_BYTES = 256 }; /* room for any name and its NUL */

/*
 * Each writes to out and returns 0, or -1 with e set when the name is empty, does not fit or has control
 * characters.
 */
int name_canonical(const char *name, char out[NAME_BYTES], struct err *e); /* any of the styles above */
int name_hub(const char *canonical, char out[NAME_BYTES], struct err *e);
int name_in_memory(const char *canonical, char out[NAME_BYTES], struct err *e);

/*
 * The members of the group that a module belongs to: q_proj, k_proj and v_proj of one parent are one group,
 * gate_proj and up_proj another, every other module is alone (visual attn.qkv is already one matrix).  A
 * group is named after its first member.  NAME_MEMBERS_MAX last names at most; out[i] points to constants
 * such as "q_proj".  Returns their number, or 0 for a module that is alone.
 */
enum { NAME_MEMBERS_MAX = 3 };
size_t name_members(const char *canonical, const char *out[NAME_MEMBERS_MAX]);

/* The group's name: the module's with its last part replaced by that of the group's first member. */
int name_group(const char *canonical, char out[NAME_BYTES], struct err *e);

enum name_scope { SCOPE_ALL, SCOPE_LANGUAGE, SCOPE_VISION };

/* SCOPE_VISION for visual.*, else SCOPE_LANGUAGE (language_model.*, lm_head). */
enum name_scope name_scope(const char *canonical);

/* "all", "language", "vision" to the value; any other text is SCOPE_ALL. */
enum name_scope name_scope_parse(const char *text);
const char *name_scope_text(enum name_scope s);
extern const char *const name_scope_choices[]; /* for OPT_CHOICE */

/* False for visual.patch_embed.*: a Conv3d, which no engine loads quantized. */
bool name_servable(const char *canonical);

/* Whether the module's output goes into the KV cache: k_proj and v_proj of the language model. */
bool name_cached(const char *canonical);

/*
 * The canonical name of the norm that the module reads and that no module beside its group does:
 * input_layernorm of q/k/v, post_attention_layernorm of gate/up, norm1 and norm2 of vision blocks.  "" for a
 * module that reads something else.
 */
int name_norm(const char *canonical, char out[NAME_BYTES], struct err *e);

/*
 * Python's fnmatch, case kept: "*" any text, dots and nothing included; "?" one character; "[abc]", "[a-z]",
 * "[!abc]" one of a set; a "[" without "]" is itself.  There is no escape character.
 */
bool name_match(const char *pattern, const char *name);

#endif
