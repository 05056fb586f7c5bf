/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/daemon.h"

static void test_numbers_begin_at_one_and_go_on(void **state)
{
	struct events *e = events_new(3);
	struct event event = {.kind = EVENT_SOURCE_OK};

	assert_int_equal(events_first(e), 1);
	assert_int_equal(events_next(e), 1);
	assert_null(events_get(e, 1));
	assert_int_equal(events_add(e, &event), 1);
	assert_int_equal(events_add(e, &event), 2);
	assert_int_equal(events_first(e), 1);
	assert_int_equal(events_get(e, 2)->seq, 2);
	events_free(e);
}

static void test_oldest_is_dropped_and_seen_to_be(void **state)
{
	struct events *e = events_new(3);
	char text[] = "a";

	for (int i = 0; i < 7; i++) {
		text[0] = (char)('a' + i);
		events_add(e, &(struct event){.kind = EVENT_SOURCE_FAILED, .detail = text});
	}
	assert_int_equal(events_first(e), 5);
	assert_int_equal(events_next(e), 8);
	assert_null(events_get(e, 4));
	assert_null(events_get(e, 8));
	assert_null(events_get(e, 0));
	assert_string_equal(events_get(e, 5)->detail, "e"); /* a copy */
	assert_string_equal(events_get(e, 7)->detail, "g");
	events_free(e);
}

static void add_latency(struct events *e, enum event_cause cause, nsec_t latency)
{
	events_add(e, &(struct event){.kind = EVENT_WEIGHT,
			      .cause = cause,
			      .seen = 1000,
			      .kernel = 1000 + latency});
}

static void test_latencies(void **state)
{
	struct events *e = events_new(10);
	struct events_latency l;

	events_latency(e, &l);
	assert_int_equal(l.n, 0);
	assert_int_equal(l.max, 0);
	add_latency(e, CAUSE_DOCUMENT, 7);
	add_latency(e, CAUSE_AUDIT, 999999); /* is no document's */
	events_latency(e, &l);
	assert_int_equal(l.n, 1);
	assert_int_equal(l.p50, 7);
	assert_int_equal(l.p99, 7);
	for (nsec_t i = 100; i >= 1; i--)
		add_latency(e, CAUSE_DOCUMENT, i);
	for (nsec_t i = 0; i < 899; i++)
		add_latency(e, CAUSE_DOCUMENT, 50);
	events_latency(e, &l);
	assert_int_equal(l.n, EVENTS_LATENCIES);
	assert_int_equal(l.p50, 50);
	assert_int_equal(l.p99, 90); /* 1 % of 1000 are 91..100 */
	assert_int_equal(l.max, 100);
	for (int i = 0; i < EVENTS_LATENCIES; i++)
		add_latency(e, CAUSE_DOCUMENT, 3); /* the others are forgotten */
	events_latency(e, &l);
	assert_int_equal(l.max, 3);
	events_free(e);
}

static void test_every_kind_and_cause_has_a_text(void **state)
{
	for (int i = 0; i < _EVENT_KIND_N; i++)
		assert_non_null(event_kind_text((enum event_kind)i));
	for (int i = 0; i < _EVENT_CAUSE_N; i++)
		assert_non_null(event_cause_text((enum event_cause)i));
}

/* --- what is shown to one who watches -------------------------------------- */

/* What the stream says next; NULL at its end. */
static char *next(struct control_stream *s)
{
	bool end = false;
	char *text = s->next(s->userdata, &end);

	assert_true(text || end);
	return text;
}

static void test_watcher_is_greeted_and_shown_all(void **state)
{
	struct daemon d = {0};
	struct watch *w = watch_new(&d);
	struct control_request request = {"GET", "/v1/events", NULL, NULL};
	struct control_reply reply = {0};
	char *text;

	watch_source(w, "one");
	watch_source(w, "two");
	watch_view(w, &request, &reply);
	text = next(&reply.stream);
	assert_int_equal(strncmp(text, "{\"hello\":", 9), 0);
	free(text);
	text = next(&reply.stream);
	assert_non_null(strstr(text, "\"detail\":\"one\""));
	assert_non_null(strstr(text, "\"detail\":\"two\""));
	assert_non_null(strstr(text, "\"seq\":2"));
	assert_string_equal(text + strlen(text) - 2, "}\n");
	free(text);
	assert_null(next(&reply.stream)); /* it did not ask to follow */
	reply.stream.done(reply.stream.userdata);
	watch_free(w);
}

