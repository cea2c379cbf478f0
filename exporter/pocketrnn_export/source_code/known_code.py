"""What is known of the functions, methods and attributes that a file does not define: Python's, and packages'.

What stands in none of these tables counts as code that may change what it is given (`following.py`).
"""

from __future__ import annotations

import functools
import inspect
from types import BuiltinFunctionType, MethodDescriptorType, ModuleType
from typing import Final

import numpy as np
import torch

__all__ = [
    "ALL_OBJECTS",
    "CALLERS",
    "CALL_AT_ONCE",
    "CHANGES_ANY",
    "CHANGES_FIRST",
    "CHANGES_MODULES",
    "CHANGING_METHODS",
    "FOREIGN_CELLS",
    "FRESH_BUILTINS",
    "GIVE_THEMSELVES",
    "GIVE_THE_CLASS",
    "HARMLESS_MAGICS",
    "HARMLESS_METHODS",
    "ITERATING_METHODS",
    "KNOWN_BUILTINS",
    "LEAVE_ALONE",
    "MAKING",
    "MAY_DO_ANYTHING",
    "NOT_MODULES",
    "OF_JUPYTER",
    "OF_MEMBERS",
    "PURE_METHODS",
    "REACH_ANY",
    "REFLECTIVE",
    "RUN_BY_A_PICKLE",
    "RUN_BY_PYTHON",
    "RUN_TEXT",
    "SETS_STATE",
    "SWITCHES",
    "UNPICKLE",
    "WRITING",
    "changes_tensor",
    "gives_what_it_is_given",
    "inputs_of_ufunc",
    "is_method_of_class",
    "is_used_up",
    "keeps_something",
    "nobody_can_change",
]

