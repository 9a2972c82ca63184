/* An LD_PRELOAD shim that lets the n-th system call on the way to the disk fail, and writes them all down.
 *
 * Where FAULT_TRACE names a file, each call adds a line to it: its name and the path, for a rename both paths
 * with a tab between, for a lock its kind and the path.
 *
 * fault_arm(n, error, forever) starts counting: the n-th counted call fails with `error`, and with
 * `forever` every later one as well.  n = 0 only counts.  fault_count() tells how many there were.
 * fault_link(error) lets every link fail, as on a file system without hard links.
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
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_int armed, count, nth, error_number, forever, link_error;

void fault_arm(int n, int error, int sticky)
{
	count = 0;
	nth = n;
	error_number = error;
	forever = sticky;
	armed = 1;
}

int fault_disarm(void)
{
	armed = 0;
	return count;
}

void fault_link(int error)
{
	link_error = error;
}

static int fails(void)
{
	if (!armed)
		return 0;
	int now = ++count;
	if (nth == 0 || now < nth || (now > nth && !forever))
		return 0;
	errno = error_number;
	return 1;
}

static int trace_fd = -1;

__attribute__((constructor)) static void open_trace(void)
{
	const char *path = getenv("FAULT_TRACE");
	if (path)
		trace_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(const char *what, const char *path, const char *other)
{
	if (trace_fd >= 0)
		dprintf(trace_fd, "%s %s%s%s\n", what, path, other ? "\t" : "", other ? other : "");
}

static void note_fd(const char *what, int fd)
{
	char link[64], path[PATH_MAX];
	if (trace_fd < 0 || fd == trace_fd)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t size = readlink(link, path, sizeof(path) - 1);
	path[size > 0 ? size : 0] = 0;
	note(what, path, NULL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size)
{
	note_fd("write", fd);
	return fd > 2 && fails() ? -1 : REAL(write)(fd, data, size);
}

int fsync(int fd)
{
	note_fd("fsync", fd);
	return fails() ? -1 : REAL(fsync)(fd);
}

int syncfs(int fd)
{
	note_fd("syncfs", fd);
	return fails() ? -1 : REAL(syncfs)(fd);
}

int rename(const char *from, const char *to)
{
	note("rename", from, to);
	return fails() ? -1 : REAL(rename)(from, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return fails() ? -1 : REAL(renameat)(from_fd, from, to_fd, to);
}

int flock(int fd, int operation)
{
	note_fd(operation & LOCK_EX ? "exclusive" : operation & LOCK_SH ? "shared" : "unlock", fd);
	return REAL(flock)(fd, operation);
}

int mkdir(const char *path, mode_t mode)
{
	return fails() ? -1 : REAL(mkdir)(path, mode);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
	return fails() ? -1 : REAL(mkdirat)(fd, path, mode);
}

int symlinkat(const char *target, int fd, const char *path)
{
	return fails() ? -1 : REAL(symlinkat)(target, fd, path);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	if (link_error) {
		errno = link_error;
		return -1;
	}
	return fails() ? -1 : REAL(linkat)(from_fd, from, to_fd, to, flags);
}

#define OPEN(name, before, args)                                                                   \
	int name(before const char *path, int flags, ...)                                          \
	{                                                                                          \
		mode_t mode = 0;                                                                   \
		if (flags & O_CREAT) {                                                             \
			va_list list;                                                              \
			va_start(list, flags);                                                     \
			mode = va_arg(list, mode_t);                                               \
			va_end(list);                                                              \
			if (fails())                                                               \
				return -1;                                                         \
		}                                                                                  \
		return REAL(name) args;                                                            \
	}
#define COMMA ,
OPEN(open, , (path, flags, mode))
OPEN(open64, , (path, flags, mode))
OPEN(openat, int fd COMMA, (fd, path, flags, mode))
OPEN(openat64, int fd COMMA, (fd, path, flags, mode))
