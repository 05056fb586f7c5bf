/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/serve/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agent/sockaddr.h"
#include "agent/util.h"

static int make_directory(const char *path)
{
	AUTO_FREE char *copy = xstrdup(path);

	return mkdir(dirname(copy), 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int listen_lock(const char *path, int *ret_lock)
{
	AUTO_FREE char *lock_path = xasprintf("%s.lock", path);
	AUTO_CLOSE int fd = -1;
	int r = make_directory(path);

	if (r < 0)
		return r;
	fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
	*ret_lock = fd;
	fd = -1;
	return 0;
}

int listen_at(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	AUTO_CLOSE int fd = -1;
	mode_t mask;
	int r, ret;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	mask = umask(0117);
	r = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
	umask(mask);
	if (r < 0 || listen(fd, 16) < 0)
		return -errno;
	ret = fd;
	fd = -1;
	return ret;
}

int listen_port(const struct ip_addr *address, uint16_t port)
{
	struct sockaddr_storage sa;
	socklen_t n = sockaddr_make(address, port, &sa);
	AUTO_CLOSE int fd = socket(address->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1, ret;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, n) < 0 || listen(fd, 64) < 0)
		return -errno;
	ret = fd;
	fd = -1;
	return ret;
}