# Methods of strings, containers, tensors and modules that make a value of a value.
PURE_METHODS: Final = frozenset({
    "bool", "clone", "copy", "count", "cpu", "cuda", "decode", "detach", "device_count", "dim", "double", "encode",
    "endswith", "eval", "find", "float", "format", "get", "half", "index", "int", "is_available", "item", "items",
    "join", "keys", "long", "lower", "lstrip", "most_common", "named_parameters", "numel", "numpy", "parameters",
    "replace", "reshape", "rsplit", "rstrip", "size", "split", "splitlines", "squeeze", "startswith", "strip",
    "title", "to", "tolist", "union", "unsqueeze", "upper", "values", "view",
})  # fmt: skip
# Those, and methods that change nothing of their object but its weights.
HARMLESS_METHODS: Final = PURE_METHODS | frozenset({
    "apply", "argmax", "argsort", "astype", "backward", "cat", "children", "close", "code", "describe", "difference",
    "elements", "flatten_parameters", "forward", "fromkeys", "head", "info", "intersection", "isalpha", "isdigit",
    "issubset", "load_state_dict", "max", "mean", "min", "modules", "named_modules", "permute", "predict",
    "requires_grad_", "shape", "share_memory", "show", "state_dict", "std", "step", "sum", "swapcase", "t", "train",
    "transpose", "type", "unique", "zero_grad", "zfill",
})  # fmt: skip
# Methods that change their object as its owner means it.
CHANGING_METHODS: Final = frozenset({
    "__delattr__", "__delitem__", "__iadd__", "__ior__", "__setattr__", "__setitem__", "add", "add_module", "append",
    "appendleft", "clear", "difference_update", "discard", "extend", "extendleft", "insert", "intersection_update",
    "move_to_end", "pop", "popitem", "popleft", "register", "register_buffer", "register_forward_hook",
    "register_forward_pre_hook", "register_module", "register_parameter", "remove", "reverse", "rotate", "setdefault",
    "sort", "subtract", "symmetric_difference_update", "update",
})  # fmt: skip
# Methods of a module that give the module itself.
GIVE_THEMSELVES: Final = frozenset({"cpu", "cuda", "double", "eval", "float", "half", "to", "train"})
# Builtins that give something else than (parts of) what they are given; all others may give that.
FRESH_BUILTINS: Final = frozenset({
    "abs", "all", "any", "ascii", "bin", "bool", "bytes", "callable", "chr", "complex", "dir", "divmod", "float",
    "format", "hasattr", "hash", "hex", "id", "input", "int", "isinstance", "issubclass", "len", "oct", "ord", "pow",
    "print", "range", "repr", "round", "str", "sum",
})  # fmt: skip
# All builtins that leave alone what they are given, or whose changes are followed.
KNOWN_BUILTINS: Final = FRESH_BUILTINS | frozenset({
    "__import__", "aiter", "anext", "bytearray", "classmethod", "compile", "delattr", "dict", "display", "enumerate",
    "exit", "filter", "frozenset", "getattr", "globals", "help", "iter", "list", "locals", "map", "max", "memoryview",
    "min", "next", "object", "open", "property", "quit", "reversed", "set", "setattr", "slice", "sorted",
    "staticmethod", "super", "tuple", "type", "unichr", "unicode", "vars", "xrange", "zip",
})  # fmt: skip
# Builtins that give what is used up by reading.
_ITERATORS: Final = frozenset({"enumerate", "filter", "iter", "map", "reversed", "zip"})
# Packages that leave alone what they are given, but for the functions below.
_OF_PYTHON: Final = frozenset({
    "__future__", "abc", "argparse", "array", "ast", "asyncio", "base64", "binascii", "bisect", "builtins", "bz2",
    "cProfile", "calendar", "codecs", "collections", "colorsys", "concurrent", "configparser", "contextlib",
    "contextvars", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "email", "enum", "errno",
    "faulthandler", "fileinput", "fnmatch", "fractions", "ftplib", "functools", "gc", "getopt", "getpass", "glob",
    "graphlib", "gzip", "hashlib", "heapq", "hmac", "html", "http", "inspect", "io", "ipaddress", "itertools", "json",
    "keyword", "linecache", "locale", "logging", "lzma", "math", "mimetypes", "multiprocessing", "netrc", "numbers",
    "operator", "optparse", "os", "pathlib", "pickle", "pkgutil", "platform", "pprint", "profile", "pstats", "queue",
    "random", "re", "reprlib", "resource", "sched", "secrets", "select", "selectors", "shelve", "shlex", "shutil",
    "signal", "site", "smtplib", "socket", "sqlite3", "ssl", "stat", "statistics", "string", "struct", "subprocess",
    "sys", "tarfile", "tempfile", "textwrap", "threading", "time", "timeit", "token", "tokenize", "traceback",
    "tracemalloc", "types", "typing", "unicodedata", "urllib", "uuid", "warnings", "weakref", "webbrowser", "xml",
    "zipfile", "zlib", "zoneinfo",
})  # fmt: skip
LEAVE_ALONE: Final = _OF_PYTHON | frozenset({
    "IPython", "PIL", "bs4", "contractions", "cv2", "datasets", "dill", "emoji", "fasttext", "gensim", "google",
    "h5py", "ignite", "ipywidgets", "joblib", "kaggle", "keras", "lightning", "livelossplot", "matplotlib", "mlflow",
    "nltk", "numpy", "optuna", "pandas", "plotly", "psutil", "pytorch_lightning", "regex", "requests", "rich", "scipy",
    "seaborn", "sentencepiece", "skimage", "sklearn", "spacy", "tabulate", "tensorboard", "tensorboardX", "tensorflow",
    "tokenizers", "torch", "torchaudio", "torchinfo", "torchmetrics", "torchsummary", "torchtext", "torchvision",
    "torchviz", "tqdm", "transformers", "wandb", "wordcloud", "xgboost", "yaml",
})  # fmt: skip
CHANGES_FIRST: Final = frozenset({
    "bisect.insort", "bisect.insort_left", "bisect.insort_right", "functools.update_wrapper", "heapq.heapify",
    "heapq.heappop", "heapq.heappush",
    "heapq.heappushpop", "heapq.heapreplace", "numpy.copyto", "numpy.fill_diagonal", "numpy.place", "numpy.put",
    "numpy.put_along_axis", "numpy.putmask", "numpy.random.shuffle", "operator.delitem", "operator.iadd",
    "operator.iand", "operator.iconcat", "operator.ifloordiv", "operator.ilshift", "operator.imatmul", "operator.imod",
    "operator.imul", "operator.ior", "operator.ipow", "operator.irshift", "operator.isub", "operator.itruediv",
    "operator.ixor", "operator.setitem", "random.shuffle",
})  # fmt: skip
CHANGES_ANY: Final = frozenset({"struct.pack_into", "torch.utils.swap_tensors"})
# Packages whose functions give something else than (parts of) what they are given.
_FRESH_PACKAGES: Final = frozenset({
    "base64", "binascii", "calendar", "csv", "datetime", "difflib", "emoji", "fnmatch", "glob", "hashlib", "hmac",
    "html", "json", "locale", "logging", "math", "matplotlib", "nltk", "os", "pathlib", "pickle", "platform", "pprint",
    "psutil", "re", "regex", "requests", "seaborn", "shlex", "shutil", "spacy", "statistics", "string", "struct",
    "subprocess", "tabulate", "textwrap", "time", "traceback", "unicodedata", "urllib", "uuid", "zlib",
})  # fmt: skip
# Functions of torch, numpy, pandas, scipy and sklearn that make new memory. Others may give the memory they are given.
_FRESH: Final = frozenset({
    "abs", "accuracy_score", "add", "all", "allclose", "amax", "amin", "any", "arange", "argmax", "argmin", "argsort",
    "array_equal", "average", "avg_pool1d", "bernoulli", "bincount", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "bmm", "cat", "ceil", "choice", "classification_report", "clip", "clone",
    "concat", "concatenate", "confusion_matrix", "cos", "cosine_similarity", "cross_entropy", "cumsum", "deepcopy",
    "device", "device_count", "dot", "empty", "empty_like", "eq", "equal", "exp", "eye", "f1_score", "fix", "floor",
    "full", "full_like", "gather", "histogram", "is_available", "is_tensor", "isnan", "l1_loss", "linspace", "load",
    "log", "log_softmax", "logical_and", "logical_not", "logical_or", "logspace", "manual_seed", "masked_select",
    "matmul", "max", "max_pool1d", "mean", "median", "min", "mm", "mse_loss", "mul", "multinomial", "ne", "nll_loss",
    "no_grad", "nonzero", "norm", "normal", "one_hot", "ones", "ones_like", "outer", "pad_packed_sequence",
    "pad_sequence", "percentile", "permutation", "pow", "power", "precision_score", "prod", "rand", "rand_like",
    "randint", "randn", "randn_like", "random", "randperm", "read_csv", "read_excel", "read_json", "recall_score",
    "repeat", "repeat_interleave", "roc_auc_score", "round", "rsqrt", "save", "seed", "set_seed", "sigmoid", "sign",
    "sin", "softmax", "sqrt", "square", "stack", "std", "sub", "sum", "tan", "tanh", "tensor", "tile", "topk", "triu",
    "tril", "uniform", "unique", "value_counts", "vander", "var", "vstack", "hstack", "where", "zeros", "zeros_like",
})  # fmt: skip
_WITH_FRESH: Final = frozenset({"numpy", "pandas", "random", "scipy", "sklearn", "torch", "transformers"})
# Keywords of functions that then write to what they are given.
WRITING: Final = frozenset({"inplace", "in_place", "op_flags", "overwrite_a", "overwrite_b", "overwrite_x"})
# Functions that run a text as code, or what they are given in place of one.
RUN_TEXT: Final = (
    "bdb.", "cProfile.run", "code.", "doctest.", "pdb.run", "profile.run", "timeit.repeat", "timeit.timeit",
    "timeit.Timer", "trace.Trace",
)  # fmt: skip
# Builtins that reach any name, or set any attribute: whoever holds one by another name may do that.
REACH_ANY: Final = frozenset({
    "__builtins__", "delattr", "eval", "exec", "execfile", "globals", "locals", "setattr", "vars",
})  # fmt: skip
# What an Enum runs for each member while its class is made.
OF_MEMBERS: Final = ("__new__", "__init__", "_generate_next_value_")
# Functions of packages that set something in the package itself.
SETS_STATE: Final = ("torch.set_default_", "torch.nn.modules.module.register_module_", "importlib.reload")
# Functions that reach what nobody gave them: names of the file, tests in it, the memory.
MAY_DO_ANYTHING: Final = (
    "IPython.get_ipython", "cffi", "ctypes", "doctest", "forbiddenfruit", "gorilla", "importlib.reload", "ipytest",
    "mock", "nose", "pytest", "runpy", "unittest", "wrapt",
)  # fmt: skip
CHANGES_MODULES: Final = ("torch.nn.utils.", "torch.quantization.", "torch.ao.")
NOT_MODULES: Final = ("torch.nn.utils.rnn.", "torch.nn.utils.clip_", "torch.nn.utils.parameters_to_vector")
# Magics of IPython that run no code of the notebook, and give no name a value. All others may do anything.
HARMLESS_MAGICS: Final = frozenset({
    "aimport", "autoawait", "autocall", "automagic", "autoreload", "autosave", "bookmark", "cat", "cd", "clear",
    "colors", "conda", "config", "connect_info", "cp", "debug", "dhist", "dirs", "doctest_mode", "env", "gui", "hist",
    "history", "icat", "less", "lf", "lk", "ll", "load_ext", "loadpy", "logoff", "logon", "logstart", "logstate",
    "logstop", "ls", "lsmagic", "lx", "magic", "man", "matplotlib", "mkdir", "more", "mv", "notebook", "page",
    "pastebin", "pdb", "pdef", "pdoc", "pfile", "pinfo", "pinfo2", "pip", "popd", "pprint", "precision", "profile",
    "psearch", "psource", "pushd", "pwd", "pycat", "quickref", "reload_ext", "rep", "rm", "rmdir", "save", "sc",
    "set_env", "sx", "system", "tb", "tensorboard", "tensorflow_version", "unalias", "uv", "version_information",
    "watermark", "who", "who_ls", "whos", "writefile", "xmode",
})  # fmt: skip
# Magics of cells in another language, or that write them to a file: they leave the names of the notebook alone.
FOREIGN_CELLS: Final = frozenset({
    "!", "HTML", "R", "SVG", "bash", "bigquery", "cmd", "debug", "file", "html", "javascript", "js", "julia", "latex",
    "markdown", "mermaid", "node", "perl", "powershell", "pypy", "python", "python2", "python3", "ruby", "script",
    "sh", "shell", "sql", "svg", "sx", "system", "writefile", "script_magic",
})  # fmt: skip
# What is set in these parts of a package changes no answer.
SWITCHES: Final = (
    "logging", "matplotlib", "pandas", "torch.autograd", "torch.backends", "torch.cuda", "torch.multiprocessing",
    "tqdm", "warnings", "seaborn", "plotly",
)  # fmt: skip
# What these give calls something of that which it is given.
CALLERS: Final = frozenset({"functools.partial", "operator.methodcaller"})
# Functions that give objects by another way than by their names.
ALL_OBJECTS: Final = frozenset({
    "gc.get_objects", "gc.get_referents", "gc.get_referrers", "inspect.currentframe", "inspect.getinnerframes",
    "inspect.getouterframes", "inspect.stack", "inspect.trace", "traceback.walk_stack", "traceback.walk_tb",
    "sys._current_frames", "sys._getframe", "sys.modules", "sys.modules.copy",
    "sys.modules.items", "sys.modules.values",
})  # fmt: skip
# What a notebook may ask of Jupyter without a change of its names; any other request may change any.
OF_JUPYTER: Final = frozenset({"getoutput", "magic", "run_line_magic", "system"})
# What Python or Jupyter run by themselves from then on, such as for the value in the last line of a cell.
RUN_BY_PYTHON: Final = frozenset({
    "sys.addaudithook", "sys.displayhook", "sys.excepthook", "sys.setprofile", "sys.settrace", "threading.setprofile",
    "threading.settrace",
})  # fmt: skip
# Decorators that give the class that they are given, or one whose calls make new objects as its do.
GIVE_THE_CLASS: Final = (
    "attr.", "attrs.", "dataclasses.dataclass", "functools.total_ordering", "pydantic.dataclasses.", "torch.jit.",
    "typing.",
)  # fmt: skip
# Functions that make objects of a pickle, and the methods of their classes that this runs.
UNPICKLE: Final = frozenset({
    "cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads", "joblib.load", "pandas.read_pickle",
    "pickle.load", "pickle.loads", "torch.load",
})  # fmt: skip
RUN_BY_A_PICKLE: Final = ("__new__", "__reduce__", "__reduce_ex__", "__setstate__")
# Methods that run while an object or a class is made.
MAKING: Final = frozenset({
    "__class_getitem__", "__init__", "__init_subclass__", "__new__", "__post_init__", "__prepare__", "__set_name__",
})  # fmt: skip
# Attributes by which code is reached that no name leads to: frames, closures, what a function is made of.
REFLECTIVE: Final = frozenset({
    "__builtins__", "__closure__", "__self__", "ag_frame", "cell_contents", "cr_frame", "f_back", "f_builtins",
    "f_globals", "f_locals", "gi_frame", "tb_frame",
})  # fmt: skip
# Methods that give what is used up by reading.
ITERATING_METHODS: Final = frozenset({
    "__iter__", "children", "finditer", "glob", "iterdir", "modules", "named_buffers", "named_children",
    "named_modules", "named_parameters", "parameters", "rglob",
})  # fmt: skip
# Packages whose functions may be given a function and have called it when they are done.
CALL_AT_ONCE: Final = frozenset({
    "builtins", "collections", "copy", "functools", "itertools", "json", "numpy", "operator", "re", "timeit", "types",
})  # fmt: skip
# Decorators after which a function keeps nothing from call to call. Others, as `functools.lru_cache`, may.
_KEEP_NOTHING: Final = frozenset({
    "abstractmethod", "asynccontextmanager", "classmethod", "contextmanager", "dataclass", "deprecated", "enable_grad",
    "final", "inference_mode", "jit", "no_grad", "njit", "overload", "override", "property", "register",
    "runtime_checkable", "setter", "getter", "deleter", "script", "script_method", "singledispatch",
    "singledispatchmethod", "staticmethod", "total_ordering", "typechecked", "unique", "wraps",
})  # fmt: skip


