/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX 65536

extern char **environ;

const char *program_find_vipd(char path[static PROGRAM_PATH_MAX])
{
	static const char *const beside[] = {"vipd", "../sbin/vipd", "../agent/vipd"};
	ssize_t n = readlink("/proc/self/exe", path, PROGRAM_PATH_MAX - 32);
	char *slash;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	for (size_t i = 0; slash && i < sizeof(beside) / sizeof(*beside); i++) {
		strcpy(slash + 1, beside[i]);
		if (access(path, X_OK) == 0)
			return path;
	}
	return strcpy(path, "vipd");
}

/* What was written to it; NULL if memory is short. Closes it. */
static char *take(int fd)
{
	char *text = fd < 0 ? NULL : malloc(OUTPUT_MAX);
	ssize_t n = text ? pread(fd, text, OUTPUT_MAX - 1, 0) : 0;

	if (text)
		text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

/* Files in memory instead of pipes: nothing waits for the other to read. */
static int spawn(const char *path, const char *const *argv, int out, int errors, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
	r = posix_spawnp(ret, path, &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

int program_run(const char *path, const char *const *argv, char **ret_out, char **ret_errors)
{
	int out = memfd_create("output", MFD_CLOEXEC), errors = memfd_create("errors", MFD_CLOEXEC);
	char *texts[2];
	pid_t pid;
	int r = out < 0 || errors < 0 ? -errno : spawn(path, argv, out, errors, &pid);

	if (r == 0)
		r = wait_for(pid);
	texts[0] = take(out);
	texts[1] = take(errors);
	if (ret_out)
		*ret_out = texts[0];
	else
		free(texts[0]);
	if (ret_errors)
		*ret_errors = texts[1];
	else
		free(texts[1]);
	return r;
}
