# SPDX-License-Identifier: GPL-2.0-or-later
"""A headless Chromium, driven by its DevTools protocol over two pipes: no driver, no library.

    with Browser(directory, netns) as b:
        b.open("http://127.0.0.1:62080/")
        b.wait("document.title == 'x'")
        b.screenshot("x.png", dark=True)
        assert b.complaints == []
"""
import base64
import contextlib
import fcntl
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import time

CHROMIUM = shutil.which("chromium")
# Nothing of it may ask anybody anything but the page's own server.
OPTIONS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-default-apps --disable-extensions --disable-dev-shm-usage
--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider --hide-scrollbars
--remote-debugging-pipe --window-size=1440,900""".split()


class Failure(AssertionError):
    pass


class Browser:
    def __init__(self, directory, netns=None, timeout=30):
        self.timeout = timeout
        self.complaints = []  # what the console would show in red or yellow
        self.failed = []  # URLs that could not be loaded
        self._number = 0
        self._buffer = b""
        self._session = None
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # Out of the way of 3 and 4, where Chromium wants them.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (theirs_in, theirs_out)]
        os.close(theirs_in)
        os.close(theirs_out)

        def place_pipes():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.log = pathlib.Path(directory) / "chromium.log"
        command = (["nsenter", f"--net=/run/netns/{netns}"] if netns else []) + [
            CHROMIUM, *OPTIONS, f"--user-data-dir={directory}/chromium", "about:blank"]
        environment = {**os.environ, "HOME": str(directory), "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                            preexec_fn=place_pipes, pass_fds=(3, 4), start_new_session=True)
        for fd in high:
            os.close(fd)
        self._in, self._out = ours_in, ours_out

    def __enter__(self):
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._in)
        os.close(self._out)

    # The protocol: JSON objects, each ended by a zero byte

    def _receive(self, deadline):
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise Failure(f"chromium does not answer; {self.log.read_text(errors='replace')[-1500:]}")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise Failure(f"chromium has ended; {self.log.read_text(errors='replace')[-1500:]}")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, message):
        """What the browser tells by itself."""
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.failed = [u for u in self.failed if u != params["request"]["url"]]
        elif method == "Network.loadingFailed" and not params.get("canceled"):
            self.failed.append(params.get("errorText"))

    def call(self, method, **params):
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.timeout
        while True:
            answer = self._receive(deadline)
            if answer.get("id") != number:
                self._note(answer)
            elif "error" in answer:
                raise Failure(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    # What a test does

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, expression):
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise Failure(f"{expression}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def wait(self, expression, timeout=15):
        """Until it is true; its value."""
        deadline = time.monotonic() + timeout
        while True:
            value = self.run(expression)
            if value:
                return value
            if time.monotonic() > deadline:
                raise Failure(f"not within {timeout} s: {expression}\n{self.run('document.body.innerText')[:3000]}\n"
                              + "\n".join(self.complaints))
            time.sleep(0.05)

    def press(self, key, text=None):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **({"text": text} if text and kind == "keyDown" else {}))

    def type(self, text):
        self.call("Input.insertText", text=text)

    def look(self, dark):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path, dark=False):
        self.look(dark)
        self.run("new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))")
        pathlib.Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
