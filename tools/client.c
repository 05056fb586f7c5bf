/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The daemon answers from memory; only a diff reads a large kernel first. */
#define TIMEOUT_S 60L

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

static int judge(CURLcode code, long status, const struct answer *a, const char *socket, bool quiet)
{
	json_object *text = NULL;

	if (code == CURLE_COULDNT_CONNECT) {
		if (!quiet)
			fprintf(stderr,
				"vipctl: no vipd answers at %s (is it running? may you read the "
				"socket?)\n",
				socket);
		return -ECONNREFUSED;
	}
	if (code != CURLE_OK) {
		fprintf(stderr, "vipctl: %s: %s\n", socket, curl_easy_strerror(code));
		return -EIO;
	}
	if (status != 200) {
		if (json_object_is_type(a->object, json_type_object))
			json_object_object_get_ex(a->object, "error", &text);
		fprintf(stderr, "vipctl: %s\n",
			text ? json_object_get_string(text) : "the daemon refused");
		return -EREMOTEIO;
	}
	if (!a->object) {
		fprintf(stderr, "vipctl: %s: the answer is not JSON\n", socket);
		return -EPROTO;
	}
	return 0;
}

static int ask(
	const char *socket, const char *method, const char *path, bool quiet, json_object **ret)
{
	struct answer a = {.tokener = json_tokener_new()};
	char url[256];
	CURL *easy = curl_easy_init();
	CURLcode code;
	long status = 0;
	int r;

	if (!easy || !a.tokener)
		abort();
	snprintf(url, sizeof(url), "http://vipd%s", path);
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
	json_tokener_free(a.tokener);
	r = judge(code, status, &a, socket, quiet);
	if (r < 0)
		json_object_put(a.object);
	else
		*ret = a.object;
	return r;
}

int client_ask(const char *socket, const char *method, const char *path, json_object **ret)
{
	return ask(socket, method, path, false, ret);
}

int client_try(const char *socket, const char *method, const char *path, json_object **ret)
{
	return ask(socket, method, path, true, ret);
}
