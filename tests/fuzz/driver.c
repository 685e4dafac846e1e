/* driver.c - run a fuzz target over files, without a fuzzer: TAP, a line for each file that it survived */
#include <dirent.h>

#include "common/base/file.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_SECONDS = 20 }; /* for one file, far above what sanitizers cost; a hang ends in SIGALRM */

/* The lowest one that is free: higher than before when something was left open. */
static int next_descriptor(void)
{
    int fd = dup(STDOUT_FILENO);

    close(fd);
    return fd;
}

static int run(const char *path, size_t number)
{
    struct err e = {0};
    uint8_t *data;
    size_t n;
    int spare;

    if (file_read(path, &data, &n, &e)) {
        printf("not ok %zu - %s\n", number, e.msg);
        return -1;
    }
    spare = next_descriptor();
    alarm(MAX_SECONDS);
    LLVMFuzzerTestOneInput(data, n);
    alarm(0);
    FUZZ_CHECK(next_descriptor() == spare);
    free(data);
    printf("ok %zu - %s\n", number, path);
    fflush(stdout);
    return 0;
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

/* The files given; without any, those of tests/fuzz/corpus/NAME, where NAME is what the program is called. */
int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    struct dirent **entry = NULL;
    char path[512];
    size_t n = 0;
    int bad = 0, entries = 0;

    for (int i = 1; i < argc; i++)
        bad |= run(argv[i], ++n);
    if (argc < 2) {
        snprintf(path, sizeof path, "tests/fuzz/corpus/%s", slash ? slash + 1 : argv[0]);
        entries = scandir(path, &entry, visible, alphasort);
    }
    for (int i = 0; i < entries; i++) {
        snprintf(path, sizeof path, "tests/fuzz/corpus/%s/%s", slash ? slash + 1 : argv[0], entry[i]->d_name);
        bad |= run(path, ++n);
        free(entry[i]);
    }
    free(entry);
    printf("1..%zu\n", n);
    return bad || n == 0;
}
