/*
 * For LD_PRELOAD: numbers each step in which a program changes a file of one folder, notes it, and kills the program
 * at one of them. A step is a file that is made, written, cut, synced, renamed, linked or removed.
 *
 *   STEPS_FOLDER   whose files count; an absolute path without symbolic links
 *   STEPS_LOG      where steps are noted: "letter offset length path[TAB path]", a newline, and what was written
 *   STEPS_KILL_AT  SIGKILL instead of this step, counted from 1; 0 or nothing: never
 *   STEPS_TORN     if set, half of the write that is this step is still done
 *   STEPS_REFUSE   a file with an error's number (errno.h): as long as it is not 0, every step fails with it
 *
 * The real thing is done by system calls, so nothing has to be looked up, and a thread's steps are noted in the order
 * in which they were done: a mutex is held from one to the other. What is mapped into memory is not seen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static unsigned long steps;

static const char *folder(void) {
    static const char *found;
    if (!found) found = getenv("STEPS_FOLDER");
    return found ? found : "";
}

/* What of an absolute path is behind the folder; NULL if it is elsewhere. */
static const char *within(const char *path) {
    size_t length = strlen(folder());
    if (length == 0 || strncmp(path, folder(), length) != 0) return NULL;
    if (path[length] == 0) return ".";
    return path[length] == '/' ? path + length + 1 : NULL;
}

static const char *path_of(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return within(buffer);
}

static const char *path_at(int dirfd, const char *path, char *buffer) {
    char base[PATH_MAX];
    if (path[0] == '/') return within(path);
    if (dirfd == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return NULL;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return NULL;
        base[length] = 0;
    }
    int length = snprintf(buffer, PATH_MAX, "%s/%s", base, path);
    return length < PATH_MAX ? within(buffer) : NULL;
}

static void note(char letter, long long offset, const char *path, const char *to, const void *bytes, size_t length) {
    static int log = -1;
    const char *name = getenv("STEPS_LOG");
    if (log < 0 && name) log = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) return;
    char head[2 * PATH_MAX + 64];
    int size = snprintf(head, sizeof head, "%c %lld %zu %s%s%s\n", letter, offset, length, path, to ? "\t" : "", to ? to : "");
    struct iovec parts[2] = {{head, size}, {(void *)bytes, length}};
    syscall(SYS_writev, log, parts, length ? 2 : 1);
}

/* The number of the error with which steps fail now; 0 if they do not. */
static int refusal(void) {
    char text[16] = {0};
    const char *name = getenv("STEPS_REFUSE");
    int fd = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0;
    if (syscall(SYS_read, fd, text, sizeof text - 1) < 0) text[0] = 0;
    syscall(SYS_close, fd);
    return atoi(text);
}
#define REFUSE                           \
    do {                                 \
        int error = refusal();           \
        if (error) {                     \
            errno = error;               \
            return -1;                   \
        }                                \
    } while (0)

