/* One user's session in C:  cc -O2 -I recbole_cocorr/device/native -o native_session examples/native_session.c \
 *                              recbole_cocorr/device/native/cocorr.c recbole_cocorr/device/native/cocorr_files.c -lm
 * and then:                 ./native_session ARTIFACT ITEM...   prints the ten best items after these clicks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cocorr.h"

int main(int count, char **words)
{
    cocorr_model model;
    cocorr_session *session;
    uint32_t rows[10];
    float scores[10];
    uint64_t found, bytes;
    int status = count > 1 ? cocorr_open(&model, words[1]) : COCORR_BAD_ARGUMENT;
    if (!status) bytes = cocorr_session_bytes(&model), status = cocorr_start(&session, &model, COCORR_WINDOW, calloc(1, bytes), bytes);
    for (int i = 2; i < count && !status; i++) {
        const uint32_t row = cocorr_row(&model, words[i], strlen(words[i]));
        if (row) status = cocorr_click(session, row);
    }
    if (!status) status = cocorr_rank_all(session, 10, NULL, 0, rows, scores, &found);
    for (uint64_t i = 0; !status && i < found; i++) {
        const char *token = cocorr_token(&model, rows[i], &bytes);
        printf("%.*s %.4f\n", (int)bytes, token ? token : "", scores[i]);
    }
    if (status) fprintf(stderr, "%s\n", cocorr_message(status));
    return status;
}
