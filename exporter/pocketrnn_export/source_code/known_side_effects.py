"""List functions, methods and attributes of Python and of packages by what they may change.

Code that is not in these tables may change its arguments (`changes_of_needed_code.py`).
"""

from __future__ import annotations

import sys
from typing import Final

# Methods of strings, containers, tensors and modules that compute a value and change nothing.
PURE_METHODS: Final = frozenset({
    "bool", "clone", "copy", "count", "cpu", "cuda", "decode", "detach", "device_count", "dim", "double", "encode",
    "endswith", "eval", "find", "float", "format", "get", "half", "index", "int", "is_available", "item", "items",
    "join", "keys", "long", "lower", "lstrip", "most_common", "named_parameters", "numel", "numpy", "parameters",
    "replace", "reshape", "rsplit", "rstrip", "size", "split", "splitlines", "squeeze", "startswith", "strip",
    "title", "to", "tolist", "union", "unsqueeze", "upper", "values", "view",
})  # fmt: skip
# These, and methods that change only the weights of their object.
HARMLESS_METHODS: Final = PURE_METHODS | frozenset({
    "apply", "argmax", "argsort", "astype", "backward", "cat", "children", "close", "code", "describe", "difference",
    "elements", "flatten_parameters", "forward", "fromkeys", "head", "info", "intersection", "isalpha", "isdigit",
    "issubset", "load_state_dict", "max", "mean", "min", "modules", "named_modules", "permute", "predict",
    "requires_grad_", "shape", "share_memory", "show", "state_dict", "std", "step", "sum", "swapcase", "t", "train",
    "transpose", "type", "unique", "zero_grad", "zfill",
})  # fmt: skip
# Methods that may change the weights of a module, and nothing else.
WEIGHT_METHODS: Final = frozenset({"apply", "load_state_dict", "step"})
# Methods whose purpose is to change their object.
CHANGING_METHODS: Final = frozenset({
    "__delattr__", "__delitem__", "__iadd__", "__ior__", "__setattr__", "__setitem__", "add", "add_module", "append",
    "appendleft", "clear", "difference_update", "discard", "extend", "extendleft", "insert", "intersection_update",
    "move_to_end", "pop", "popitem", "popleft", "register", "register_buffer", "register_forward_hook",
    "register_forward_pre_hook", "register_module", "register_parameter", "remove", "reverse", "rotate", "setdefault",
    "sort", "subtract", "symmetric_difference_update", "update",
})  # fmt: skip
# Methods that may return their object, or parts of it.
GIVING_METHODS: Final = frozenset({
    "__enter__", "__getitem__", "__iter__", "apply", "children", "copy", "cpu", "cuda", "detach", "double", "eval",
    "expand", "flatten", "float", "get", "get_submodule", "half", "items", "modules", "named_buffers",
    "named_children", "named_modules", "numpy", "permute", "pop", "popitem", "popleft", "ravel", "requires_grad_",
    "reshape", "setdefault", "squeeze", "t", "to", "train", "transpose", "type", "unsqueeze", "values", "view",
})  # fmt: skip
# Functions that read their arguments, and return no part of them.
READING: Final = frozenset({
    "copy.deepcopy", "json.dump", "json.dumps", "pickle.dump", "pprint.pprint", "torch.is_tensor", "torch.save",
})  # fmt: skip
# Parts of packages by which code reaches objects that it does not name, runs a string, or is called by Python.
REACH_ANYTHING: Final = (
    "IPython.get_ipython", "__main__", "bdb.", "builtins.", "cProfile.run", "cffi", "code.", "ctypes", "doctest",
    "forbiddenfruit", "gc.get", "gorilla", "importlib.import_module", "importlib.reload", "inspect.currentframe",
    "inspect.getc", "inspect.geti", "inspect.getm", "inspect.geto", "inspect.stack", "inspect.trace", "ipytest",
    "mock", "nose", "pdb.run", "pickle.loads", "profile.run", "pytest", "runpy", "sys._", "sys.addaudithook",
    "sys.displayhook", "sys.excepthook", "sys.modules", "sys.setp", "sys.sett", "threading.set", "timeit.Timer",
    "timeit.main", "timeit.repeat", "timeit.timeit", "trace.", "traceback.walk", "unittest", "wrapt",
)  # fmt: skip
# Constructors of values that change when they are read: iterators, random generators, defaultdicts.
ALIVE: Final = frozenset({
    "Generator", "Random", "RandomState", "SystemRandom", "accumulate", "chain", "count", "cycle", "default_rng",
    "defaultdict", "enumerate", "filter", "finditer", "iter", "islice", "map", "product", "repeat", "reversed",
    "starmap", "tee", "zip",
})  # fmt: skip
# Builtins that never return an argument or a part of one; all others may.
FRESH_BUILTINS: Final = frozenset({
    "abs", "all", "any", "ascii", "bin", "bool", "bytes", "callable", "chr", "complex", "dir", "divmod", "float",
    "format", "hasattr", "hash", "hex", "id", "input", "int", "isinstance", "issubclass", "len", "oct", "ord", "pow",
    "print", "range", "repr", "round", "str", "sum",
})  # fmt: skip
# Builtins that only put their arguments into a container.
HOLDING_BUILTINS: Final = frozenset({
    "dict", "enumerate", "frozenset", "list", "max", "min", "reversed", "set", "sorted", "tuple", "zip",
})  # fmt: skip
# Packages that do not change a module which is passed to their functions, except its weights.
LEAVE_ALONE: Final = sys.stdlib_module_names | frozenset({
    "IPython", "PIL", "bs4", "contractions", "cv2", "datasets", "dill", "emoji", "fasttext", "gensim", "google",
    "h5py", "ignite", "ipywidgets", "joblib", "kaggle", "keras", "lightning", "livelossplot", "matplotlib", "mlflow",
    "nltk", "numpy", "optuna", "pandas", "plotly", "psutil", "pytorch_lightning", "regex", "requests", "rich", "scipy",
    "seaborn", "sentencepiece", "skimage", "sklearn", "spacy", "tabulate", "tensorboard", "tensorboardX", "tensorflow",
    "tokenizers", "torch", "torchaudio", "torchinfo", "torchmetrics", "torchsummary", "torchtext", "torchvision",
    "torchviz", "tqdm", "transformers", "wandb", "wordcloud", "xgboost", "yaml",
})  # fmt: skip
# Keywords with which functions write to their arguments.
WRITING: Final = frozenset({"inplace", "in_place", "op_flags", "out", "overwrite_a", "overwrite_b", "overwrite_x"})
# Builtins that reach any name, or set any attribute, also under another name.
REACH_ANY: Final = frozenset({
    "__builtins__", "__import__", "compile", "delattr", "eval", "exec", "execfile", "globals", "locals", "setattr",
    "vars",
})  # fmt: skip
# Functions of packages that set something in the package itself.
SETS_STATE: Final = ("torch.set_default_", "torch.nn.modules.module.register_module_", "importlib.reload")
# IPython magics that neither run code of the notebook nor bind a name. All others may do anything.
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
# Magics of cells in another language, or written to a file: they do not change names of the notebook.
FOREIGN_CELLS: Final = frozenset({
    "!", "HTML", "R", "SVG", "bash", "bigquery", "cmd", "debug", "file", "html", "javascript", "js", "julia", "latex",
    "markdown", "mermaid", "node", "perl", "powershell", "pypy", "python", "python2", "python3", "ruby", "script",
    "sh", "shell", "sql", "svg", "sx", "system", "writefile", "script_magic",
})  # fmt: skip
# Setting a value in these parts of a package does not change answers.
SWITCHES: Final = (
    "logging", "matplotlib", "pandas", "torch.autograd", "torch.backends", "torch.cuda", "torch.multiprocessing",
    "tqdm", "warnings", "seaborn", "plotly",
)  # fmt: skip
# Functions that load a pickle, and the methods of classes that this calls.
UNPICKLE: Final = frozenset({
    "cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads", "joblib.load", "pandas.read_pickle",
    "pickle.load", "pickle.loads", "torch.load",
})  # fmt: skip
RUN_BY_A_PICKLE: Final = ("__new__", "__reduce__", "__reduce_ex__", "__setstate__")
# Methods that run while an object or a class is created.
MAKING: Final = frozenset({
    "__class_getitem__", "__init__", "__init_subclass__", "__new__", "__post_init__", "__prepare__", "__set_name__",
})  # fmt: skip
# Attributes that reach objects without their names: frames, closures, the parts of a function.
REFLECTIVE: Final = frozenset({
    "__base__", "__bases__", "__builtins__", "__closure__", "__globals__", "__mro__", "__self__", "__subclasses__",
    "ag_frame", "cell_contents", "cr_frame",
    "f_back", "f_builtins", "f_globals", "f_locals", "gi_frame", "mro", "tb_frame",
})  # fmt: skip