static void test_watcher_that_lags_is_told_and_dropped(void **state)
{
	struct daemon d = {0};
	struct watch *w = watch_new(&d);
	struct control_request request = {"GET", "/v1/events", NULL, NULL};
	struct control_reply reply = {0};
	char *text;

	watch_view(w, &request, &reply);
	free(next(&reply.stream));
	for (int i = 0; i < EVENTS_KEPT + 5; i++)
		watch_source(w, "x");
	text = next(&reply.stream);
	assert_string_equal(text, "{\"lagged\":{\"lost\":5}}\n");
	free(text);
	assert_null(next(&reply.stream));
	reply.stream.done(reply.stream.userdata);
	watch_free(w);
}

/* --- what left the table --------------------------------------------------- */

static struct vip_backend backend(uint8_t last, const char *task)
{
	return (struct vip_backend){
		.address = {AF_INET, {10, 0, 0, last}},
		.port = 80,
		.local_address = {AF_INET, {172, 17, 0, last}},
		.local_port = 8080,
		.task = task,
		.framework = "f",
		.framework_id = "f",
	};
}

static void note_gone(
	struct gone *g, const struct vip_table *old, const struct vip_table *fresh, nsec_t now)
{
	struct vip_table_diff diff;

	vip_table_diff(old, fresh, &diff);
	gone_note(g, old, fresh, &diff, now);
	vip_table_diff_done(&diff);
}

static void test_gone_are_what_left(void **state)
{
	struct gone *g = gone_new();
	struct vip_backend before[] = {backend(1, "t1"), backend(2, "t2"), backend(4, "t4")};
	struct vip_backend after[] = {backend(2, "t2"), backend(3, "t3"), backend(4, "t4")};
	struct vip_backend other = backend(9, "t9");
	struct vip old_vips[] = {
		{.key = {{AF_INET, {1, 1, 1, 1}}, 80, IPPROTO_TCP},
			.n_backends = 3,
			.backends = before},
		{.key = {{AF_INET, {1, 1, 1, 2}}, 80, IPPROTO_TCP},
			.name = "n",
			.n_backends = 1,
			.backends = &other},
	};
	struct vip new_vips[] = {{.key = old_vips[0].key, .n_backends = 3, .backends = after}};
	struct vip_table old = {.n_vips = 2, .vips = old_vips},
			 fresh = {.n_vips = 1, .vips = new_vips};
	const struct ip_addr none = {0};

	note_gone(g, NULL, &old, 1);
	assert_int_equal(gone_count(g), 0);
	note_gone(g, &old, &fresh, 5);
	assert_int_equal(gone_count(g), 3);
	assert_string_equal(gone_get(g, 2)->task, "t1");
	assert_string_equal(gone_find(g, &old_vips[0].key, &before[0].address, 80)->task, "t1");
	assert_string_equal(
		gone_find(g, &old_vips[0].key, &before[0].local_address, 8080)->task, "t1");
	assert_null(gone_find(g, &old_vips[0].key, &before[1].address, 80));
	assert_null(gone_find(g, &old_vips[0].key, &none, 0));
	assert_string_equal(gone_find(g, &old_vips[1].key, &none, 0)->name, "n");
	assert_int_equal(gone_find(g, &old_vips[1].key, &none, 0)->when, 5);
	for (int i = 0; i < GONE_KEPT; i++)
		note_gone(g, &old, &fresh, 9); /* and bounded */
	assert_int_equal(gone_count(g), GONE_KEPT);
	gone_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_begin_at_one_and_go_on),
		cmocka_unit_test(test_oldest_is_dropped_and_seen_to_be),
		cmocka_unit_test(test_latencies),
		cmocka_unit_test(test_every_kind_and_cause_has_a_text),
		cmocka_unit_test(test_watcher_is_greeted_and_shown_all),
		cmocka_unit_test(test_watcher_that_lags_is_told_and_dropped),
		cmocka_unit_test(test_gone_are_what_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
