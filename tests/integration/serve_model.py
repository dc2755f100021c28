"""Runs the server of llama.cpp, which is in the package xllamacpp, until its input ends or it is killed.

    python serve_model.py MODEL [--embeddings]

Prints its URL once it listens.
"""

from __future__ import annotations

import argparse
import sys

import tiny_model
import xllamacpp

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--embeddings", action="store_true")
options = parser.parse_args()

params = xllamacpp.CommonParams()
params.model.path = options.model
params.model_alias = {"tiny"}
params.n_ctx = tiny_model.CONTEXT
params.embedding = options.embeddings
params.cpuparams.n_threads = 1
params.hostnames = ["127.0.0.1"]
params.port = 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
