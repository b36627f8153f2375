#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libsluice.so through its C interface, and what `cmake --install` puts where: the example is built against it.
SLUICE_LIBRARY is the library, SLUICE_BUILD the build folder, SLUICE_ROOT the checkout."""
import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import unittest
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint64, c_void_p

ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
BUILD = os.environ["SLUICE_BUILD"]
MODEL = str(ROOT / "models/sluice-tiny.gguf")
HEADER = (ROOT / "include/sluice/sluice.h").read_text()
TYPES = {"size_t": c_size_t, "const char*": c_char_p, "int64_t": c_int64, "uint64_t": c_uint64, "int32_t": c_int32,
         "float": c_float, "double": c_double, "void*": c_void_p, "const char* const*": POINTER(c_char_p),
         "const sluice_sampling*": c_void_p, "sluice_text_callback": ctypes.CFUNCTYPE(ctypes.c_int, c_void_p, c_size_t, c_void_p)}


def struct(name):
    """The struct as the header has it."""
    body = re.search(rf"typedef struct {name} {{(.*?)}} {name};", HEADER, re.S)[1]
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    fields = re.findall(r"\s*([\w* ]*?[\w*])\s+(\w+);", body)
    return type(name, (ctypes.Structure,), {"_fields_": [(field, TYPES[kind]) for kind, field in fields]})


ModelOptions, ModelInfo, Sampling, GenerateOptions, Result, Stats, Message = (
    struct("sluice_" + name) for name in ("model_options", "model_info", "sampling", "generate_options", "result", "stats",
                                          "message"))
OK, USAGE, NOT_FOUND, BAD_FILE, TOO_LARGE = 0, 1, 2, 4, 6
END, STOP, LENGTH, CANCELLED = 0, 1, 2, 4

library = ctypes.CDLL(os.environ["SLUICE_LIBRARY"])
for function in ("sluice_version", "sluice_last_error"):
    getattr(library, function).restype = c_char_p
for function in ("sluice_model_free", "sluice_session_free", "sluice_cancel", "sluice_log_level"):
    getattr(library, function).restype = None


def last_error():
    return library.sluice_last_error().decode()


def sized(kind, **fields):
    return kind(size=ctypes.sizeof(kind), **fields)


def load(**options):
    model = c_void_p()
    options = sized(ModelOptions, path=MODEL.encode(), no_cache_file=1, **options)
    status = library.sluice_model_load(byref(options), byref(model))
    return status, model


class Interface(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        status, cls.model = load()
        assert status == OK, last_error()

    @classmethod
    def tearDownClass(cls):
        library.sluice_model_free(cls.model)

    def setUp(self):
        self.session = c_void_p()
        self.assertEqual(library.sluice_session_create(self.model, byref(self.session)), OK, last_error())
        self.addCleanup(library.sluice_session_free, self.session)

    def generate(self, messages, on_text=None, sampling=None, stop=(), max_tokens=0, status=OK, session=None):
        pieces = []

        def collect(text, size, _):
            pieces.append(ctypes.string_at(text, size))
            return on_text(pieces) if on_text else 0
        callback = TYPES["sluice_text_callback"](collect)
        options = sized(GenerateOptions, max_tokens=max_tokens, on_text=callback, stop_count=len(stop))
        if sampling is not None:
            options.sampling = ctypes.addressof(sampling)
        if stop:
            options.stop = (c_char_p * len(stop))(*(text.encode() for text in stop))
        result = sized(Result)
        session = session or self.session
        if isinstance(messages, str):
            text = messages.encode()
            got = library.sluice_complete(session, text, c_size_t(len(text)), byref(options), byref(result))
        else:
            array = (Message * len(messages))(*(Message(role.encode(), content.encode()) for role, content in messages))
            got = library.sluice_chat(session, array, c_size_t(len(messages)), byref(options), byref(result))
        self.assertEqual(got, status, last_error())
        return b"".join(pieces).decode(), result

    def greedy(self):
        sampling = sized(Sampling)
        self.assertEqual(library.sluice_default_sampling(self.model, byref(sampling)), OK)
        sampling.temperature = 0
        return sampling

    def test_version_is_the_project_s(self):
        version = re.search(r"project\(sluice VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
        self.assertEqual(library.sluice_version().decode(), version)

    def test_only_the_header_s_functions_come_out(self):
        symbols = subprocess.run(["nm", "-D", "--defined-only", os.environ["SLUICE_LIBRARY"]], capture_output=True, text=True,
                                 check=True).stdout
        found = {line.split()[-1].split("@")[0] for line in symbols.splitlines()} - {"SLUICE_1"}
        self.assertEqual(found, set(re.findall(r"SLUICE_API [\w *]+?(sluice_\w+)\(", HEADER)))

    def test_what_a_model_is(self):
        info = sized(ModelInfo)
        self.assertEqual(library.sluice_model_describe(self.model, byref(info)), OK)
        self.assertEqual(info.file_bytes, os.path.getsize(MODEL))
        self.assertEqual((info.all_in_memory, info.has_chat_template), (1, 1))
        self.assertGreater(info.experts, info.experts_used)
        self.assertGreater(info.planned_bytes, info.file_bytes)

    def test_the_text_is_the_program_s(self):
        answer, result = self.generate([("user", "What is 347 + 285?")], sampling=self.greedy())
        self.assertIn("632", answer)
        self.assertEqual(result.finish, END)
        expected = subprocess.run([os.environ["SLUICE"], "run", "-m", MODEL, "-p", "What is 347 + 285?", "--temp", "0"],
                                  capture_output=True, text=True, check=True).stdout
        self.assertEqual(answer, expected.rstrip("\n"))
        stats = sized(Stats)
        self.assertEqual(library.sluice_model_stats(self.model, byref(stats)), OK)
        self.assertGreater(stats.expert_requests, 0)

    def test_a_follow_up_reads_only_what_is_new(self):
        first = [("user", "Who are you?")]
        answer, result = self.generate(first, sampling=self.greedy())
        self.assertEqual(result.reused_tokens, 0)
        _, again = self.generate(first + [("assistant", answer), ("user", "What is 2 + 2?")], sampling=self.greedy())
        self.assertGreater(again.reused_tokens, result.prompt_tokens // 2)
        self.assertLess(again.prompt_tokens - again.reused_tokens, again.prompt_tokens)

    def test_ends(self):
        question = [("user", "Who are you?")]
        whole, _ = self.generate(question, sampling=self.greedy())
        _, result = self.generate(question, sampling=self.greedy(), max_tokens=3)
        self.assertEqual((result.finish, result.generated_tokens), (LENGTH, 3))
        word = whole.split()[3]
        text, result = self.generate(question, sampling=self.greedy(), stop=["never comes", word])
        self.assertEqual((result.finish, text), (STOP, whole[:whole.index(word)]))

    def test_a_callback_can_end_it(self):
        text, result = self.generate("Once upon a time", on_text=lambda pieces: len(pieces) == 2)
        self.assertEqual(result.finish, CANCELLED)
        self.assertTrue(text)
        self.assertEqual(self.generate([("user", "Hi")], max_tokens=2)[1].finish, LENGTH)  # the next answer is not ended

    def test_cancel_from_another_thread(self):
        started = threading.Event()
        thread = threading.Thread(target=lambda: (started.wait(60), library.sluice_cancel(self.session)))
        thread.start()
        _, result = self.generate("Once upon a time", on_text=lambda _: started.set() or 0)
        thread.join()
        self.assertIn(result.finish, (CANCELLED, END))

    def test_sessions_of_a_model_take_turns(self):
        others = []
        for _ in range(3):
            session = c_void_p()
            self.assertEqual(library.sluice_session_create(self.model, byref(session)), OK)
            self.addCleanup(library.sluice_session_free, session)
            others.append(session)
        expected, _ = self.generate([("user", "Who are you?")], sampling=self.greedy())
        answers = [None] * len(others)

        def ask(number):
            answers[number] = self.generate([("user", "Who are you?")], sampling=self.greedy(), session=others[number])[0]
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(others))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [expected] * len(others))

    def test_tokens(self):
        text, count = "Hello <|im_start|>".encode(), c_size_t()
        self.assertEqual(library.sluice_tokenize(self.model, text, c_size_t(len(text)), 0, None, c_size_t(0), byref(count)), OK)
        plain = count.value
        ids = (c_int32 * plain)()
        self.assertEqual(library.sluice_tokenize(self.model, text, c_size_t(len(text)), 0, ids, c_size_t(plain - 1), byref(count)),
                         TOO_LARGE)
        self.assertEqual(library.sluice_tokenize(self.model, text, c_size_t(len(text)), 0, ids, c_size_t(plain), byref(count)), OK)
        library.sluice_tokenize(self.model, text, c_size_t(len(text)), 1, None, c_size_t(0), byref(count))
        self.assertLess(count.value, plain)  # the special one is one token when it may be

    def test_an_older_caller_s_structs(self):
        short = sized(ModelInfo)
        short.size = ModelInfo.layers.offset
        short.layers = -7
        self.assertEqual(library.sluice_model_describe(self.model, byref(short)), OK)
        self.assertGreater(short.vocabulary, 0)
        self.assertEqual((short.layers, short.size), (-7, ModelInfo.layers.offset))
        sampling = self.greedy()
        sampling.size = Sampling.top_k.offset  # has only seed and temperature
        sampling.top_k = -1000000
        self.assertEqual(self.generate([("user", "Who are you?")], sampling=sampling)[0],
                         self.generate([("user", "Who are you?")], sampling=self.greedy())[0])

    def test_a_newer_caller_s_structs(self):
        room = (ctypes.c_char * 4096)()
        newer = ctypes.cast(room, POINTER(ModelInfo))
        newer.contents.size = 4096
        self.assertEqual(library.sluice_model_describe(self.model, room), OK)
        self.assertEqual(newer.contents.size, 4096)
        self.assertGreater(newer.contents.layers, 0)


class Errors(unittest.TestCase):
    def test_bad_models(self):
        model = c_void_p()
        for path, status, word in ((str(ROOT / "none.gguf"), NOT_FOUND, "none.gguf"), (str(ROOT / "README.md"), BAD_FILE, "README.md"),
                                   (None, USAGE, "options.path")):
            options = sized(ModelOptions, path=path.encode() if path else None)
            self.assertEqual(library.sluice_model_load(byref(options), byref(model)), status)
            self.assertIn(word, last_error())
            self.assertNotIn("\n", last_error())
            self.assertIsNone(model.value)

    def test_bad_options(self):
        self.assertEqual(load(context=-1)[0], USAGE)
        self.assertEqual(load(threads=5000)[0], USAGE)
        self.assertEqual(load(device=9)[0], USAGE)
        self.assertEqual(load(ram_bytes=1 << 20)[0], TOO_LARGE)
        model = c_void_p()
        self.assertEqual(library.sluice_model_load(None, byref(model)), USAGE)
        self.assertEqual(library.sluice_model_load(byref(ModelOptions()), byref(model)), USAGE)
        self.assertIn("size", last_error())
        self.assertEqual(library.sluice_model_load(byref(sized(ModelOptions)), None), USAGE)

    def test_nothing_where_something_should_be(self):
        for call in (lambda: library.sluice_model_describe(None, None), lambda: library.sluice_model_stats(None, None),
                     lambda: library.sluice_session_create(None, None), lambda: library.sluice_chat(None, None, c_size_t(0), None, None),
                     lambda: library.sluice_complete(None, None, c_size_t(0), None, None),
                     lambda: library.sluice_default_sampling(None, None),
                     lambda: library.sluice_tokenize(None, None, c_size_t(0), 0, None, c_size_t(0), None)):
            self.assertEqual(call(), USAGE)
            self.assertIn("must not be NULL", last_error())
        library.sluice_model_free(None)
        library.sluice_session_free(None)
        library.sluice_cancel(None)

    def test_bad_conversations(self):
        status, model = load(context=64)
        self.assertEqual(status, OK, last_error())
        session = c_void_p()
        self.assertEqual(library.sluice_session_create(model, byref(session)), OK)
        chat = lambda messages, count: library.sluice_chat(session, messages, c_size_t(count), None, None)
        self.assertEqual(chat(None, 1), USAGE)
        self.assertEqual(chat((Message * 1)(), 0), USAGE)
        self.assertEqual(chat((Message * 1)(Message(b"user", None)), 1), USAGE)
        self.assertIn("messages[0]", last_error())
        self.assertEqual(chat((Message * 1)(Message(b"user", b"word " * 500)), 1), TOO_LARGE)
        self.assertIn("64", last_error())
        sampling = sized(Sampling, temperature=1, top_p=5)
        options = sized(GenerateOptions, sampling=ctypes.addressof(sampling))
        self.assertEqual(library.sluice_complete(session, b"x", c_size_t(1), byref(options), None), USAGE)
        self.assertIn("top_p", last_error())
        library.sluice_session_free(session)
        library.sluice_model_free(model)

    def test_errors_belong_to_their_thread(self):
        load(device=9)
        mine, others = last_error(), []
        thread = threading.Thread(target=lambda: others.append(last_error()))
        thread.start()
        thread.join()
        self.assertIn("device", mine)
        self.assertEqual(others, [""])


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.prefix = pathlib.Path(cls.folder.name) / "prefix"
        subprocess.run(["cmake", "--install", BUILD, "--prefix", cls.prefix], check=True, capture_output=True)
        cls.libraries = next(cls.prefix.rglob("libsluice.so")).parent

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def ask(self, program):
        env = {**os.environ, "LD_LIBRARY_PATH": str(self.libraries)}
        done = subprocess.run([program, MODEL, "What is 347 + 285?", "Who are you?"], capture_output=True, text=True, check=False,
                              env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("632", done.stdout)
        known = [int(number) for number in re.findall(r"tokens read, (\d+) known", done.stdout)]
        self.assertEqual(known[0], 0)
        self.assertGreater(known[1], 10)
        done = subprocess.run([program, "/none.gguf", "x"], capture_output=True, text=True, check=False, env=env)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/none.gguf: no such file", done.stderr)

    def test_with_pkg_config(self):
        env = {**os.environ, "PKG_CONFIG_PATH": str(self.libraries / "pkgconfig")}
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "sluice"], capture_output=True, text=True, check=True,
                               env=env).stdout.split()
        program = self.prefix / "chat"
        subprocess.run(["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-D_POSIX_C_SOURCE=200809L",
                        ROOT / "examples/chat.c", *flags, "-o", program], check=True)
        self.ask(program)

    def test_with_cmake(self):
        build = pathlib.Path(self.folder.name) / "examples"
        subprocess.run(["cmake", "-S", ROOT / "examples", "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}"], check=True,
                       capture_output=True)
        subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
        self.ask(build / "chat")

    def test_the_header_is_good_cpp_too(self):
        for standard in ("c++11", "c++20"):
            subprocess.run(["c++", f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++",
                            self.prefix / "include/sluice/sluice.h"], check=True)

    def test_the_program_runs_where_it_lies(self):
        moved = pathlib.Path(self.folder.name) / "moved"
        shutil.copytree(self.prefix, moved)
        done = subprocess.run([moved / "bin/sluice", "run", "-m", MODEL, "-p", "Who are you?", "-n", "3"], capture_output=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
