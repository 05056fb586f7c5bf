/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int max_level = LOG_INFO;

void log_set_level(int level)
{
	max_level = level;
}

int log_level(void)
{
	return max_level;
}

/* systemd says of which file its journal is at the other end; children inherit the words, and may have
 * another stderr by then. */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;

	return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 && fstat(fd, &st) == 0 &&
	       st.st_dev == device && st.st_ino == inode;
}

/* One write() per line, so that lines of several processes on one stderr never mix. Bytes
 * that could forge a line or a priority become '?'. */
void log_at(int level, const char *format, ...)
{
	char line[2048];
	int start = 0, n;
	va_list ap;

	if (level > max_level)
		return;
	if (is_journal(STDERR_FILENO))
		start = snprintf(line, sizeof(line), "<%d>", level);
	va_start(ap, format);
	n = vsnprintf(line + start, sizeof(line) - (size_t)start - 1, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	n += start;
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	for (int i = start; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	(void)!write(STDERR_FILENO, line, (size_t)n);
}
