"""Reads every file of a directory with python-dotenv and with systemd; prints a line of JSON for each file and reader.

systemd is asked through its own library: `load_env_file` is what reads an `EnvironmentFile`, `env_assignment_is_valid` what the
manager keeps of it. Argument: the directory of the files.
"""

import ctypes
import glob
import json
import os
import sys

import dotenv

systemd = ctypes.CDLL(sorted(glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so"))[-1])
systemd.env_assignment_is_valid.argtypes = [ctypes.c_char_p]
systemd.env_assignment_is_valid.restype = ctypes.c_bool


def by_systemd(path):
    found = ctypes.POINTER(ctypes.c_char_p)()
    if systemd.load_env_file(None, path.encode(), ctypes.byref(found)) < 0:
        return {}
    values, at = {}, 0
    while found and found[at] is not None:
        if systemd.env_assignment_is_valid(found[at]):
            name, value = found[at].decode().split("=", 1)
            values[name] = value
        at += 1
    return values


def by_python_dotenv(path):
    try:
        return dotenv.dotenv_values(path)
    except UnicodeDecodeError:
        return {}


for file in os.listdir(sys.argv[1]):
    path = os.path.join(sys.argv[1], file)
    for reader, read in {"systemd": by_systemd, "python-dotenv": by_python_dotenv}.items():
        print(json.dumps({"file": file, "reader": reader, "values": read(path)}))
