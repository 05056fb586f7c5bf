/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a DNS message by UDP, and as a TCP client's stream. The first byte chooses whether
 * names are known and how much room there is; each answer is one that a client can take apart, fits
 * what the query said, and is hardly longer than it.
 */
#include <arpa/nameser.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/serve/dns_message.h"
#include "agent/serve/dns_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_reachable(void *userdata, const struct ip_addr *address)
{
	return address->bytes[3] != 4; /* not four.marathon */
}

static struct vip a_vip(const char *name, const char *address)
{
	struct vip v = {.key = {.port = 80, .protocol = IPPROTO_TCP}, .name = name};

	if (ip_addr_parse(address, &v.key.address) < 0)
		abort();
	return v;
}

static struct dns_zone *a_zone(void)
{
	struct vip vips[] = {
		a_vip("redis.marathon.l4lb.thisdcos.directory", "11.202.66.36"),
		a_vip("redis.marathon.l4lb.thisdcos.directory", "fd01:c::da94:49ac:1e87:4a07"),
		a_vip("four.marathon.l4lb.thisdcos.directory", "11.0.0.4"),
		a_vip("a.b.c.d.e.f.l4lb.thisdcos.directory", "11.0.0.5"),
	};
	struct vip_table table = {.n_vips = 4, .vips = vips};

	return dns_zone_new(&table, 1);
}

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* `size` is what the answer's buffer had. */
static void check_answer(
	const uint8_t *query, size_t n_query, const uint8_t *answer, size_t n, size_t size)
{
	ns_msg msg;

	must(n <= size && n <= n_query + DNS_GROWTH_MAX);
	must(ns_initparse(answer, (int)n, &msg) == 0);
	must(memcmp(query, answer, 2) == 0 && (answer[2] & 0x80) && !(query[2] & 0x80));
	must((answer[2] & 0x79) == (query[2] & 0x79)); /* opcode, RD */
	must(ns_msg_count(msg, ns_s_qd) <= 1 && ns_msg_count(msg, ns_s_an) <= 1);
	/* The question is the client's, byte by byte. */
	if (ns_msg_count(msg, ns_s_qd)) {
		const uint8_t *end = answer + 12;

		must(ns_name_skip(&end, answer + n) == 0);
		must(memcmp(query + 12, answer + 12, (size_t)(end + 4 - answer) - 12) == 0);
	}
	for (int section = ns_s_an; section < ns_s_max; section++)
		for (int i = 0; i < ns_msg_count(msg, (ns_sect)section); i++) {
			ns_rr rr;

			must(ns_parserr(&msg, (ns_sect)section, i, &rr) == 0);
		}
}

static void fuzz_datagram(
	const struct dns_source *source, const uint8_t *data, size_t n, size_t size)
{
	uint8_t *answer = malloc(size);
	struct dns_counts counts = {0};
	size_t n_answer;

	must(answer != NULL);
	n_answer = dns_answer(source, data, n, false, answer, size, &counts);
	must(counts.n_queries == 1 && (n_answer == 0) == (counts.n_ignored == 1));
	if (n_answer)
		check_answer(data, n, answer, n_answer, size < 512 ? size : 1232);
	free(answer);
}

/* The same bytes in pieces of any size make the same answers. */
static size_t fuzz_stream(const struct dns_source *source, const uint8_t *data, size_t n,
	size_t piece, uint64_t *ret_sum)
{
	struct dns_stream *s = calloc(1, sizeof(*s));
	struct dns_counts counts = {0};
	size_t total = 0, room;
	uint8_t *in;

	must(s != NULL);
	*ret_sum = 0;
	while (n > 0 && (room = dns_stream_room(s, &in)) > 0) {
		size_t now = n < room ? n : room;

		now = now < piece ? now : piece;
		memcpy(in, data, now);
		data += now;
		n -= now;
		dns_stream_took(s, now);
		while (dns_stream_answer(s, source, &counts)) {
			for (size_t i = 0; i < s->n_out; i++)
				*ret_sum = *ret_sum * 31 + s->out[i];
			total += s->n_out;
			dns_stream_sent(s, s->n_out);
		}
	}
	free(s);
	return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dns_zone *zone;
	struct dns_source source = {.is_reachable = is_reachable};
	uint64_t sum, sum2;

	if (!zone)
		zone = a_zone();
	if (size < 1)
		return 0;
	source.zone = data[0] & 1 ? NULL : zone;
	ip_addr_parse(data[0] & 2 ? "fd00::61" : "127.0.0.61", &source.self);
	fuzz_datagram(&source, data + 1, size - 1,
		data[0] & 4 ? DNS_ANSWER_MAX : DNS_ANSWER_MIN + (data[0] >> 3));
	must(fuzz_stream(&source, data + 1, size - 1, SIZE_MAX, &sum) ==
		fuzz_stream(&source, data + 1, size - 1, 1U + data[0] % 7U, &sum2));
	must(sum == sum2);
	return 0;
}
