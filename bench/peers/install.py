# SPDX-License-Identifier: Apache-2.0
"""Installs llama.cpp's prebuilt libraries from npm, and builds llama_peer against them."""
import json
import pathlib
import platform
import shutil
import subprocess

VERSION = "3.22.1"  # of node-llama-cpp
SOURCE = pathlib.Path(__file__).resolve().parent / "llama_peer.c"
MACHINES = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}


class Failure(Exception):
    """What went wrong and what to do, for people."""


def run(command, what, **options):
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, **options)
    except FileNotFoundError as error:
        raise Failure(f"{what}: {command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise Failure(f"{what}: {' '.join(map(str, command))}\n{error.stderr.strip()[-2000:]}") from error


def packages(folder, system):
    """The package with the headers, and the one with this machine's libraries; no other machine's."""
    wanted = {"private": True, "dependencies": {"node-llama-cpp": VERSION, f"@node-llama-cpp/{system}": VERSION}}
    stamp = folder / "package.json"
    library_package = folder / "node_modules/@node-llama-cpp" / system
    if not (stamp.exists() and json.loads(stamp.read_text(encoding="utf-8")) == wanted and library_package.is_dir()):
        print(f"installing node-llama-cpp {VERSION} into {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        stamp.write_text(json.dumps(wanted, indent=2), encoding="utf-8")
        run(["npm", "install", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"],
            "installing the peer", cwd=folder)
    return library_package / "bins" / system


def headers(folder):
    """The public headers of the libraries' version: the package carries its source as a git bundle."""
    include = folder / "include"
    if not (include / "llama.h").exists():
        bundle = folder / "node_modules/node-llama-cpp/llama/gitRelease.bundle"
        source = folder / "source.git"
        shutil.rmtree(source, ignore_errors=True)
        run(["git", "clone", "-q", "--bare", str(bundle), str(source)], "unpacking the peer's headers")
        include.mkdir(exist_ok=True)
        for part, strip in (("include", 1), ("ggml/include", 2)):
            archive = folder / "headers.tar"
            run(["git", "-C", str(source), "archive", "-o", str(archive), "HEAD", part], "unpacking the peer's headers")
            run(["tar", "-xf", str(archive), "-C", str(include), f"--strip-components={strip}"],
                "unpacking the peer's headers")
            archive.unlink()
        shutil.rmtree(source)
    return include


def one_library(libraries, stem):
    """libllama.so, or libllama.v1.2.3.so."""
    found = sorted(path for path in libraries.glob(f"{stem}.*so") if path.suffix == ".so")
    if not found:
        raise Failure(f"{libraries}: no {stem}; delete the folder to install it anew")
    return found[0]


def install(folder):
    """The command of the peer, without its flags."""
    system = MACHINES.get(platform.machine())
    if platform.system() != "Linux" or system is None:
        raise Failure(f"no prebuilt libraries for {platform.system()} on {platform.machine()}: use --peer-command")
    folder = folder.resolve()
    libraries = packages(folder, system)
    include = headers(folder)
    program = folder / "llama_peer"
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        run(["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", f"-I{include}", str(SOURCE), "-o", str(program),
             str(one_library(libraries, "libllama")), str(one_library(libraries, "libggml")),
             str(one_library(libraries, "libggml-base")), f"-Wl,-rpath,{libraries}"], "building llama_peer")
    return [str(program), "--libraries", str(libraries)]
