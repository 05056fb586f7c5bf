#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes page.html a C source, with the policy under which a browser may run it:  embed_page.py HTML OUTPUT

Its one script and one style are named in the policy by their hashes, so nothing else is ever run or applied, wherever it
may come from."""
import base64
import hashlib
import pathlib
import re
import sys

html = pathlib.Path(sys.argv[1]).read_bytes()


def hash_of(tag):
    [text] = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), html, re.S)  # exactly one
    return "'sha256-%s'" % base64.b64encode(hashlib.sha256(text).digest()).decode()


policy = (f"default-src 'none'; script-src {hash_of(b'script')}; style-src {hash_of(b'style')}; connect-src 'self'; "
          "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
assert b"\0" not in html and b" style=" not in html, "the policy forbids styles in attributes"
lines = [", ".join(str(b) for b in html[i:i + 24]) + "," for i in range(0, len(html), 24)]
pathlib.Path(sys.argv[2]).write_text(
    '#include "agent/serve/page.h"\n\n'
    f'const char page_policy[] = "{policy}";\n'
    f'const char page_etag[] = "\\"{hashlib.sha256(html).hexdigest()[:32]}\\"";\n'
    "const char page_html[] = {\n" + "\n".join(lines) + "\n0};\n")
