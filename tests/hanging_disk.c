/* A disk that hangs: while the file named by HANGING_DISK exists, no write of the process reaches the disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int held(const char *name, int descriptor) {
    const char *file = getenv("HANGING_DISK");
    while (file && access(file, F_OK) == 0)
        usleep(20000);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(descriptor);
}

int fsync(int descriptor) { return held("fsync", descriptor); }
int fdatasync(int descriptor) { return held("fdatasync", descriptor); }
