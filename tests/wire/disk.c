/* An LD_PRELOAD shim: file systems that are read-only or full, for tools that know nothing of it.
 *
 * FAKE_READ_ONLY, FAKE_FULL and FAKE_NO_INODES hold folders, without links, with colons in between.
 * Below them what would change something fails with EROFS or ENOSPC.  On a full one things without
 * content can still be made; a file that is opened to be written is /dev/full, so that the write fails
 * whichever way it is made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(const char *variable, const char *path)
{
	const char *at = getenv(variable);
	while (at && *at) {
		const char *end = strchrnul(at, ':');
		size_t size = end - at;
		if (!strncmp(path, at, size) && (!path[size] || path[size] == '/'))
			return 1;
		at = *end ? end + 1 : end;
	}
	return 0;
}

/* Where a name leads, but for a link in its last part; what lies nowhere is below no folder. */
static int resolve(int folder, const char *name, char *path)
{
	char whole[PATH_MAX], here[PATH_MAX];
	if (*name == '/')
		snprintf(whole, sizeof whole, "%s", name);
	else if (folder == AT_FDCWD)
		snprintf(whole, sizeof whole, "./%s", name);
	else
		snprintf(whole, sizeof whole, "/proc/self/fd/%d/%s", folder, name);
	for (size_t n = strlen(whole); n > 1 && whole[n - 1] == '/'; n--)
		whole[n - 1] = 0;
	if (realpath(whole, path))
		return 1;
	char *slash = strrchr(whole, '/');
	char *last = slash + 1;
	*slash = 0;
	if (!realpath(slash == whole ? "/" : whole, here))
		return 0;
	return snprintf(path, PATH_MAX, "%s/%s", here, last) < PATH_MAX;
}

/* Whether a change fails: `makes` something new, or alters what is there. */
static int fails(int folder, const char *name, int makes)
{
	char path[PATH_MAX];
	if (!name || !resolve(folder, name, path))
		return 0;
	if (below("FAKE_READ_ONLY", path))
		errno = EROFS;
	else if (makes && below("FAKE_NO_INODES", path))
		errno = ENOSPC;
	else
		return 0;
	return 1;
}

static int opened(int folder, const char *name, int flags, mode_t mode)
{
	char path[PATH_MAX];
	int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
	int known = writes && resolve(folder, name, path);
	if (known && below("FAKE_READ_ONLY", path)) {
		errno = EROFS;
		return -1;
	}
	if (known && below("FAKE_NO_INODES", path) && access(path, F_OK)) {
		errno = ENOSPC;
		return -1;
	}
	int fd = REAL(openat)(folder, name, flags, mode);
	if (fd < 0 || !known || !(below("FAKE_FULL", path) || below("FAKE_NO_INODES", path)))
		return fd;
	close(fd);
	return REAL(openat)(AT_FDCWD, "/dev/full", O_WRONLY | (flags & O_CLOEXEC), 0);
}

#define MODE(flags) \
	mode_t mode = 0; \
	if ((flags) & (O_CREAT | __O_TMPFILE)) { \
		va_list rest; \
		va_start(rest, flags); \
		mode = va_arg(rest, mode_t); \
		va_end(rest); \
	}

int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags) return opened(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags) return opened(at, name, flags, mode); }
int creat(const char *name, mode_t mode) { return opened(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int mkdir(const char *name, mode_t mode)
{
	return fails(AT_FDCWD, name, 1) ? -1 : REAL(mkdir)(name, mode);
}

int mkdirat(int at, const char *name, mode_t mode)
{
	return fails(at, name, 1) ? -1 : REAL(mkdirat)(at, name, mode);
}

int symlink(const char *to, const char *name)
{
	return fails(AT_FDCWD, name, 1) ? -1 : REAL(symlink)(to, name);
}

int symlinkat(const char *to, int at, const char *name)
{
	return fails(at, name, 1) ? -1 : REAL(symlinkat)(to, at, name);
}

int link(const char *from, const char *name)
{
	return fails(AT_FDCWD, name, 1) ? -1 : REAL(link)(from, name);
}

int linkat(int from_at, const char *from, int at, const char *name, int flags)
{
	return fails(at, name, 1) ? -1 : REAL(linkat)(from_at, from, at, name, flags);
}

int rename(const char *from, const char *name)
{
	return fails(AT_FDCWD, from, 0) || fails(AT_FDCWD, name, 1) ? -1 : REAL(rename)(from, name);
}

int renameat(int from_at, const char *from, int at, const char *name)
{
	return fails(from_at, from, 0) || fails(at, name, 1) ? -1 : REAL(renameat)(from_at, from, at, name);
}

int renameat2(int from_at, const char *from, int at, const char *name, unsigned flags)
{
	return fails(from_at, from, 0) || fails(at, name, 1)
		? -1 : REAL(renameat2)(from_at, from, at, name, flags);
}

int unlink(const char *name)
{
	return fails(AT_FDCWD, name, 0) ? -1 : REAL(unlink)(name);
}

int unlinkat(int at, const char *name, int flags)
{
	return fails(at, name, 0) ? -1 : REAL(unlinkat)(at, name, flags);
}

int rmdir(const char *name)
{
	return fails(AT_FDCWD, name, 0) ? -1 : REAL(rmdir)(name);
}

int chmod(const char *name, mode_t mode)
{
	return fails(AT_FDCWD, name, 0) ? -1 : REAL(chmod)(name, mode);
}

int fchmodat(int at, const char *name, mode_t mode, int flags)
{
	return fails(at, name, 0) ? -1 : REAL(fchmodat)(at, name, mode, flags);
}

int utimensat(int at, const char *name, const struct timespec times[2], int flags)
{
	return fails(at, name, 0) ? -1 : REAL(utimensat)(at, name, times, flags);
}

int faccessat(int at, const char *name, int mode, int flags)
{
	return mode & W_OK && fails(at, name, 0) ? -1 : REAL(faccessat)(at, name, mode, flags);
}

static FILE *opened_stream(const char *name, const char *mode)
{
	int flags = strchr(mode, '+') ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY;
	if (*mode != 'r')
		flags |= O_CREAT | (*mode == 'a' ? O_APPEND : O_TRUNC);
	if (strchr(mode, 'e'))
		flags |= O_CLOEXEC;
	int fd = opened(AT_FDCWD, name, flags, 0666);
	return fd < 0 ? NULL : fdopen(fd, mode);
}

FILE *fopen(const char *name, const char *mode) { return opened_stream(name, mode); }
FILE *fopen64(const char *name, const char *mode) { return opened_stream(name, mode); }