/* Begins a step, which end() ends. Does not come back from the one at which the program is to be killed. */
static void begin(char letter, const char *path, int fd, long long offset, const void *bytes, size_t length) {
    pthread_mutex_lock(&turn);
    const char *at = getenv("STEPS_KILL_AT");
    if (++steps != (at ? strtoul(at, NULL, 10) : 0)) return;
    if (letter == 'W' && getenv("STEPS_TORN")) {
        syscall(SYS_pwrite64, fd, bytes, length / 2, offset);
        note('W', offset, path, NULL, bytes, length / 2);
    }
    note('!', 0, path, NULL, &letter, 1);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static void end(void) {
    int error = errno;
    pthread_mutex_unlock(&turn);
    errno = error;
}

/* Where a write through this descriptor goes. */
static long long position(int fd) {
    int flags = fcntl(fd, F_GETFL);
    struct stat status;
    if (flags >= 0 && (flags & O_APPEND) && fstat(fd, &status) == 0) return status.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

static ssize_t written(int fd, const void *bytes, size_t length, long long offset, int moves) {
    char buffer[PATH_MAX];
    const char *path = path_of(fd, buffer);
    if (!path) return moves ? syscall(SYS_write, fd, bytes, length) : syscall(SYS_pwrite64, fd, bytes, length, offset);
    REFUSE;
    if (moves) offset = position(fd);
    begin('W', path, fd, offset, bytes, length);
    ssize_t done = moves ? syscall(SYS_write, fd, bytes, length) : syscall(SYS_pwrite64, fd, bytes, length, offset);
    if (done >= 0) note('W', offset, path, NULL, bytes, done);
    end();
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) { return written(fd, bytes, length, 0, 1); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return written(fd, bytes, length, offset, 0); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return written(fd, bytes, length, offset, 0); }

/* As many writes as there are parts: a program must be ready for a short one, but none is here. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char buffer[PATH_MAX];
    if (!path_of(fd, buffer)) return syscall(SYS_writev, fd, parts, count);
    ssize_t all = 0;
    for (int part = 0; part < count; part++) {
        ssize_t done = write(fd, parts[part].iov_base, parts[part].iov_len);
        if (done < 0) return all ? all : -1;
        all += done;
        if ((size_t)done < parts[part].iov_len) break;
    }
    return all;
}

static int synced(int fd, long call) {
    char buffer[PATH_MAX];
    const char *path = path_of(fd, buffer);
    if (!path) return syscall(call, fd);
    REFUSE;
    begin('S', path, fd, 0, NULL, 0);
    int done = syscall(call, fd);
    if (done == 0) note('S', 0, path, NULL, NULL, 0);
    end();
    return done;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int ftruncate(int fd, off_t length) {
    char buffer[PATH_MAX];
    const char *path = path_of(fd, buffer);
    if (!path) return syscall(SYS_ftruncate, fd, length);
    REFUSE;
    begin('T', path, fd, length, NULL, 0);
    int done = syscall(SYS_ftruncate, fd, length);
    if (done == 0) note('T', length, path, NULL, NULL, 0);
    end();
    return done;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

static int opened(int dirfd, const char *name, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *path = (flags & O_ACCMODE) != O_RDONLY ? path_at(dirfd, name, buffer) : NULL;
    if (path) REFUSE;
    if (!(flags & (O_CREAT | O_TRUNC))) path = NULL;
    int is_there = path && syscall(SYS_faccessat, dirfd, name, F_OK) == 0;
    if (!path || (is_there && !(flags & O_TRUNC)) || (is_there && (flags & O_EXCL)))
        return syscall(SYS_openat, dirfd, name, flags, mode);
    begin(is_there ? 'T' : 'C', path, -1, 0, NULL, 0);
    int fd = syscall(SYS_openat, dirfd, name, flags, mode);
    if (fd >= 0) note(is_there ? 'T' : 'C', 0, path, NULL, NULL, 0);
    end();
    return fd;
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & O_CREAT ? (mode_t)va_arg(arguments, int) : 0;
}
#define OPEN(name, ...)                                          \
    int name {                                                   \
        va_list arguments;                                       \
        va_start(arguments, flags);                              \
        mode_t mode = mode_of(flags, arguments);                 \
        va_end(arguments);                                       \
        return opened(__VA_ARGS__, path, flags | O_LARGEFILE, mode); \
    }
OPEN(open(const char *path, int flags, ...), AT_FDCWD)
OPEN(open64(const char *path, int flags, ...), AT_FDCWD)
OPEN(openat(int dirfd, const char *path, int flags, ...), dirfd)
OPEN(openat64(int dirfd, const char *path, int flags, ...), dirfd)

/* A step that needs no descriptor: between two names, or at one. */
#define NAMED(letter, path, to, call)                         \
    do {                                                      \
        if (!(path)) return call;                             \
        REFUSE;                                               \
        begin(letter, path, -1, 0, NULL, 0);                  \
        int done = call;                                      \
        if (done == 0) note(letter, 0, path, to, NULL, 0);    \
        end();                                                \
        return done;                                          \
    } while (0)

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    const char *path = path_at(from_fd, from, first), *target = path_at(to_fd, to, second);
    NAMED('R', path, target, syscall(SYS_renameat2, from_fd, from, to_fd, to, flags));
}
int renameat(int from_fd, const char *from, int to_fd, const char *to) { return renameat2(from_fd, from, to_fd, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    char first[PATH_MAX], second[PATH_MAX];
    const char *path = path_at(from_fd, from, first), *target = path_at(to_fd, to, second);
    NAMED('L', path, target, syscall(SYS_linkat, from_fd, from, to_fd, to, flags));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dirfd, const char *name, int flags) {
    char buffer[PATH_MAX];
    const char *path = path_at(dirfd, name, buffer);
    NAMED('U', path, NULL, syscall(SYS_unlinkat, dirfd, name, flags));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int dirfd, const char *name, mode_t mode) {
    char buffer[PATH_MAX];
    const char *path = path_at(dirfd, name, buffer);
    NAMED('D', path, NULL, syscall(SYS_mkdirat, dirfd, name, mode));
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
