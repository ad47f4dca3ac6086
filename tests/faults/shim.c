/* The fault shim: what a process asks of the file system below one folder, recorded or made to fail.
 *
 * Loaded with LD_PRELOAD it stands between Python (or HDF5) and the C library. It counts every call that
 * changes something below the watched folder; armed by shim_arm(), it does one of these:
 *
 *   RECORD  append each call that succeeded, with its data, to a log (for simulated power cuts), and SIGKILL
 *           before the n-th, if n is not 0
 *   KILL    SIGKILL this process before the n-th call
 *   TEAR    let the n-th call, if it writes, write half, and then SIGKILL
 *   FULL    ENOSPC from the n-th call on, the first write cut short as on a real disk
 *   ERROR   EIO at the n-th call, once
 *   SHORT   let the n-th call, if it writes, write half and say so, once: POSIX allows it
 *
 * What fopen() opens, and sendfile() copies, is not seen; the tests check that the log replays to the very
 * files that are there, so that nothing passes by unnoticed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, RECORD, KILL, TEAR, FULL, ERROR, SHORT };
enum { CREATE = 1, WRITE, TRUNCATE, FSYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, CLOSE, NOTE };
enum { GO_ON = 0, HALF = -1, HALF_AND_DIE = -2 };

static char watched[4096];
static int mode = OFF, log_fd = -1;
static long n_calls, fault_at;

void shim_arm(const char *root, int new_mode, long at, int log)
{
    snprintf(watched, sizeof watched, "%s", root);
    n_calls = 0, fault_at = at, log_fd = log, mode = new_mode;
}

long shim_count(void) { return n_calls; }

/* ------------------------------------------------------------------------------------- the fault */

static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); }

/* What becomes of the next call: GO_ON, an errno to fail with, or half a write. */
static int fault(int kind)
{
    long n = __atomic_add_fetch(&n_calls, 1, __ATOMIC_SEQ_CST);
    switch (mode) {
    case RECORD:
    case KILL:
        if (n == fault_at) die();
        break;
    case TEAR:
        if (n == fault_at && kind != WRITE) die();
        if (n == fault_at) return HALF_AND_DIE;
        break;
    case FULL:
        if (n == fault_at && kind == WRITE) return HALF;
        if (n >= fault_at && kind != UNLINK && kind != RMDIR && kind != CLOSE) return ENOSPC;
        break;
    case ERROR:
        if (n == fault_at) return EIO;
        break;
    case SHORT:
        if (n == fault_at && kind == WRITE) return HALF;
    }
    return GO_ON;
}

/* ----------------------------------------------------------------------------- what is watched */

static int is_below(const char *path)
{
    size_t length = strlen(watched);
    return mode != OFF && !strncmp(path, watched, length) && (path[length] == '/' || !path[length]);
}

static const char *path_of(int fd, char *buffer)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, 4095);
    buffer[length < 0 ? 0 : length] = 0;
    return buffer;
}

static const char *absolute(int directory, const char *path, char *buffer)
{
    if (path[0] == '/') return path;
    if (directory == AT_FDCWD) {
        if (!getcwd(buffer, 4096)) buffer[0] = 0;
    } else
        path_of(directory, buffer);
    size_t length = strlen(buffer);
    snprintf(buffer + length, 8192 - length, "/%s", path);
    return buffer;
}

/* -------------------------------------------------------------------------------------- the log */

static void record(int kind, const char *a, const char *b, int fd, long long offset, const void *data, size_t size)
{
    if (mode != RECORD || log_fd < 0) return;
    int error = errno;
    struct stat status = {0};
    if (fd >= 0) fstat(fd, &status);
    long long head[6] = {kind, strlen(a), strlen(b), (long long)status.st_ino, offset, (long long)size};
    struct iovec parts[] = {{head, sizeof head}, {(void *)a, strlen(a)}, {(void *)b, strlen(b)}, {(void *)data, size}};
    syscall(SYS_writev, log_fd, parts, 4);
    errno = error;
}

/* A line of the job's own in the log, such as "these rows are committed". */
void shim_note(const char *text) { record(NOTE, "", "", -1, 0, text, strlen(text)); }

#define REAL(name, ...)                                              \
    static __typeof__(name) *real;                                   \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* A call that either happens or does not: everything but writes. */
#define WHOLE(kind, is_watched, call, on_success)                    \
    do {                                                             \
        if (!(is_watched)) return call;                              \
        int wrong = fault(kind);                                     \
        if (wrong > 0) return errno = wrong, -1;                     \
        int done = call;                                             \
        if (done >= 0) { on_success; }                               \
        return done;                                                 \
    } while (0)

/* ---------------------------------------------------------------------------------------- files */

