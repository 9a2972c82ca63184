/* An LD_PRELOAD shim that lets the n-th system call on the way to the disk fail.
 *
 * fault_arm(n, error, forever) starts counting: the n-th counted call fails with `error`, and with
 * `forever` every later one as well.  n = 0 only counts.  fault_count() tells how many there were.
 * fault_link(error) lets every link fail, as on a file system without hard links.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
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

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size)
{
	return fd > 2 && fails() ? -1 : REAL(write)(fd, data, size);
}

int fsync(int fd)
{
	return fails() ? -1 : REAL(fsync)(fd);
}

int syncfs(int fd)
{
	return fails() ? -1 : REAL(syncfs)(fd);
}

int rename(const char *from, const char *to)
{
	return fails() ? -1 : REAL(rename)(from, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return fails() ? -1 : REAL(renameat)(from_fd, from, to_fd, to);
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
