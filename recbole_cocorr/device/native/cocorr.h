/* CoCorrRec on a device: what `python -m recbole_cocorr export` wrote, opened and run. C99, no dependencies.
 *
 * A model is opened once and only read afterwards: any number of sessions and threads share it. A session is one user's
 * clicks in memory that the caller gives; one thread at a time calls it. After opening nothing is allocated.
 *
 * Items are rows of the item table, from 1; row 0 is padding. Every call gives a status, and cocorr_message its sentence.
 * A call that fails leaves the session as it was. docs/native.md explains what is supported.
 */
#ifndef COCORR_H
#define COCORR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COCORR_VERSION 1

typedef enum {
    COCORR_OK = 0,
    COCORR_NO_FILE,        /* a file of the artifact is missing, cannot be read or has another size */
    COCORR_NO_MANIFEST,    /* manifest.json is missing or no manifest of an artifact */
    COCORR_NO_WEIGHTS,     /* the artifact holds no weights for this library */
    COCORR_OTHER_VERSION,  /* the artifact or its weights are of another version of the format, or a delta added popularity */
    COCORR_BAD_SIZES,      /* sizes that do not fit each other */
    COCORR_BAD_WEIGHTS,    /* weights that are no finite numbers */
    COCORR_BAD_NEIGHBOURS, /* the settings of the neighbour table, or an entry of it, cannot be */
    COCORR_BAD_TOKENS,     /* the vocabulary is damaged */
    COCORR_BAD_USER,       /* the item table is damaged: a user vector is not finite */
    COCORR_BAD_SCORE,      /* the item table is damaged: a score is not finite */
    COCORR_BAD_ROW,        /* a row that the catalogue lacks */
    COCORR_NO_CLICK,       /* a ranking before the first click */
    COCORR_BAD_STATE,      /* a state that no session of this model gives */
    COCORR_BAD_ARGUMENT,   /* a policy, a number or memory that does not fit */
    COCORR_UNSUPPORTED,    /* this machine cannot map files, or orders bytes the other way */
    COCORR_NO_CORRECTION   /* a model that takes no correction from the cloud */
} cocorr_status;

enum { COCORR_CARRY = 0, COCORR_WINDOW = 1 };
enum { COCORR_FP32 = 0, COCORR_FP16 = 1, COCORR_INT8 = 2 };

typedef struct {
    const void *data; /* NULL and 0 where the artifact has no such array */
    uint64_t bytes;
} cocorr_part;

/* The arrays of an artifact in memory, by their names in its manifest, and the settings that the manifest holds. */
typedef struct {
    cocorr_part native, item_vectors, item_scales, target_vectors, target_scales;
    cocorr_part token_bytes, token_offsets, token_index;
    cocorr_part neighbour_indptr, neighbour_items, neighbour_weights, neighbour_scales;
    cocorr_part upload_norm;
    uint32_t items, table, policy, probes;
    uint32_t neighbours, neighbour_clicks; /* N and T, both 0 without a neighbour table; a row has at most 8 N entries */
    double decay, base, per_log_click, scale;
} cocorr_parts;

/* All sizes: clicks are "recent" M, the state has state_rows rows of "head_width" numbers. */
typedef struct {
    uint32_t items, width, heads, head_width, mini_batch, window, layers, gated, recent, policy;
    uint64_t state; /* numbers */
} cocorr_sizes;

/* An open model; its members are the library's own. The parts must stay where they are while it is used. */
typedef struct {
    cocorr_parts parts;
    cocorr_sizes sizes;
    const float *weights;
    float rms_eps, norm_eps, alpha, beta;
    uint32_t corrects;
    void *mapped[16];
    uint64_t mapped_bytes[16];
    uint32_t maps;
} cocorr_model;

typedef struct cocorr_session cocorr_session;

const char *cocorr_message(int status);
/* Sizes of these structures, for a host that declares them in another language. */
uint64_t cocorr_model_bytes(void);
uint64_t cocorr_parts_bytes(void);

/* Open a folder that `export` wrote, by mapping its files. Checksums are not compared. */
int cocorr_open(cocorr_model *model, const char *folder);
/* Open arrays that are in memory already; for a host without files, and for one that reads the manifest itself. */
int cocorr_open_parts(cocorr_model *model, const cocorr_parts *parts);
void cocorr_close(cocorr_model *model);
void cocorr_sizes_of(const cocorr_model *model, cocorr_sizes *sizes);

/* The row of a token, UTF-8 of so many bytes; 0 for one that the catalogue lacks. */
uint32_t cocorr_row(const cocorr_model *model, const char *token, uint64_t bytes);
/* The token of a row, without a zero at its end; NULL and 0 bytes for a row without one. */
const char *cocorr_token(const cocorr_model *model, uint32_t row, uint64_t *bytes);

/* Bytes that a session takes; 0 if they are more than 1 GiB. */
uint64_t cocorr_session_bytes(const cocorr_model *model);
/* A session before its first click, in memory of that many bytes that hold zero (calloc), aligned to 8 bytes. */
int cocorr_start(cocorr_session **session, const cocorr_model *model, int policy, void *memory, uint64_t bytes);

int cocorr_click(cocorr_session *session, uint32_t row);
int cocorr_history(cocorr_session *session, const uint32_t *rows, uint64_t count);
uint64_t cocorr_clicks(const cocorr_session *session);
/* User vector [width], valid as long as the session. */
const float *cocorr_user(const cocorr_session *session);
/* Rank by another user vector until the next click. */
int cocorr_set_user(cocorr_session *session, const float *user);

/* What the cloud corrects by: the hidden states [n][width] of the last n clicks, n at most L; gives n, 0 if it cannot. */
uint32_t cocorr_upload(const cocorr_session *session, float *hidden_states);
/* Rank by what a correction of these clicks makes of them, until the next click: A^ [heads][K][K] and B^ [heads][K][f]. */
int cocorr_correct(cocorr_session *session, const float *attention, const float *bias);

/* Scores of some rows; those of the neighbour table are added if "neighbours" is not 0. */
int cocorr_scores(cocorr_session *session, const uint32_t *rows, uint64_t count, int neighbours, float *scores);
/* Places in "rows" of the best of them, at most k, best first and equal ones in their order, and their scores. */
int cocorr_rank(
    cocorr_session *session, const uint32_t *rows, uint64_t count, uint64_t k, uint32_t *places, float *scores,
    uint64_t *found);
/* Rows of the best of the catalogue, at most k, without those to leave out, and their scores. */
int cocorr_rank_all(
    cocorr_session *session, uint64_t k, const uint32_t *exclude, uint64_t count, uint32_t *rows, float *scores,
    uint64_t *found);

/* What a state file keeps (docs/device.md): rows of the last clicks, oldest first, and the model's state. */
uint32_t cocorr_recent(const cocorr_session *session, int32_t *rows);
void cocorr_state(const cocorr_session *session, float *state);
int cocorr_restore(
    cocorr_session *session, uint64_t clicks, const int32_t *recent, uint32_t count, const float *user,
    const float *state);

#ifdef __cplusplus
}
#endif
#endif