def nobody_can_change(dotted: str) -> bool:
    """Whether a part of torch or numpy is a number, a kind of numbers, or a function that is not written in Python.

    Example:
        >>> nobody_can_change("torch.float"), nobody_can_change("torch.nn.functional.relu")
        (True, False)
    """
    package, *parts = dotted.split(".")
    found: object = {"torch": torch, "numpy": np}.get(package)
    for part in parts:
        found = inspect.getattr_static(found, part, None) if isinstance(found, ModuleType | type) else None
    return isinstance(found, torch.dtype | int | float | str | BuiltinFunctionType | MethodDescriptorType)


def changes_tensor(method: str) -> bool:
    """Whether a method of a tensor changes it: `mul_`."""
    return method.endswith("_") and not method.startswith("_") and hasattr(torch.Tensor, method)


def gives_what_it_is_given(dotted: str) -> bool:
    """Whether what a function of a package gives may be, hold or share what it was given.

    Example:
        >>> gives_what_it_is_given("tqdm.tqdm"), gives_what_it_is_given("torch.zeros_like")
        (True, False)
    """
    package, last = dotted.split(".")[0], dotted.split(".")[-1]
    if dotted == "copy.deepcopy" or (package in _FRESH_PACKAGES and not last[:1].isupper()):
        return False
    return not (package in _WITH_FRESH and last in _FRESH and dotted not in ("random.choice", "torch.where"))


