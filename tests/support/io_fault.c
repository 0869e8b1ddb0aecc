/* Calls on a study's files that fail when they are told to: preloaded (LD_PRELOAD) into a process by tests/support/io_fault.py.
 *
 * Counted, over all processes, is every call on a file below FSG_FAULT_ROOT that is of one of FSG_FAULT_CLASSES: l ledger,
 * c checkpoints, j search journal, s specification, with what else lies in a study's own folder. From the call with the
 * number FSG_FAULT_NTH on (0: never), the next FSG_FAULT_COUNT calls (0: all) of the kinds FSG_FAULT_CALLS fail with
 * FSG_FAULT_ERRNO and are not made; where that is 0, a write is made by half. Kinds: o open for writing, r open for reading,
 * w write, s sync, n rename, m mkdir, t truncate, u unlink, a allocate.
 *
 * FSG_FAULT_LOG has a line for each counted call: number, kind, whether it failed, class, path. FSG_FAULT_LOG.count holds the
 * numbers. A program that sets the variables itself calls io_fault_arm(). Proof: tests/faults/test_io_faults.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct numbers { atomic_long seen, failed; } *numbers;
static char root[PATH_MAX], classes[8], kinds[16];
static long nth, count;
static int error, log_file = -1;

static const char *setting(const char *name) { const char *text = getenv(name); return text ? text : ""; }

__attribute__((constructor)) void io_fault_arm(void) {
    const char *log = setting("FSG_FAULT_LOG");
    char shared_path[PATH_MAX];
    int shared;

    numbers = NULL;
    if (!*log || !realpath(setting("FSG_FAULT_ROOT"), root)) return;
    snprintf(classes, sizeof classes, "%s", setting("FSG_FAULT_CLASSES"));
    snprintf(kinds, sizeof kinds, "%s", setting("FSG_FAULT_CALLS"));
    nth = atol(setting("FSG_FAULT_NTH"));
    count = atol(setting("FSG_FAULT_COUNT"));
    error = atoi(setting("FSG_FAULT_ERRNO"));
    snprintf(shared_path, sizeof shared_path, "%s.count", log);
    log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    shared = syscall(SYS_openat, AT_FDCWD, shared_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (log_file < 0 || shared < 0 || syscall(SYS_ftruncate, shared, sizeof *numbers)) abort();
    numbers = mmap(NULL, sizeof *numbers, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    if (numbers == MAP_FAILED) abort();
    close(shared);
}

/* The class of a path below the root, by where in its study it lies; 0 for what is not the study's record. */
static char class_of(const char *rest) {
    const char *in_study = strchr(rest + 1, '/');
    if (!in_study) return 's'; /* the folder itself: made, or its names synced */
    if (strstr(in_study, "/checkpoints")) return 'c';
    if (strstr(in_study, "/search")) return 'j';
    if (strstr(in_study, "/ledger.jsonl")) return 'l';
    return !strncmp(in_study, "/ray", 4) || !strncmp(in_study, "/reports", 8) ? 0 : 's';
}

/* Whether a call on an absolute path is to fail; it is counted where it is of a class that was asked for. */
static int fails(char kind, const char *path) {
    size_t length = strlen(root);
    char line[PATH_MAX + 64], class;
    int struck, before = errno;
    long number;

    if (strncmp(path, root, length) || path[length] != '/' || !(class = class_of(path + length))) return 0;
    if (!strchr(classes, class)) return 0;
    number = atomic_fetch_add(&numbers->seen, 1) + 1;
    struck = nth > 0 && number >= nth && strchr(kinds, kind) && (error || kind == 'w') &&
             (!count || atomic_fetch_add(&numbers->failed, 1) < count);
    length = snprintf(line, sizeof line, "%ld %c %d %c %s\n", number, kind, struck, class, path + length + 1);
    syscall(SYS_write, log_file, line, length);
    errno = before;
    return struck;
}

static int file_fails(char kind, int file) {
    char link[64], path[PATH_MAX];
    int before = errno;
    ssize_t length;

    if (!numbers) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    errno = before;
    path[length < 0 ? 0 : length] = 0;
    return fails(kind, path);
}

static int path_fails(char kind, const char *path) {
    char whole[2 * PATH_MAX] = "";

    if (!numbers || !path) return 0;
    if (*path != '/' && getcwd(whole, PATH_MAX)) strcat(whole, "/");
    strncat(whole, path, PATH_MAX - 1);
    return fails(kind, whole);
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })
#define FAIL return errno = error, -1
#define HALF(size) ((size) - (size) / 2) /* of one byte there is no half: it is written */

static char kind_of(int flags) { return (flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT) ? 'r' : 'o'; }
#define OPEN(name) int name(const char *path, int flags, ...) { \
    mode_t mode = 0; \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { \
        va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
    if (path_fails(kind_of(flags), path)) FAIL; \
    return REAL(name)(path, flags, mode); }
OPEN(open)
OPEN(open64)

ssize_t write(int file, const void *data, size_t size) {
    int half = file_fails('w', file);
    if (half && error) FAIL;
    return REAL(write)(file, data, half ? HALF(size) : size);
}
#define PWRITE(name, offset_type) ssize_t name(int file, const void *data, size_t size, offset_type offset) { \
    int half = file_fails('w', file); \
    if (half && error) FAIL; \
    return REAL(name)(file, data, half ? HALF(size) : size, offset); }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

int fsync(int file) { if (file_fails('s', file)) FAIL; return REAL(fsync)(file); }
int fdatasync(int file) { if (file_fails('s', file)) FAIL; return REAL(fdatasync)(file); }
int ftruncate(int file, off_t length) { if (file_fails('t', file)) FAIL; return REAL(ftruncate)(file, length); }
int ftruncate64(int file, off64_t length) { if (file_fails('t', file)) FAIL; return REAL(ftruncate64)(file, length); }
int truncate(const char *path, off_t length) { if (path_fails('t', path)) FAIL; return REAL(truncate)(path, length); }
int truncate64(const char *path, off64_t length) { if (path_fails('t', path)) FAIL; return REAL(truncate64)(path, length); }
int rename(const char *from, const char *to) { if (path_fails('n', to)) FAIL; return REAL(rename)(from, to); }
int unlink(const char *path) { if (path_fails('u', path)) FAIL; return REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode) { if (path_fails('m', path)) FAIL; return REAL(mkdir)(path, mode); }
#define ALLOCATE(name, offset_type) int name(int file, offset_type offset, offset_type length) { \
    return file_fails('a', file) ? error : REAL(name)(file, offset, length); }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)
