/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/feed/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

/* DC/OS' tokens have about 1 kB; many servers refuse header lines over 8 kB. */
#define CREDENTIALS_MAX ((size_t)8000)

void credentials_wipe(char *text)
{
	if (text)
		sodium_memzero(text, strlen(text));
}

/* The file's first line, without white space around it, into `buf`. NULL, or what is wrong. */
static const char *read_line(int fd, char *buf, size_t size)
{
	struct stat st;
	ssize_t n;
	size_t begin, end;

	if (fd < 0 || fstat(fd, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "not a regular file";
	if (st.st_mode & (S_IRWXO | S_IWGRP))
		return "others may read or write it (chmod 600)";
	n = read(fd, buf, size - 1);
	if (n < 0)
		return strerror(errno);
	buf[n] = '\0';
	begin = strspn(buf, " \t");
	end = begin + strcspn(buf + begin, "\r\n");
	if (end == size - 1)
		return "its first line is too long";
	while (end > begin && (buf[end - 1] == ' ' || buf[end - 1] == '\t'))
		end--;
	memmove(buf, buf + begin, end - begin);
	buf[end - begin] = '\0';
	return *buf ? NULL : "is empty";
}

/* A token goes as DC/OS wants it, unless it says itself how. */
static char *token_line(const char *token)
{
	bool whole = strchr(token, ' ') || strncasecmp(token, "token=", 6) == 0;

	return xasprintf("Authorization: %s%s", whole ? "" : "token=", token);
}

static char *basic_line(const char *pair)
{
	char base64[CREDENTIALS_MAX * 4 / 3 + 8], *line;

	sodium_bin2base64(base64, sizeof(base64), (const unsigned char *)pair, strlen(pair),
		sodium_base64_VARIANT_ORIGINAL);
	line = xasprintf("Authorization: Basic %s", base64);
	sodium_memzero(base64, sizeof(base64));
	return line;
}

int credentials_read(const struct config *config, char **ret_line, char **ret_error)
{
	bool basic = *config->auth_basic_file;
	const char *path = basic ? config->auth_basic_file : config->auth_token_file, *error;
	char buf[CREDENTIALS_MAX];
	int fd;

	*ret_line = NULL;
	if (!*path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	error = read_line(fd, buf, sizeof(buf));
	if (fd >= 0)
		close(fd);
	if (!error && basic && !strchr(buf, ':'))
		error = "is not of the form NAME:PASSWORD";
	if (!error)
		*ret_line = basic ? basic_line(buf) : token_line(buf);
	else
		*ret_error = xasprintf("%s: %s", path, error);
	sodium_memzero(buf, sizeof(buf));
	return error ? -EINVAL : 0;
}
