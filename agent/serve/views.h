/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* The answers of the control socket: JSON views of the daemon's state. */
#include "agent/daemon.h"

/* Fits control_handler_t; userdata is the daemon. */
void views_handle(void *daemon, const struct control_request *request, struct control_reply *reply);
