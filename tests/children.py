"""What the tests let child processes run: targets of `featx.child.Child` that answer, and that do not."""

import ctypes
import os
import signal
import sys
import time

from featx.images import decoder_process


def echo(settings):
    """Answers with what it was sent."""

    def handle(header, content):
        return {"settings": settings, "header": header, "pid": os.getpid()}, [content[:3], b"", content[3:]]

    return handle


def misbehave(_settings):
    """Does to its process what the request says."""
    return lambda header, content: MISDEEDS[header["do"]](content)


def broken(_settings):
    """Fails before there is any request."""
    raise ValueError("no such setting")


def _answer(content):
    return {}, [content]


def _read_nowhere(_content):
    ctypes.string_at(8)


def _signal_itself(number):
    def act(_content):
        os.kill(os.getpid(), number)
        time.sleep(60)

    return act


def _hoard(_content):
    hoard = []
    while True:
        hoard.append(bytes(range(256)) * 2**12)


def _spin(_content):
    # With the GIL held, as a stalled decoder may: nothing of Python runs meanwhile.
    ctypes.pythonapi.sleep(60)


def _work(_content):
    end = time.process_time() + 0.4
    while time.process_time() < end:
        pass
    return {}, []


def _leave(_content):
    os._exit(3)


def _raise(_content):
    raise KeyError("size")


def _chatter(content):
    os.write(1, b"a library's banner\n")
    print("and a print", flush=True)
    return {"input": sys.stdin.read()}, [content]


def _close_everything(_content):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.closerange(0, 100)
    time.sleep(60)


MISDEEDS = {
    "answer": _answer,
    "crash": _read_nowhere,
    "abort": lambda _: os.abort(),
    "segv": _signal_itself(signal.SIGSEGV),
    "stop": _signal_itself(signal.SIGSTOP),
    "hoard": _hoard,
    "spin": _spin,
    "work": _work,
    "leave": _leave,
    "raise": _raise,
    "chatter": _chatter,
    "close": _close_everything,
    "reply too long": lambda _: ({}, [bytes(2**22)] * 20),
    "reply no json": lambda _: ({"a": object()}, []),
}


def fragile_decoder(settings):
    """The real decoder, but for images whose file ends with the name of a misdeed."""
    decode = decoder_process.serve(settings)

    def handle(header, content):
        for deed in ("crash", "hoard", "spin", "raise"):
            if content.endswith(deed.encode()):
                return MISDEEDS[deed](content)
        return decode(header, content)

    return handle


def decoder_modules(settings):
    """What the real decoder has imported once it has decoded."""
    decode = decoder_process.serve(settings)

    def handle(header, content):
        decode(header, content)
        return {"error": " ".join(sys.modules)}, []

    return handle


def dies(_settings):
    """Crashes at whatever it is asked."""
    return lambda _header, _content: _read_nowhere(b"")
