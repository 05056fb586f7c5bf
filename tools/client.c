/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The daemon answers from memory, or reads a large kernel first. */
#define TIMEOUT_S 60L

/* The daemon sends a sign of life every 5 s. */
#define SILENCE_S 20L

struct answer {
	struct json_tokener *tokener;
	json_object *object;
	bool broken;
};

static size_t on_body(char *bytes, size_t size, size_t n, void *userdata)
{
	struct answer *a = userdata;

	if (a->object || a->broken)
		return size * n;
	a->object = json_tokener_parse_ex(a->tokener, bytes, (int)(size * n));
	a->broken = !a->object && json_tokener_get_error(a->tokener) != json_tokener_continue;
	return size * n;
}

static int judge(CURLcode code, long status, const struct answer *a)
{
	if (code == CURLE_COULDNT_CONNECT)
		return -ECONNREFUSED;
	if (code != CURLE_OK)
		return -EIO;
	if (status != 200)
		return -EREMOTEIO;
	return a->object ? 0 : -EPROTO;
}

void client_tell_absent(const char *socket)
{
	fprintf(stderr,
		"vipctl: no vipd answers at %s%s\n"
		"        vipctl doctor says why, and what to do about it\n",
		socket,
		access(socket, F_OK) == 0 && access(socket, W_OK) < 0 ? ": only root may ask" : "");
}

static void tell(int r, CURLcode code, const struct answer *a, const char *socket)
{
	json_object *text = NULL;

	switch (r) {
	case -ECONNREFUSED:
		client_tell_absent(socket);
		break;
	case -EREMOTEIO:
		if (json_object_is_type(a->object, json_type_object))
			json_object_object_get_ex(a->object, "error", &text);
		fprintf(stderr, "vipctl: %s\n",
			text ? json_object_get_string(text) : "the daemon refused");
		break;
	default:
		fprintf(stderr, "vipctl: %s: %s\n", socket,
			r == -EPROTO ? "the answer is not JSON" : curl_easy_strerror(code));
	}
}

static int ask(const char *socket, const char *method, const char *path, enum client_quiet quiet,
	json_object **ret)
{
	struct answer a = {.tokener = json_tokener_new()};
	char *url = NULL;
	CURL *easy = curl_easy_init();
	CURLcode code;
	long status = 0;
	int r;

	if (!easy || !a.tokener || asprintf(&url, "http://vipd%s", path) < 0)
		abort();
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &a);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT, TIMEOUT_S);
	code = curl_easy_perform(easy);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(easy);
	free(url);
	json_tokener_free(a.tokener);
	r = judge(code, status, &a);
	if (r < 0 && quiet != CLIENT_QUIET && (quiet == CLIENT_LOUD || r != -ECONNREFUSED))
		tell(r, code, &a, socket);
	if (r < 0)
		json_object_put(a.object);
	else
		*ret = a.object;
	return r;
}

int client_ask(const char *socket, const char *method, const char *path, json_object **ret)
{
	return ask(socket, method, path, CLIENT_LOUD, ret);
}

int client_try(const char *socket, const char *method, const char *path, enum client_quiet quiet,
	json_object **ret)
{
	return ask(socket, method, path, quiet, ret);
}

char *client_escape(const char *text)
{
	char *escaped = curl_easy_escape(NULL, text, 0), *copy = escaped ? strdup(escaped) : NULL;

	if (!copy)
		abort();
	curl_free(escaped);
	return copy;
}

struct lines {
	char *text;
	size_t n, allocated;
	bool (*line)(void *userdata, char *line);
	void *userdata;
	bool stopped;
};

static size_t on_piece(char *bytes, size_t size, size_t n, void *userdata)
{
	struct lines *l = userdata;
	char *end, *begin;

	if (l->n + size * n + 1 > l->allocated) {
		l->allocated = 2 * (l->n + size * n + 1);
		l->text = realloc(l->text, l->allocated);
		if (!l->text)
			abort();
	}
	memcpy(l->text + l->n, bytes, size * n);
	l->n += size * n;
	l->text[l->n] = '\0';
	for (begin = l->text; (end = strchr(begin, '\n')) && !l->stopped; begin = end + 1) {
		*end = '\0';
		l->stopped = *begin && !l->line(l->userdata, begin);
	}
	l->n -= (size_t)(begin - l->text);
	memmove(l->text, begin, l->n + 1);
	return l->stopped ? 0 : size * n;
}

int client_stream(const char *socket, const char *path, bool (*line)(void *userdata, char *line),
	void *userdata)
{
	struct lines l = {.line = line, .userdata = userdata};
	char *url = NULL;
	CURL *easy = curl_easy_init();
	CURLcode code;

	if (!easy || asprintf(&url, "http://vipd%s", path) < 0)
		abort();
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_piece);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &l);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
	code = curl_easy_perform(easy);
	curl_easy_cleanup(easy);
	free(url);
	free(l.text);
	if (code == CURLE_COULDNT_CONNECT)
		return -ECONNREFUSED;
	return code == CURLE_OK || l.stopped ? 0 : -EIO;
}