def is_used_up(dotted: str) -> bool:
    """Whether what a function of Python or a package gives is another thing after it was read or used.

    Example:
        >>> is_used_up("builtins.map"), is_used_up("torch.Generator"), is_used_up("torch.zeros")
        (True, True, False)
    """
    package, last = dotted.split(".")[0], dotted.split(".")[-1]
    if package == "builtins":
        return last in _ITERATORS
    return package == "itertools" or last in {
        "Generator", "Random", "RandomState", "SystemRandom", "default_rng", "finditer", "ndenumerate", "ndindex",
        "nditer", "scandir", "walk",
    }  # fmt: skip


def keeps_something(decorator: str) -> bool:
    """Whether a function may keep something from call to call after it was decorated, by the decorator's name.

    Example:
        >>> keeps_something("functools.lru_cache"), keeps_something("torch.no_grad")
        (True, False)
    """
    return decorator.split(".")[-1] not in _KEEP_NOTHING


def is_method_of_class(dotted: str) -> bool:
    """Whether it is a method that changes its object, named by its class: `numpy.ndarray.fill`, `enum.Enum.update`."""
    *parts, last = dotted.split(".")
    of_class = len(parts) > 1 and (parts[-1][:1].isupper() or parts[-1] in ("deque", "defaultdict", "ndarray"))
    return of_class and last in CHANGING_METHODS | {"fill", "itemset", "partition", "put", "resize"}


@functools.cache
def inputs_of_ufunc(dotted: str) -> int | None:
    """How many inputs a function of numpy takes that may be given where its results go; None for other functions."""
    found = getattr(np, dotted.partition(".")[2], None)
    return found.nin if isinstance(found, np.ufunc) else None
