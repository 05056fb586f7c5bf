/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tools/doctor/probe.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "tools/hostport.h"

#define PATIENCE_MS 1000
#define DNS_PORT 53

bool probe_from_sockaddr(const struct sockaddr *sa, struct ip_addr *ret)
{
	struct ip_addr a = {.family = (uint8_t)sa->sa_family};

	if (sa->sa_family == AF_INET)
		memcpy(a.bytes, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	else if (sa->sa_family == AF_INET6)
		memcpy(a.bytes, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	else
		return false;
	*ret = a;
	return true;
}

/* --- ports ------------------------------------------------------------------------ */

static socklen_t to_sockaddr(const struct peer *p, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = p->address.family;
	if (p->address.family == AF_INET) {
		in->sin_port = htons(p->port);
		memcpy(&in->sin_addr, p->address.bytes, 4);
		return sizeof(*in);
	}
	in6->sin6_port = htons(p->port);
	memcpy(&in6->sin6_addr, p->address.bytes, 16);
	return sizeof(*in6);
}

static enum dial result(int error)
{
	switch (error) {
	case 0:
		return DIAL_OPEN;
	case ECONNREFUSED:
		return DIAL_REFUSED;
	case ETIMEDOUT:
		return DIAL_SILENT;
	default:
		return DIAL_UNREACHABLE;
	}
}

/* A connection under way, or -1 if it has ended already. */
static int dial(struct peer *p)
{
	struct sockaddr_storage ss;
	socklen_t len = to_sockaddr(p, &ss);
	int fd = socket(p->address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error = 0;

	p->dial = DIAL_SILENT;
	if (fd < 0 || connect(fd, (struct sockaddr *)&ss, len) < 0)
		error = errno;
	if (error == EINPROGRESS)
		return fd;
	p->dial = result(error);
	if (fd >= 0)
		close(fd);
	return -1;
}

static void hear(struct peer *p, struct pollfd *pfd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(pfd->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	p->dial = result(error);
	close(pfd->fd);
	pfd->fd = -1;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void probe_dial(struct peer *peers, size_t n)
{
	struct pollfd *fds = calloc(n + 1, sizeof(*fds));
	int64_t end = now_ms() + PATIENCE_MS, left;

	if (!fds)
		abort();
	for (size_t i = 0; i < n; i++)
		fds[i] = (struct pollfd){.fd = dial(&peers[i]), .events = POLLOUT};
	while ((left = end - now_ms()) > 0) {
		size_t n_open = 0;

		for (size_t i = 0; i < n; i++)
			n_open += fds[i].fd >= 0;
		if (!n_open || poll(fds, n, (int)left) <= 0)
			break;
		for (size_t i = 0; i < n; i++)
			if (fds[i].fd >= 0 && fds[i].revents)
				hear(&peers[i], &fds[i]);
	}
	for (size_t i = 0; i < n; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	free(fds);
}

/* --- masters ------------------------------------------------------------------------ */

struct date {
	bool known;
	double ahead; /* our clock's */
};

static size_t on_header(char *bytes, size_t size, size_t n, void *userdata)
{
	struct date *d = userdata;
	char line[128];
	struct timespec now;
	time_t then;

	snprintf(line, sizeof(line), "%.*s", (int)(size * n), bytes);
	if (strncasecmp(line, "Date:", 5) != 0 || (then = curl_getdate(line + 5, NULL)) < 0)
		return size * n;
	clock_gettime(CLOCK_REALTIME, &now);
	d->known = true;
	d->ahead = (double)(now.tv_sec - then) + (double)now.tv_nsec / 1e9;
	return size * n;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *userdata)
{
	return size * n;
}

/* No secret is sent, and nothing but the answer's time is believed: so certificates, which a wrong
 * clock makes look invalid, are not looked at. */
static CURL *prepare(struct date *date, const char *url)
{
	CURL *easy = curl_easy_init();

	if (!easy)
		abort();
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, date);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 2L * PATIENCE_MS);
	return easy;
}

/* One question under way. */
struct question {
	struct master *master;
	char *url;
	struct date date;
	CURL *easy;
};

static void begin(CURLM *multi, struct question *q, struct master *m)
{
	q->master = m;
	q->url = textf("%s/health", m->url);
	q->easy = prepare(&q->date, q->url);
	curl_easy_setopt(q->easy, CURLOPT_PRIVATE, q);
	curl_multi_add_handle(multi, q->easy);
}

static void hear_answers(CURLM *multi)
{
	struct question *q;
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &q);
		if (message->data.result != CURLE_OK)
			q->master->problem =
				textf("%s: %s", q->url, curl_easy_strerror(message->data.result));
		q->master->dated = q->date.known;
		q->master->ahead = q->date.ahead;
	}
}

static void end(CURLM *multi, struct question *q)
{
	curl_multi_remove_handle(multi, q->easy);
	curl_easy_cleanup(q->easy);
	free(q->url);
}

/* Each ends by its own time-out, so all do. */
void probe_masters(struct master *masters, size_t n)
{
	struct question *questions = calloc(n + 1, sizeof(*questions));
	CURLM *multi = curl_multi_init();
	int n_running = 0;

	if (!questions || !multi)
		abort();
	for (size_t i = 0; i < n; i++)
		begin(multi, &questions[i], &masters[i]);
	do {
		curl_multi_perform(multi, &n_running);
		hear_answers(multi);
	} while (n_running && curl_multi_poll(multi, NULL, 0, PATIENCE_MS, NULL) == CURLM_OK);
	for (size_t i = 0; i < n; i++)
		end(multi, &questions[i]);
	curl_multi_cleanup(multi);
	free(questions);
}

/* --- names ------------------------------------------------------------------------------ */

/* Reads the first A record. */
static enum name_answer judge_reply(const uint8_t *reply, int n, struct name_facts *name)
{
	char text[INET_ADDRSTRLEN];
	ns_msg message;
	ns_rr rr;

	if (ns_initparse(reply, n, &message) < 0)
		return NAME_REFUSED;
	for (int i = 0; i < ns_msg_count(message, ns_s_an); i++) {
		if (ns_parserr(&message, ns_s_an, i, &rr) < 0 || ns_rr_type(rr) != ns_t_a ||
			ns_rr_rdlen(rr) != 4)
			continue;
		inet_ntop(AF_INET, ns_rr_rdata(rr), text, sizeof(text));
		if (strcmp(text, name->address) == 0)
			return NAME_RIGHT;
		free(name->got);
		name->got = textf("%s", text);
		return NAME_WRONG;
	}
	return NAME_UNKNOWN;
}

static enum name_answer query(struct __res_state *resolver, struct name_facts *name)
{
	uint8_t reply[NS_PACKETSZ];
	int n;

	resolver->retrans = PATIENCE_MS / 1000;
	resolver->retry = 1;
	n = res_nquery(resolver, name->name, ns_c_in, ns_t_a, reply, sizeof(reply));
	if (n > 0)
		return judge_reply(reply, n, name);
	switch (resolver->res_h_errno) {
	case HOST_NOT_FOUND:
	case NO_DATA:
		return NAME_UNKNOWN;
	case NO_RECOVERY:
		return NAME_REFUSED;
	default:
		return NAME_SILENT;
	}
}

/* Has the resolver ask only this server. */
static bool aim(struct __res_state *resolver, const char *server)
{
	struct hostport hp;

	if (hostport_parse(server, &hp) < 0) {
		if (hostport_parse_address(server, &hp) < 0)
			return false;
		((struct sockaddr_in *)&hp.addr)->sin_port = htons(DNS_PORT);
	}
	if (hp.addr.ss_family != AF_INET)
		return false; /* glibc keeps those of IPv6 where only it may reach */
	memcpy(&resolver->nsaddr_list[0], &hp.addr, sizeof(struct sockaddr_in));
	resolver->nscount = 1;
	return true;
}

void probe_name(struct name_facts *name)
{
	struct __res_state resolver = {0};

	name->direct = name->by_system = NAME_NOT_ASKED;
	if (res_ninit(&resolver) < 0)
		return;
	if (aim(&resolver, name->server))
		name->direct = query(&resolver, name);
	res_nclose(&resolver);
	memset(&resolver, 0, sizeof(resolver));
	if (res_ninit(&resolver) < 0)
		return;
	name->by_system = query(&resolver, name);
	res_nclose(&resolver);
}