static int opened(int directory, const char *path, int flags, int permissions, int (*real)(int, const char *, int, ...))
{
    char buffer[8192];
    const char *full = absolute(directory, path, buffer);
    int is_nameless = (flags & O_TMPFILE) == O_TMPFILE;
    int was_there = !is_nameless && (flags & (O_CREAT | O_TRUNC)) && !faccessat(directory, path, F_OK, 0);
    /* Opening what is there already changes nothing. */
    int changes = is_nameless || (flags & O_TRUNC) || ((flags & O_CREAT) && !was_there);
    int kind = was_there ? TRUNCATE : CREATE;
    WHOLE(kind, changes && is_below(full), real(directory, path, flags, permissions),
          record(kind, is_nameless ? "" : full, "", done, 0, "", 0));
}

#define OPEN(name, arguments, directory)                             \
    int name arguments                                               \
    {                                                                \
        static int (*real)(int, const char *, int, ...);             \
        if (!real) real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat64"); \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        int makes = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;   \
        int permissions = makes ? va_arg(rest, int) : 0;                     \
        va_end(rest);                                                \
        return opened(directory, path, flags, permissions, real);    \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int directory, const char *path, int flags, ...), directory)
OPEN(openat64, (int directory, const char *path, int flags, ...), directory)

/* One write of any kind: `at` is -1 for one at the file's own position. */
static ssize_t put(int fd, const void *data, size_t size, off_t at, ssize_t (*real)(int, const void *, size_t, off_t))
{
    char buffer[4096];
    if (mode == OFF || !is_below(path_of(fd, buffer))) return real(fd, data, size, at);
    int wrong = fault(WRITE);
    if (wrong > 0) return errno = wrong, -1;
    struct stat status;
    off_t place = at >= 0 ? at : fcntl(fd, F_GETFL) & O_APPEND ? (fstat(fd, &status), status.st_size) : lseek(fd, 0, SEEK_CUR);
    ssize_t done = real(fd, data, wrong < 0 ? size / 2 : size, at);
    if (wrong == HALF_AND_DIE) die();
    if (done > 0) record(WRITE, buffer, "", fd, place, data, done);
    return done;
}

static ssize_t real_put(int fd, const void *data, size_t size, off_t at)
{
    return at < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size) { return put(fd, data, size, -1, real_put); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return put(fd, data, size, at, real_put); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return put(fd, data, size, at, real_put); }

ssize_t writev(int fd, const struct iovec *parts, int n_parts)
{
    REAL(writev);
    char buffer[4096];
    if (mode == OFF || !is_below(path_of(fd, buffer))) return real(fd, parts, n_parts);
    /* The first part alone: a short write, which every caller has to expect. */
    return put(fd, parts[0].iov_base, parts[0].iov_len, -1, real_put);
}

static int is_fd_below(int fd, char *buffer) { return mode != OFF && is_below(path_of(fd, buffer)); }

int fsync(int fd)
{
    REAL(fsync);
    char path[4096];
    WHOLE(FSYNC, is_fd_below(fd, path), real(fd), record(FSYNC, path, "", fd, 0, "", 0));
}
int fdatasync(int fd)
{
    REAL(fdatasync);
    char path[4096];
    WHOLE(FSYNC, is_fd_below(fd, path), real(fd), record(FSYNC, path, "", fd, 0, "", 0));
}
int ftruncate(int fd, off_t size)
{
    REAL(ftruncate);
    char path[4096];
    WHOLE(TRUNCATE, is_fd_below(fd, path), real(fd, size), record(TRUNCATE, path, "", fd, size, "", 0));
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

/* Of a file that was open for writing: network file systems report their errors here. */
int close(int fd)
{
    REAL(close);
    char path[4096];
    int watched_one = mode != OFF && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY && is_fd_below(fd, path);
    if (watched_one && fault(CLOSE) > 0) return real(fd), errno = EIO, -1;
    return real(fd);
}

/* -------------------------------------------------------------------------------------- folders */

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    REAL(renameat2);
    char a[8192], b[8192];
    const char *source = absolute(from, old, a), *target = absolute(to, new, b);
    WHOLE(RENAME, is_below(source) || is_below(target), real(from, old, to, new, flags),
          record(RENAME, source, target, -1, flags, "", 0));
}
int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    REAL(linkat);
    char a[8192], b[8192];
    const char *source = absolute(from, old, a), *target = absolute(to, new, b);
    WHOLE(LINK, is_below(target), real(from, old, to, new, flags), record(LINK, source, target, -1, 0, "", 0));
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int directory, const char *path, int flags)
{
    REAL(unlinkat);
    char buffer[8192];
    const char *full = absolute(directory, path, buffer);
    int kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    WHOLE(kind, is_below(full), real(directory, path, flags), record(kind, full, "", -1, 0, "", 0));
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int directory, const char *path, mode_t permissions)
{
    REAL(mkdirat);
    char buffer[8192];
    const char *full = absolute(directory, path, buffer);
    WHOLE(MKDIR, is_below(full), real(directory, path, permissions), record(MKDIR, full, "", -1, 0, "", 0));
}
int mkdir(const char *path, mode_t permissions) { return mkdirat(AT_FDCWD, path, permissions); }
