"""Notebooks that change a value by another way than an assignment: it is run, or noted, or refused, never lost."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from notebook_maker import cell, notebook
from slow_case_sampling import mostly_slow
from torch import nn
from torch.nn import functional

from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn_export.intake.checks_of_module_made_again import refuse_random_construction
from pocketrnn_export.intake.module_file import load_module
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name

# The changed value must be "max" in the end, as it is after the whole notebook has run, or a line must name the
# statement that is not run. Code after % may be refused, too.
OF_CONFIG: Final = """
c = config; c["pool"] = "max"
c: dict = config; c["pool"] = "max"
a = b = config; b["pool"] = "max"
a = config; b = a; b.update(pool="max")
(c, n) = (config, 3); c["pool"] = "max"
(c,), = zip([config]); c["pool"] = "max"
cs = [config]; cs[0]["pool"] = "max"
d = {"a": config}; list(d.values())[0]["pool"] = "max"
c = config; c |= {"pool": "max"}
config = {**config, "pool": "max"}
c = config; c.clear(); c.setdefault("pool", "max")
config.__setitem__("pool", "max")
dict.update(config, pool="max")
import operator; operator.setitem(config, "pool", "max")
list(map(config.update, [{"pool": "max"}]))
[config.update(pool=p) for p in ["max"]]
x = config.update(pool="max")
sorted([1, 2], key=lambda v: config.update(pool="max") or v)
exec("config['pool'] = 'max'")
%time config.update(pool="max")
%timeit -n 1 -r1 config.update(pool="max")
%%timeit -n1 -r1|config["pool"] = "max"
if True: config.update(pool="max")
import copy; d = copy.copy({"c": config}); d["c"]["pool"] = "max"
|def tweak(c):|    c["pool"] = "max"|tweak(config)
|def tweak(a, *, c):|    c.update(pool="max")|_ = tweak(1, c=config)
|def tweak(*a, **k):|    k["c"]["pool"] = "max"|tweak(c=config)
|def tweak(c, n):|    tweak(c, n - 1) if n else c.update(pool="max")|tweak(config, 3)
|def get():|    return config|get()["pool"] = "max"
|def p(x):|    config["pool"] = "max"|    return True|list(filter(p, [1]))
|class S:|    def __init__(s, c):|        s.c = c|    def go(s):|        s.c["pool"] = "max"|s = S(config)|s.go()
|class Once:|    config["pool"] = "max"
|class L(dict):|    def __missing__(self, k):|        config["pool"] = "max"|l = L()|l["x"]
|def register(f):|    config["pool"] = "max"|    return f|@register|def other():|    pass
|class B:|    held = config|    def __init_subclass__(cls):|        B.held["pool"] = "max"|class D(B):|    pass
|try:|    1 / 0|except ZeroDivisionError:|    pass|finally:|    config["pool"] = "max"
|if __name__ == "__main__":|    config["pool"] = "max"
|def main():|    config["pool"] = "max"|    return 3|n = main()
|import enum|class Pool(enum.Enum):|    A = "max"|    def __init__(s, v): config["pool"] = v
|from enum import Enum|class B(Enum):|    def __init__(s, v): config["pool"] = v|class C(B):|    A = "max"
% import timeit; timeit.timeit("config.update(pool='max')", number=1, globals=globals())
% import timeit; t = timeit.Timer("config.update(pool='max')", globals=globals()); t.timeit(1)
% import cProfile; cProfile.run("config.update(pool='max')")
% use = lambda p: config.update(pool=p); use("max")
% from functools import partial; set_pool = partial(config.__setitem__, "pool"); set_pool("max")
% |for c in [config]:|    c["pool"] = "max"
% |while config["pool"] != "max":|    config["pool"] = "max"
% |def main():|    config["pool"] = "max"|    open("log", "w").close()|main()
% |def outer(c):|    def inner(p):|        c["pool"] = p|    return inner|use = outer(config)|use("max")
% |class U:|    def __enter__(s):|        config["pool"] = "max"|    def __exit__(s, *_): pass|with U():|    pass
% |import sys|sys.displayhook = lambda v: config.update(pool="max")|3
% |import sys|sys.setprofile(lambda *a: config.update(pool="max"))
% eval("config.update(pool='max')")
% from somewhere import tweak; tweak(config)
""".strip().splitlines()
OF_NAMES: Final = """
POOL = "max"
print(POOL := "max")
[POOL := p for p in ["mean", "max"]]
if (POOL := "max"): pass
%time POOL = "max"
POOL = %time str("max")
globals()["POOL"] = "max"
globals().update({"POOL": "max"})
% dict.update(globals(), POOL="max")
% import operator; operator.setitem(globals(), "POOL", "max")
ns = globals(); ns["POOL"] = "max"
locals()["POOL"] = "max"
exec("POOL = 'max'")
import sys; sys.modules[__name__].POOL = "max"
import sys; vars(sys.modules[__name__])["POOL"] = "max"
import sys; sys.modules[__name__].__dict__["POOL"] = "max"
% import sys; vars(sys.modules[__name__]).update(POOL="max")
a, *POOLS = 1, "mean", "max"; [*_, POOL] = POOLS
POOL, A = "max", POOL
it = iter(["mean", "max"]); first = next(it); POOL = next(it)
names = ["max", "mean"]; last = names.pop(); POOL = names[-1]
POOL = "m"; POOL += "ax"
from settings import *
import os; os.environ["POCKET_POOL"] = "max"; POOL = os.environ.get("POCKET_POOL", "mean")
|def f():|    pass|f.__globals__["POOL"] = "max"
|def inner():|    global POOL|    POOL = "max"|def setup():|    inner()|setup()
|with torch.no_grad():|    POOL = "max"
|try:|    POOL = "max"|except Exception:|    pass
|POOL = "max"|if False:|    POOL = "mean"
|match 3:|    case 3:|        POOL = "max"
%%capture out|POOL = "max"
% POOL = !echo max
% %run settings.py
% code = "POOL = 'max'"; exec(code)
def f(p=(POOL := "max")): pass
def f(*, p=(POOL := "max")): pass
class C((POOL := "max", object)[1]): pass
|@(POOL := "max", lambda f: f)[1]|def f(): pass
ns = globals(); ns |= {"POOL": "max"}
globals().__ior__({"POOL": "max"})
% g = globals; g()["POOL"] = "max"
% st = setattr; import sys; st(sys.modules[__name__], "POOL", "max")
% v = vars; v()["POOL"] = "max"
% run = exec; run("POOL = 'max'")
% import builtins; builtins.exec("POOL = 'max'")
% import builtins as b; run = b.exec; run("POOL = 'max'")
% from builtins import exec as run; run("POOL = 'max'")
% list(map(exec, ["POOL = 'max'"]))
% from functools import partial; partial(exec, "POOL = 'max'")()
% __builtins__["exec"]("POOL = 'max'")
import collections; m = collections.ChainMap(globals()); m["POOL"] = "max"
% import __main__; __main__.POOL = "max"
%prun -q POOL = "max"
|def g():|    global POOL|    POOL = "max"|    yield 1|it = g()|y = [*it]
% get_ipython().run_line_magic("time", "POOL = 'max'")
POOL = "max" if __name__ == "__main__" else "mean"
POOL = "mean" if "__file__" in globals() else "max"
POOL = {"__main__": "max"}.get(__name__, "mean") if globals()["__name__"] == "__main__" else "mean"
import sys; sys.modules[__name__].POOL = "max" if sys.modules["__main__"] is sys.modules[__name__] else "mean"
POOL = "max" if __doc__ else "mean"
% POOL = "max" if "get_ipython" in globals() else "mean"
% POOL = "max" if vars().get("__name__") == "__main__" else "mean"
% POOL = "max" if len(globals().get("In", [])) else "mean"
% POOL = "max" if "In" in dir() else "mean"
% import sys; POOL = "max" if "ipykernel" in sys.modules else "mean"
% |class A: pass|POOL = "max" if A.__module__ == "__main__" else "mean"
% |try:|    import google.colab|    POOL = "max"|except ImportError:|    POOL = "mean"
|def named(): return __name__|POOL = {"__main__": "max"}[named()]
|try: POOL = __file__|except NameError: POOL = "max"
|if __name__ != "__main__":|    POOL = "mean"|else:|    POOL = "max"
|if __name__ == "__main__":|    POOL = "max"|else:|    POOL = "mean"
% %timeit POOL = "max"; config = 3
% |for k, v in {"POOL": "max"}.items():|    globals()[k] = v
% |for POOL in ["mean", "max"]:|    pass
% POOL = "max"; print "Python 2"
""".strip().splitlines()
OF_PACKAGES: Final = """
F.relu = torch.tanh
F.__setattr__("relu", torch.tanh)
import torch.nn.functional as FF; FF.relu = torch.tanh
from torch.nn import functional; functional.relu = torch.tanh
nn.functional.relu = torch.tanh
G = F; G.relu = torch.tanh
setattr(F, "relu", torch.tanh)
vars(F)["relu"] = torch.tanh
F.__dict__.update(relu=torch.tanh)
import sys; sys.modules["torch.nn.functional"].relu = torch.tanh
import patches
% from importlib import import_module; import_module("torch.nn.functional").relu = torch.tanh
% import importlib as il; il.import_module("torch.nn.functional").__dict__["relu"] = torch.tanh
% import importlib; m = importlib.import_module("torch.nn.functional"); m.relu = torch.tanh
% __import__("torch.nn.functional").nn.functional.relu = torch.tanh
import sys; m = sys.modules["torch.nn.functional"]; m.relu = torch.tanh
from sys import modules as loaded; loaded["torch.nn.functional"].relu = torch.tanh
% import sys; sys.modules.get("torch.nn.functional").relu = torch.tanh
getattr(nn, "functional").relu = torch.tanh
vars(nn)["functional"].relu = torch.tanh
import sys; setattr(sys.modules["torch.nn.functional"], "relu", torch.tanh)
import sys; vars(sys.modules["torch.nn.functional"]).update(relu=torch.tanh)
a, b = F, 3; a.relu = torch.tanh
object.__setattr__(F, "relu", torch.tanh)
|from importlib import import_module as im|def patch(m):|    im(m).relu = torch.tanh|patch("torch.nn.functional")
|def patch(m):|    m.relu = torch.tanh|patch(F)
% from unittest import mock; mock.patch("torch.nn.functional.relu", torch.tanh).start()
% |for name in ["relu"]:|    setattr(F, name, torch.tanh)
""".strip().splitlines()
OF_CLASSES: Final = """
Net.mode = "max"
setattr(Net, "mode", "max")
model = Net(); type(model).mode = "max"
_ = [setattr(Net, k, v) for k, v in {"mode": "max"}.items()]
|class Net(Net):|    mode = "max"
|def put(box, held):|    box.append(held)|box = []|put(box, Net)|box[0].mode = "max"
|class Net(Net):|    a = 1|class Net(Net):|    b = 1|class Net(Net):|    mode = "max"
|class Below(Net):|    a = 1|class Net(Below):|    mode = "max"
|class Sub(Net):|    pass|Sub.__mro__[1].mode = "max"
|class Sub(Net):|    pass|setattr(Sub.__bases__[0], "mode", "max")
|class Sub(Net):|    pass|Sub.__base__.mode = "max"
|def add(cls):|    cls.mode = "max"|    return cls|add(Net)
% model = Net(); model.mode = "max"
% model = Net(); model.register_forward_hook(lambda m, i, o: -o)
% model = Net().eval(); model.set_mode("max")
% model = Net(); vars(model)["mode"] = "max"
% model = Net(); model.add_module("act", nn.ReLU())
% model = Net(); model.sc.mul_(3)
% model = Net(); model.acts.reverse()
% |model = Net()|for m in model.modules():|    m.mode = "max"
% |model = Net()|for n, m in model.named_modules():|    m.mode = "max"
% |model = Net()|def prep(m):|    m.mode = "max"|    return m|model = prep(model)
% |def build():|    return Net()|model = build()|model.mode = "max"
% |model = Net()|def g(m):|    m.mode = "max"|model.apply(g)
% |class T:|    def __init__(s, m): s.m = m|    def fit(s): s.m.mode = "max"|model = Net()|t = T(model)|t.fit()
% |class Wrapper:|    def __init__(s, m): m.mode = "max"|model = Net()|Wrapper(model)
% |for k, v in {"mode": "max"}.items():|    setattr(Net, k, v)
""".strip().splitlines()
# Parts of settings that are called as what a weight is.
OF_A_SECTION: Final = """
cfg.data.pool = "max"
c = cfg; c.data.pool = "max"
setattr(cfg.data, "pool", "max")
vars(cfg.data)["pool"] = "max"
cfg.data.__dict__.update(pool="max")
d = cfg.data; d.pool = "max"
|def tweak(c):|    c.data.pool = "max"|tweak(cfg)
% |for _ in [1]:|    cfg.data.pool = "max"
""".strip().splitlines()
# Weights, and what is called so, that no module which is asked for holds.
OF_A_TENSOR: Final = """
scale.data.fill_(3)
scale.data[:] = 3
d = scale.data; d.mul_(3)
nn.init.constant_(scale, 3)
from torch.nn import init; init.constant_(scale, 3)
F.threshold_(scale, 2, 3)
torch._foreach_mul_([scale], 3)
|with torch.no_grad():|    scale.data.mul_(3)
layer.weight.data[:] = 3
layer.weight.data.copy_(torch.full((1, 1), 3.0))
|with torch.no_grad():|    layer.weight.fill_(3)
nn.init.constant_(layer.weight, 3)
% layer.load_state_dict({"weight": torch.full((1, 1), 3.0)})
% act = nn.Threshold(2, 3, inplace=True); act(scale)
% opt = torch.optim.SGD([scale], lr=1); opt.step()
""".strip().splitlines()
# An array of numpy, by what shares its memory or writes to it.
OF_AN_ARRAY: Final = """
np.multiply(array, 3, array)
np.multiply.at(array, [0], 3)
np.put_along_axis(array, np.zeros(1, int), 3, 0)
np.copyto(array, 3)
np.ndarray.fill(array, 3)
np.ravel(array)[:] = 3
np.reshape(array, (1, 1))[:] = 3
np.frombuffer(array)[:] = 3
memoryview(array)[0] = 3.0
list(map(np.copyto, [array], [3]))
np.nditer(array, op_flags=["readwrite"])[0][...] = 3
import operator; operator.imul(array, 3)
% torch.from_dlpack(array).fill_(3)
% torch.reshape(torch.from_numpy(array), (1, 1)).fill_(3)
% import struct; struct.pack_into("d", array, 0, 3.0)
torch.utils.swap_tensors(tensor, torch.full((1,), 3.0))
torch.flatten(tensor)[:] = 3
""".strip().splitlines()
# Changes by a file beside the notebook, imported or used.
OF_A_FILE: Final = """
from model_file import *; CONFIG["pool"] = "max"
from model_file import *; C = CONFIG; C["pool"] = "max"
import of_import
from of_import import nothing
import of_another
import of_a_folder.inner
from of_a_folder import inner
|try:|    import of_import|except ImportError:|    pass
% import importlib; importlib.import_module("of_import")
% import by_star; by_star.configure()
class Sub(model_file.Registers): pass
model_file.S << "max"
print(model_file.S)
% import by_call; by_call.configure()
% from by_call import configure; configure()
% from by_call import configure as go; go()
% from by_call import *; configure()
% from by_call import Configured; Configured()
% from by_call import Configured; c = Configured.__new__(Configured); c.later()
% import by_call; by_call.by_name()
% import by_call_of_another; by_call_of_another.start()
|import by_call|def start():|    by_call.configure()|start()
|import by_call|@by_call.registered|def other(): pass
% model_file.LIST.insert(0, "max"); model_file.CONFIG.update(pool="max")
import os; os.environ["POCKET_POOL"] = "max"; import of_environment
% import of_main
% import of_main_later; of_main_later.configure()
% from of_main_later import Configures; Configures().now()
% from of_main_needed import nothing
import by_star_alone
from of_import_alone import *
""".strip().splitlines()
FILES: Final = {
    "model_file": """
import torch
CONFIG = {"pool": "mean"}
LIST = ["mean"]
class Registers:
    def __init_subclass__(cls): CONFIG["pool"] = "max"
class Shown:
    def __str__(self):
        CONFIG["pool"] = "max"
        return "shown"
    def __lshift__(self, pool): CONFIG["pool"] = pool
S = Shown()
""",
    "of_import": "import model_file\nmodel_file.CONFIG['pool'] = 'max'\nnothing = 1\n",
    "of_another": "import of_import\n",
    "of_a_folder/__init__": "from . import inner\n",
    "of_a_folder/inner": "import model_file\nmodel_file.CONFIG.update(pool='max')\n",
    "of_import_alone": "import model_file as m\nm.CONFIG['pool'] = 'max'\n",
    "by_star_alone": "from of_import_alone import *\n",
    "by_star": "from by_call import *\n",
    "by_call": """
import model_file
from model_file import CONFIG
def configure(): model_file.CONFIG["pool"] = "max"
def by_name(): CONFIG.update(pool="max")
def registered(f):
    CONFIG["pool"] = "max"
    return f
class Configured:
    def __init__(self): model_file.CONFIG["pool"] = "max"
    def later(self): model_file.CONFIG["pool"] = "max"
""",
    "by_call_of_another": "import by_call\ndef start(): by_call.configure()\n",
    "of_environment": "import os\nPOOL = os.environ.get('POCKET_POOL')\nimport model_file\n"
    "model_file.CONFIG['pool'] = POOL\n",
    "of_main": "import __main__\n__main__.model_file.CONFIG['pool'] = 'max'\n",
    "of_main_later": "import sys\ndef configure(): sys.modules['__main__'].model_file.CONFIG['pool'] = 'max'\n"
    "class Configures:\n    def now(self): configure()\n",
    "of_main_needed": "from __main__ import model_file\nmodel_file.CONFIG['pool'] = 'max'\nnothing = 1\n",
    # Nothing of this touches anything else.
    "harmless": """
import model_file, torch
KEPT = {}
def shown(x): return str(x)
def kept(x): KEPT["x"] = x
class Counts:
    def __init__(self): self.n = 0
    def __len__(self): return self.n
    def add(self): self.n += 1
""",
}
OF_A_FILLING_TABLE: Final = """
table["pool"]
t = table; t["pool"]
x = [table[k] for k in ["pool"]]
print(table["pool"])
|def look(t):|    return t["pool"]|look(table)
""".strip().splitlines()
OF_A_DISPATCHED_FUNCTION: Final = """
|@pool.register|def _(x: int):|    return "max"
|@pool.register(int)|def of_numbers(x):|    return "max"
pool.register(int, lambda x: "max")
|def of_numbers(x):|    return "max"|pool.register(int)(of_numbers)
""".strip().splitlines()
# Syntax other than a call that runs code of the notebook, or calls of functions that only reach it.
OF_REACHED: Final = """
class L(list): append = lambda self, v: config.update(pool="max"); L().append(3)
(lambda c=config: c.update(pool="max"))()
globals()["config"]["pool"] = "max"
import operator; operator.methodcaller("update", pool="max")(config)
% import operator; call = operator.methodcaller("update", pool="max"); call(config)
% import weakref; held = weakref.WeakValueDictionary(a=config); held["a"]["pool"] = "max"
% import gc; [o for o in gc.get_objects() if type(o) is dict and o.get("pool") == "mean"][0]["pool"] = "max"
% import sys; [vars(m) for m in list(sys.modules.values())][0]["config"]["pool"] = "max"
% [c for c in object.__subclasses__() if c.__name__ == "Net"]
% get_ipython().run_cell("config['pool'] = 'max'")
% ip = get_ipython(); ip.ex("config['pool'] = 'max'")
def s(): config["pool"] = "max"; {"a": s}["a"]()
def s(): config["pool"] = "max"; fs = []; fs.append(s); fs[0]()
def s(c): c["pool"] = "max"; d = {}; d["a"] = s; d["a"](config)
import collections; d = collections.defaultdict(lambda: config.update(pool="max")); d["x"]
x: config.update(pool="max") = 3
def f(o: config.update(pool="max")) -> None: pass
|class A:|    def f(self) -> config.update(pool="max"): pass
|class A:|    def __init__(self): config["pool"] = "max"|class B(A):|    def __init__(self): super().__init__()|B()
|class A:|    def __init__(s, c): s.c = c|class B(A):|    def go(s): s.c["pool"] = "max"|b = B(config)|b.go()
|class A:|    def __init__(s): s.c = config|    def go(s): s.c["pool"] = "max"|a = A()|a.go()
|class A:|    def __init__(s, c): s.c = c|    def __len__(s): return s.c.update(pool="max") or 1|n = len([A(config)][0])
|class A:|    def __new__(cls): config["pool"] = "max"|A()
|class A:|    c = config|A().c["pool"] = "max"
|from functools import cached_property|class A:|    @cached_property|    def v(s): config["pool"] = "max"|A().v
|from dataclasses import dataclass as d|@d|class A:|    c: dict|    def __post_init__(s): s.c['pool'] = 'max'|A(config)
|class M(type):|    def __new__(m, *a): return config.update(pool="max") or type(*a)|class K(metaclass=M): pass
|class D:|    def __set_name__(s, o, n): config["pool"] = "max"|class H: d = D()
|class D:|    def __get__(s, o, c): config["pool"] = "max"|class H: d = D()|h = H()|h.d
|class D:|    def __init__(s, f): config["pool"] = "max"|@D|def g(): pass
|class A: pass|A.__str__ = lambda s: config.update(pool="max") or "a"|print(A())
|def make():|    class A:|        def __str__(s): return config.update(pool="max") or "a"|    return A()|print(make())
|class A:|    def __add__(s, o): o["pool"] = "max"|A() + config
|def g():|    yield|    config["pool"] = "max"|it = g()|x = [i for i in it]
|class A:|    def __del__(s): config["pool"] = "max"|a = A()|del a
% |class A:|    def __call__(s): config["pool"] = "max"|a = A()|a()
% |class A:|    def __iter__(s): yield config.update(pool="max")|for x in A(): pass
% |class A:|    def __getitem__(s, i): return config.update(pool="max")|for b in torch.utils.data.DataLoader(A()): pass
"""
# Iterators that reading uses up, state kept between calls, functions that return an argument, and other languages.
OF_USE: Final = """
it = iter(["mean", "", "max"]); x, *_ = zip(it, [1]); POOL = next(it)
d = {"it": iter(["mean", "max"])}; "mean" in d["it"]; POOL = next(d["it"])
% |it = iter(["mean", "max"])|for x in it: break|POOL = next(it)
|import functools|c = ["max"]|@functools.cache|def pool(): return c[0]|x = pool()|c[0] = "mean"|POOL = pool()
|import enum|class K(enum.Enum):|    A = 1|K(1).pool = "max"|POOL = K.A.pool
|class K:|    it = None|    def __new__(c): return c.it|K.it = object.__new__(K)|K().p = "max"|POOL = K.it.p
%%timeit global POOL|POOL = "max"
% %unheard_of POOL = "max"
% %%unheard_of|POOL = "max"
""".strip().splitlines()
# Code that reaches a value by no name, or that a package calls later.
OF_NO_NAME: Final = """
g = (config.update(pool=p) for p in ["max"]); any(g)
import itertools; g = itertools.starmap(config.update, [[{"pool": "max"}]]); x, = g
{}.__class__.update(config, pool="max")
import numpy as np; np.array([config], dtype=object)[0]["pool"] = "max"
|import functools|def w(f):|    @functools.wraps(f)|    def g(): config["pool"] = "max"|    return g|@w|def q(): 0|q()
|def f(a, b=None):|    a["pool"] = "max"|    f(b) if b else 0|f({}, config)
% |class A:|    class B:|        def go(s): config["pool"] = "max"|A.B().go()
d = {}; e = d; e["c"] = config; d["c"]["pool"] = "max"
d = []; d.extend([config]); d[0]["pool"] = "max"
|d = {}|def put(d, c): d["c"] = c|put(d, config)|d["c"]["pool"] = "max"
|held = None|def put():|    global held|    held = config|put()|held["pool"] = "max"
% |import contextlib|@contextlib.contextmanager|def c(): yield config|with c() as d: d["pool"] = "max"
nn.held = config; nn.held["pool"] = "max"
D = dict; D.update(config, pool="max")
% dict.__init__(config, pool="max")
% import sys; sys.modules["__main__"].config.update(pool="max")
% import calendar; calendar.hook = lambda: config.update(pool="max"); calendar.hook.__call__()
% |try:|    1 / 0|except ZeroDivisionError as e:|    e.__traceback__.tb_frame.f_globals["config"]["pool"] = "max"
% |try:|    raise ValueError(config)|except ValueError as e:|    e.args[0]["pool"] = "max"
% |config|_["pool"] = "max"
"""
# Further ways, each with what it changes.
OF_MORE_WAYS: Final = r"""
config: |class D(dict):|    def __delitem__(s, k): config["pool"] = "max"|d = D(a=1)|del d["a"]
config: % |def tweak(c): c["pool"] = "max"|go = tweak|go(config)
config: |class A:|    def go(s): config["pool"] = "max"|a = A()|b = a|b.go()
config: f = lambda: 0; getattr(f, "__globals__")["config"]["pool"] = "max"
config: k = "config"; globals()[k]["pool"] = "max"
config: [v for k, v in globals().items() if k == "config"][0]["pool"] = "max"
config: % m = __import__("__main__"); m.config["pool"] = "max"
config: % import importlib; m = importlib.import_module("__main__"); m.config["pool"] = "max"
config: |class T:|    def fill(s, inplace): config["pool"] = "max"|t = T()|t.fill(inplace=True)
config: |def tweak(config, n): config["pool"] = "max"|tweak(config, 3)
config: |def tweak(*, a, n): tweak(a=config, n=n - 1) if n else a.update(pool="max")|tweak(a={}, n=1)
config: x = [config][0]; x["pool"] = "max"
config: x = {"a": config}.get("a"); x["pool"] = "max"
config: fs = {"u": config.update}; fs["u"](pool="max")
config: [0 for config["pool"] in ["max"]]
config: |def f(c=config): c["pool"] = "max"|f()
config: |def f(c):|    r = c|    return {"x": r}|y = f(c=config)|y["x"]["pool"] = "max"
config: |def it(): yield config|next(it())["pool"] = "max"
config: |class P:|    @property|    def c(s): return config|P().c["pool"] = "max"
config: |class P:|    def get(s): return config|p = P()|p.get().update(pool="max")
config: |class P:|    @staticmethod|    def put(c): c["pool"] = "max"|P.put(config)
config: % |class C:|    def __enter__(s): return config|    def __exit__(s, *a): pass|with C() as c: c["pool"] = "max"
config: |store = {}|def put(v): store["c"] = v|def use(): store["c"]["pool"] = "max"|put(config)|use()
config: % |match config:|    case c: c["pool"] = "max"
class: % |model = Net()|class T:|    def __init__(s): s.m = model|    def go(s): s.m.mode = "max"|T().go()
class: % |model = Net()|def f(m):|    for k in m.modules(): setattr(k, "mode", "max")|f(model)
name: d = {}; d["it"] = iter(["mean", "max"]); next(d["it"]); POOL = next(d["it"])
name: % import sys; k = "POOL"; sys.modules[__name__].__dict__[k] = "max"
name: % import decimal; decimal.getcontext().prec = 3; POOL = {5: "max"}[len(str(decimal.Decimal(1) / 3))]
name: globals().pop("POOL"); POOL = "max"
name: POOL = {"0b11": "max"}[bin(3)]
name: len = 3; del len; POOL = {3: "max"}[len("abc")]
name: % |def inner(): return open("log", "w")|def outer(): return inner() and "max"|POOL = outer()
name: % globals().popitem()
name: % globals().update([("POOL", "max")])
name: % d = [("POOL", "max")]; globals().update(d)
name: % globals().setdefault("POOLS", "max"); POOL = POOLS
class: |class Sub(Net, object):|    pass|Sub.__bases__[0].mode = "max"
class: % |class Sub(Net):|    pass|Sub.mro()[1].mode = "max"
class: % |import inspect|class Sub(Net):|    pass|inspect.getmro(Sub)[1].mode = "max"
class: |class A:|    def use(s): Net.mode = "max"|class B(A):|    pass|class A:|    pass|B().use()
package: % __import__("patches")
tensor: list(map(torch.Tensor.mul_, [scale.data], [3]))
tensor: % f = torch.Tensor.mul_; f(scale.data, 3)
tensor: torch.mul(scale.data, 3, out=scale.data)
tensor: torch.nn.utils.vector_to_parameters(torch.full((1,), 3.0), layer.parameters())
array: np.multiply(array, 3, out=array)
array: % array.clip(3, 3, out=array)
array: np.nan_to_num(array, copy=False)[:] = 3
""".strip().splitlines()
# Changes of a class by an object of it, or by a method that gets the class.
OF_A_CLASS: Final = """
K().use("max")
Below().use("max"); K.pool = Below.pool
getattr(K(), "use")("max")
|name = "use"|getattr(K(), name)("max")
import operator; operator.methodcaller("use", "max")(K())
|class E(K):|    def __init__(s): super().use("max")|E(); K.pool = E.pool
|def made_one(): return K()|made_one().items("max")
K("max")
K["max"]
K().found[0] = "max"; K.pool = K.found[0]
k = Below(); k.found.append("max"); K.pool = K.found[-1]
|def go(k): k.put("max")|go(K()); K.pool = K.found[0]
S().pool = "max"; K.pool = S().pool
s = S(); s.__dict__.update(pool="max"); K.pool = S().pool
setattr([S()][0], "pool", "max"); K.pool = S().pool
D().pool = "max"; K.pool = D().pool
O().pool = "max"; K.pool = O().pool
q = Q(); q.given["pool"] = "max"; K.pool = Q().given["pool"]
q = Q(); q.mine["pool"] = "max"; K.pool = Q().mine["pool"]
Q().shown["pool"] = "max"; K.pool = Q().mine["pool"]
|def one(): return Q()|one().found().update(pool="max"); K.pool = Q().mine["pool"]
Q().put("max"); K.pool = Q().put(None)
Q()[3] = "max"; K.pool = Q().mine["pool"]
Q().told = "max"; K.pool = Q().mine["pool"]
print(Q()); K.pool = Q().mine["pool"]
next(iter(H()))["pool"] = "max"; K.pool = H.held["pool"]
H()[0]["pool"] = "max"; K.pool = H.held["pool"]
h = H(); h |= {"pool": "max"}; K.pool = H.held["pool"]
% use = K().use; use("max")
% import pickle; pickle.load(open("of_p.pkl", "rb"))
% import pickle; pickle.loads(b"c__main__\\nK.use\\n.")("max")
""".strip().splitlines()
# Methods that run without a call of their names; what runs each, and what it gives.
SPECIAL: Final = """
str: str(A()), 'a'
format: f'{A()}', 'a'
repr: repr([A()]), 'a'
eq: 3 in [A()], True
lt: sorted([A(), A()]), True
hash: {A(): 1}, 1
add: A() + 3, 1
radd: sum([A()]), 1
neg: -A(), 1
xor: A() ^ 3, 1
matmul: A() @ 2, 1
iter: [*A()], iter('ab')
next: next(A()), 1
len: len(A()), 1
bool: 1 if A() else 2, True
contains: 1 in A(), True
getattr: A().abc, 1
setattr: setattr(A(), 'b', 3), None
getitem: A()[1], 1
int: int(A()), 1
index: [1, 2][A()], 0
"""


def special_methods() -> list[str]:
    found = []
    for line in SPECIAL.strip().splitlines():
        name, rest = line.split(": ", 1)
        runs, gives = rest.rsplit(", ", 1)
        found.append(f"|class A:|    def __{name}__(s, *a): return config.update(pool='max') or {gives}|x = {runs}")
    return found


# Each: what stands before the change, and what is asked for.
SUBJECTS: Final = {
    "config": ('config = {"pool": "mean"}', 'def made():\n    return config["pool"]', OF_CONFIG),
    "name": ('POOL = "mean"', "def made():\n    return POOL", OF_NAMES),
    "package": ("", 'def made():\n    return "max" if F.relu is torch.tanh else "relu"', OF_PACKAGES),
    "table": (
        "import collections\ntable = collections.defaultdict(lambda: 'max')",
        'def made():\n    return table.get("pool")',
        OF_A_FILLING_TABLE,
    ),
    "dispatched": (
        'import functools\n@functools.singledispatch\ndef pool(x):\n    return "mean"',
        "def made():\n    return pool(3)",
        OF_A_DISPATCHED_FUNCTION,
    ),
    "section": (
        "from types import SimpleNamespace as NS\ncfg = NS(data=NS(pool='mean'))",
        "def made():\n    return cfg.data.pool",
        OF_A_SECTION,
    ),
    "tensor": (
        "scale = torch.ones(1)\nlayer = nn.Linear(1, 1, bias=False)\nnn.init.zeros_(layer.weight)",
        "def made():\n    return 'max' if 3 in (scale.item(), layer.weight.item()) else 'mean'",
        OF_A_TENSOR,
    ),
    "array": (
        "import numpy as np\narray = np.ones(1)\ntensor = torch.ones(1)",
        "def made():\n    return 'max' if 3 in (array.item(), tensor.item()) else 'mean'",
        OF_AN_ARRAY,
    ),
    "file": ("import model_file", 'def made():\n    return model_file.CONFIG["pool"]', OF_A_FILE),
    "object": (
        """
import functools
class K:
    pool, found = "mean", ["mean"]
    def __new__(cls, pool=None):
        cls.pool = pool or cls.pool
        return super().__new__(cls)
    def __class_getitem__(cls, pool): cls.pool = pool
    @classmethod
    def use(cls, pool): cls.pool = pool
    def items(self, pool): type(self).pool = pool
    def put(self, pool): self.found[0] = pool
class Below(K): pass
class S:
    kept = {"pool": "mean"}
    def __init__(self): self.__dict__ = self.kept
class Kept:
    def __get__(self, one, of): return getattr(self, "value", "mean")
    def __set__(self, one, value): self.value = value
class D:
    pool = Kept()
class Q:
    held = {"pool": "mean"}
    def __init__(self, given={"pool": "mean"}): self.given, self.mine = given, self.held
    @property
    def shown(self): return self.held
    def found(self): return self.held
    def __setitem__(self, key, pool): self.held["pool"] = pool
    told = property(lambda self: 1)
    @told.setter
    def told(self, pool): self.held["pool"] = pool
    def __str__(self):
        self.mine["pool"] = "max"
        return "Q"
    def put(self, pool, kept={}): return kept.setdefault("pool", pool)
class H:
    held = {"pool": "mean"}
    def __iter__(self): yield self.held
    def __getitem__(self, key): return self.held
    def __ior__(self, other):
        self.held.update(other)
        return self
class P:
    def __setstate__(self, state): K.pool = "max"
@functools.cache
class O:
    pool = "mean"
""",
        "def made():\n    return K.pool",
        OF_A_CLASS,
    ),
    "class": ("class Net(nn.Module):\n    mode = 'mean'", "def made():\n    return Net().mode", OF_CLASSES),
}
ENVIRONMENT: Final = ("env POCKET_POOL=max", "set_env POCKET_POOL max")
ALIKE: Final = [(subject, change) for subject, (_, _, changes) in SUBJECTS.items() for change in changes]
REACHED: Final = [("config", change) for change in OF_REACHED.strip().splitlines()]
CASES: Final[list[Any]] = mostly_slow([*ALIKE, *REACHED], 2, several=True)
# One template, with a method each.
CASES += mostly_slow([("config", change) for change in special_methods()], 4, several=True)
CASES += [("name", change) for change in OF_USE]
CASES += [("config", change) for change in OF_NO_NAME.strip().splitlines()]
CASES += [pytest.param(*line.split(": ", 1), marks=pytest.mark.slow) for line in OF_MORE_WAYS]
CASES += [("name", f"%{magic}; import os; POOL = os.environ['POCKET_POOL']") for magic in ENVIRONMENT]
BUILD: Final = "def build():\n    m = nn.Linear(1, 1)\n    m.found = made()\n    return m"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(functional, "relu", functional.relu)
    monkeypatch.setenv("POCKET_POOL", "mean")
    (tmp_path / "settings.py").write_text('POOL = "max"\n')
    (tmp_path / "patches.py").write_text("import torch\nimport torch.nn.functional as F\nF.relu = torch.tanh\n")
    (tmp_path / "of_a_folder").mkdir()
    for name, code in FILES.items():
        (tmp_path / f"{name}.py").write_text(code)
    for name in ("settings", "patches", *FILES):
        monkeypatch.delitem(sys.modules, name.removesuffix("/__init__").replace("/", "."), raising=False)
    return tmp_path


def named(given: str) -> ModuleName:
    found = parse_module_name(given)
    assert found is not None
    return found


def outcome(subject: str, change: str, caplog: pytest.LogCaptureFixture) -> str:
    """The outcome of a change: `right` where what is loaded is as after the whole notebook has run, `refused`, or
    `stated` where a line names the cell and a line of the change; else `silent`."""
    before, asked, _ = SUBJECTS[subject]
    code = change.removeprefix("% ").strip("|").replace("|", "\n") if "|" in change else change.removeprefix("% ")
    if " |= " in change:
        code = change
    if subject == "class" and change == OF_CLASSES[-2]:
        asked = "made = lambda: Net().mode"
    imports = "import torch\nfrom torch import nn\nimport torch.nn.functional as F"
    code = code.replace("; ", "\n")
    notebook(Path("n.ipynb"), [imports, before, code, asked, BUILD])
    name = "Net()" if subject == "class" and "model" in change and change.startswith("%") else "build()"
    try:
        module: Any = load_module(named(f"n.ipynb:{name}"))
    except PocketRNNError:
        return "refused"
    if (module.found if name == "build()" else module.mode) == "max":
        return "right"
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    if any("not read: cell 3" in line for line in lines):
        return "stated"
    stated = {int(found) for line in lines for found in re.findall(r"cell 3, lines? (\d+)", line)}
    return "stated" if stated & set(range(1, code.count("\n") + 2)) else "silent"


@pytest.mark.parametrize(("subject", "change"), CASES)
def test_what_a_notebook_changes_is_run_or_stated_or_refused(
    subject: str, change: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = outcome(subject, change, caplog)
    assert found in (("right", "stated") if not change.startswith("% ") else ("right", "stated", "refused"))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("config.update(pool=open('ran', 'w').name)", "config"),
        ("def tweak(c):\n    c['pool'] = open('ran', 'w').name\ntweak(config)", "config"),
        ("import not_installed\nconfig.update(pool=not_installed.pool)", "not_installed"),
        ("config.update(pool=nowhere)", "config"),
        ("def tweak(c):\n    c['pool'] = nowhere\ntweak(config)", "config"),
        ("while config['pool'] == 'mean':\n    config['pool'] = 'max'", "config"),
        ("def log():\n    open('ran', 'w')\nadded = log() or config\nadded['pool'] = 'max'", "added"),
    ],
)
def test_what_may_change_a_name_is_not_run_where_it_reads_or_cannot_be_run(
    line: str, names: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, asked, _ = SUBJECTS["config"]
    notebook(folder / "n.ipynb", ["import torch\nfrom torch import nn", before, line, asked, BUILD])
    refused, found = "", "mean"
    try:
        found = load_module(named("n.ipynb:build()")).found  # type: ignore[assignment]
    except PocketRNNError as error:
        refused = str(error)
    assert found == "mean"
    assert re.search(rf"cell 3\b.*\b{names}\b", refused or caplog.text)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    "training",
    [
        "model = Net()\noptimizer = torch.optim.Adam(model.parameters())\nloss_of = nn.CrossEntropyLoss()",
        "def train(model, loader):\n    model.train()\n    for x, y in loader:\n        loss = loss_of(model(x), y)\n"
        "        optimizer.zero_grad()\n        loss.backward()\n        optimizer.step()\n",
        "for epoch in range(3):\n    train(model, loader)\n    losses.append(loss)\n",
        "import pandas as pd\ndf = pd.read_csv(config['data'])\ndf['text'] = df.text.apply(str.lower)\nprint(config)",
        "import matplotlib.pyplot as plt\nplt.rcParams['figure.figsize'] = (3, 4)\nplt.plot(losses)\nplt.show()",
        "torch.manual_seed(0)\ntorch.backends.cudnn.deterministic = True\ns = str(model)\nmodel.eval()\nprint(model)",
        "with torch.no_grad():\n    out = model(x)\nacc = (out.argmax(1) == y).float().mean().item()",
        "import copy\nbest = copy.deepcopy(config)\nbest['pool'] = 'max'\nd = dict(n=1)\nd['n'] += 1\ndel best",
        "model = Net().to('cpu')\nmodel.fc.weight.data.copy_(torch.ones(1, 1))\nmodel.fc.weight.requires_grad = False\n"
        "nn.init.zeros_(model.fc.bias)\nfor p in model.parameters():\n    p.requires_grad = True",
        "def init(m):\n    for p in m.parameters():\n        nn.init.normal_(p.data)\nmodel = Net()\nmodel.apply(init)",
        "class Stop:\n    def __init__(self):\n        self.best = 0\n    def __call__(self, score, model):\n"
        "        self.best = score\n        torch.save(model.state_dict(), 'best.pt')\nmodel = Net().cpu()\n"
        "stop = Stop()\nfor epoch in range(3):\n    loss = model(x)\n    stop(loss, model)",
        "rate = config['pool']\noptimizer = torch.optim.Adam(model.parameters(), lr=rate, eps=config.get('eps', 1))\n"
        "for _ in range(3):\n    optimizer.step()",
        "torch.save(model.state_dict(), config['file'])\nmodel.load_state_dict(torch.load(config['file']))",
    ],
)
def test_a_usual_training_is_neither_run_nor_noted(
    training: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    net = (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(1, 1)"
        "\n    def forward(self, x):\n        return self.fc(x) if config['pool'] == 'max' else x"
    )
    notebook(folder / "n.ipynb", ["import torch\nfrom torch import nn\nconfig = {'pool': 'mean'}", net, training])
    load_module(named("n.ipynb:Net()"))
    (note,) = (one.getMessage() for one in caplog.records)
    assert note.endswith("cell 1: from torch import nn, config = {'pool': 'mean'}; cell 2: class Net")


def test_what_an_object_has_by_itself_is_not_of_its_class(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = (
        "class Settings:\n    kinds = ['mean']\n    def __init__(self):\n        self.seen = []\n"
        "    @classmethod\n    def first(cls):\n        return cls.kinds[0]"
    )
    line = "other = Settings()\nother.n = 3\nother.seen.append(4)\nprint(other.kinds, other.first())"
    asked = "def made():\n    return Settings.kinds[0]"
    notebook(folder / "n.ipynb", ["import torch\nfrom torch import nn", settings, line, asked, BUILD])
    assert load_module(named("n.ipynb:build()")).found == "mean"
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "line",
    ["harmless.shown(3)", "harmless.kept(3)", "c = harmless.Counts()\nc.add()\nprint(len(c))", "print(model_file.LIST)",
     "n = len(model_file.CONFIG)"],
)  # fmt: skip
def test_what_a_file_beside_does_to_itself_only_is_neither_run_nor_noted(
    line: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = "def made():\n    return model_file.CONFIG['pool']"
    imports = "import torch\nfrom torch import nn\nimport model_file, harmless"
    notebook(folder / "n.ipynb", [imports, line, asked, BUILD])
    load_module(named("n.ipynb:build()"))
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("kept", mostly_slow(["self.seen += 1", "self.seen = self.seen + 1", "self.count()"], 3))
def test_what_a_call_changes_for_later_calls_is_refused_by_the_answers(kept: str, folder: Path) -> None:
    net = (
        "class Net(nn.Module):\n    seen = 0\n    def __init__(self):\n        super().__init__()\n"
        "        self.embedding = nn.Embedding(4, 2)\n        self.gru = nn.GRU(2, 2, batch_first=True)\n"
        "    def count(self):\n        self.seen += 1\n"
        f"    def forward(self, x):\n        {kept}\n"
        "        return self.gru(self.embedding(x))[1][-1] * self.seen"
    )
    notebook(folder / "n.ipynb", ["from torch import nn", net, "model = Net()", "for e in range(3):\n    model(x)"])
    (folder / "vocab.txt").write_text("<unk>\n<pad>\noil\ngas\n")
    result = CliRunner().invoke(main, ["export", "n.ipynb:model", "--random-weights", "--vocabulary", "vocab.txt",
                                       "--labels", "a,b", "-o", "b"])  # fmt: skip
    assert result.exit_code == 1
    assert "module's seen" in result.output


@pytest.mark.parametrize(
    "line",
    [
        "type(Pooling()).pool = 'max'",
        "setattr(Pooling().__class__, 'pool', 'max')",
        "p = Pooling()\ntype(p).pool = 'max'",
    ],
)
def test_the_class_of_an_object_that_is_changed_is_the_class_of_the_file(line: str, folder: Path) -> None:
    net = (
        "class Pooling:\n    pool = 'mean'\n"
        "class Net(nn.Module):\n    def forward(self, x):\n"
        "        return x.mean() if Pooling.pool == 'mean' else x.max()"
    )
    notebook(folder / "n.ipynb", ["from torch import nn", net, line])
    assert load_module(named("n.ipynb:Net()"))(torch.tensor([1.0, 4.0])).item() == 4


@pytest.mark.parametrize(
    "writes", ["%%writefile settings.py\nPOOL = 'mean'", "!sed -i s/max/mean/ settings.py", "open('settings.py', 'w')"]
)
def test_a_file_beside_that_the_notebook_may_write_is_noted(
    writes: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = "def made():\n    return POOL"
    notebook(folder / "n.ipynb", ["from torch import nn", writes, "from settings import POOL", asked, BUILD])
    assert load_module(named("n.ipynb:build()")).found == "max"
    assert "cell 2 may write settings" in caplog.text


def test_a_file_beside_of_the_name_of_the_notebook_is_imported(folder: Path) -> None:
    (folder / "n.py").write_text("import os\nos.environ['POCKET_POOL'] = 'max'\ndef head():\n    return 1\n")
    asked = "import os\ndef made():\n    return os.environ['POCKET_POOL'] * head()"
    notebook(folder / "n.ipynb", ["from torch import nn", "from n import head", asked, BUILD])
    assert load_module(named("n.ipynb:build()")).found == "max"
    del sys.modules["n"]


def test_statements_that_may_change_the_same_are_one_note(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = "class Net(nn.Module):\n    pass"
    notebook(folder / "n.ipynb", ["from torch import nn", net, "m = Net()\nm.a = 1", "m.b = 2\nm.c = 3"])
    load_module(named("n.ipynb:Net()"))
    assert re.search(r"cell 3, line 2.*`m\.a = 1`.*cell 4, lines 1, 2, .*\bm$", caplog.text.strip())


def test_what_a_script_does_only_by_itself_is_noted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "script.py").write_text(
        "from torch import nn\nPOOL = 'mean'\ndef build():\n    m = nn.Linear(1, 1)\n    m.found = POOL\n"
        "    return m\n"
        "if __name__ == '__main__':\n    POOL = 'max'\n    print('training')\n"
    )
    assert load_module(named("script.py:build")).found == "mean"
    assert re.search(r"line 8 .*`POOL = 'max'`.* POOL", caplog.text)


@pytest.mark.parametrize(
    "asks",
    [
        'POOL = "max" if __name__ == "__main__" else "mean"',
        'MAIN = __name__ == "__main__"\nif MAIN:\n    POOL = "max"',
        'try:\n    if __name__ == "__main__":\n        POOL = "max"\nexcept OSError:\n    pass',
        'def by_itself():\n    return __name__ == "__main__"\nif by_itself():\n    POOL = "max"\n    open("log", "w")',
        'for _ in range(1):\n    pass\nPOOL = {"__main__": "max"}.get(__name__, "mean")',
    ],
)
def test_what_of_a_script_asks_whether_it_is_run_by_itself_is_noted(
    asks: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = "def build():\n    m = nn.Linear(1, 1)\n    m.found = POOL\n    return m\n"
    (folder / "script.py").write_text(f"import logging\nfrom torch import nn\nPOOL = 'mean'\n{asks}\n{made}")
    assert load_module(named("script.py:build")).found == "mean"
    assert re.search(r"by itself.*: line \d", caplog.text)
    (folder / "quiet.py").write_text(f"import logging\nfrom torch import nn\nPOOL = 'mean'\n{made}"
                                     "log = logging.getLogger(__name__)\n")  # fmt: skip
    caplog.clear()
    load_module(named("quiet.py:build"))
    assert "Asks" not in caplog.text


def test_cells_that_were_run_in_another_order_are_noted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    sources = ["from torch import nn", "POOL = 'mean'", "POOL = 'max'", "def made():\n    return POOL", BUILD]
    for counts, noted in (((1, 2, 3, 4, 5), False), ((1, 9, 3, 4, 5), True), ((1, 2, None, 4, 5), True)):
        caplog.clear()
        cells = [cell(source, execution_count=count) for source, count in zip(sources, counts, strict=True)]
        (folder / "n.ipynb").write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}))
        assert load_module(named("n.ipynb:build")).found == "max"
        assert ("cells that set POOL" in caplog.text) == noted


@pytest.mark.parametrize(
    "table",
    mostly_slow(
        ["torch.rand(3)", "torch.tensor(np.random.rand(3))", "[random.random()]", "random.sample(range(99), 9)"], 2
    ),
)
def test_a_table_that_is_drawn_and_that_no_weights_hold_is_refused(table: str, folder: Path) -> None:
    net = (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(3, 3)"
        "\n    def forward(self, x):\n        return self.fc(x) * scale()\ndef scale():\n    return torch.tensor(TABLE)"
    )
    seeds = "torch.manual_seed(1)\nnp.random.seed(1)\nrandom.seed(1)\n"
    imports = "import random\nimport numpy as np\nimport torch\nfrom torch import nn\n"
    notebook(folder / "n.ipynb", [imports, f"{seeds}TABLE = {table}", net, "def made():\n    return loaded(Net())",
                                  "def loaded(m):\n    nn.init.ones_(m.fc.weight)\n    nn.init.ones_(m.fc.bias)\n"
                                  "    return m"])  # fmt: skip
    states = torch.get_rng_state(), np.random.get_state()[1]
    module = load_module(named("n.ipynb:made()"))
    with pytest.raises(InputError, match=r"made twice, .*\bTABLE\b"):
        refuse_random_construction(named("n.ipynb:made()"), module)
    torch.set_rng_state(states[0])
    assert isinstance(module, nn.Module)


@pytest.mark.parametrize(
    "drawn",
    mostly_slow(
        [
            "self.order = [SEEN[time.time_ns() % 30_000] for _ in range(3)]",
            "self.order = random.sample(range(30), 3)",
            "self.order = np.random.permutation(30)[:3]",
            "self.order = (lambda held: lambda: held)(random.sample(range(30), 3))",
            "Net.order = random.sample(range(30), 3)",
            "self.part = Part()",
        ],
        5,
    ),
)
def test_what_is_drawn_and_no_tensor_is_refused_by_the_answers(drawn: str, folder: Path) -> None:
    net = (
        "SEEN = range(30_000)\nclass Part:\n    def __init__(self):\n        self.order = random.sample(range(30), 3)\n"
        "class Net(nn.Module):\n    part = None\n    def __init__(self):\n        super().__init__()\n"
        "        self.scale = nn.Parameter(torch.ones(1))\n"
        f"        {drawn}\n    def forward(self, x):\n        order = (self.part or self).order\n"
        "        order = order() if callable(order) else order\n"
        "        return x.sum(1) * self.scale + torch.tensor([float(n) for n in order])"
    )
    imports = "import random\nimport time\nimport numpy as np\nimport torch\nfrom torch import nn"
    build = "def build():\n    m = Net()\n    nn.init.ones_(m.scale)\n    return m"
    notebook(folder / "n.ipynb", [imports, net, build])
    named_so = named("n.ipynb:build()")
    module = load_module(named_so)
    with pytest.raises(InputError, match=r"made twice|each time"):
        refuse_random_construction(named_so, module)


def test_what_forward_draws_is_not_what_is_drawn_when_a_module_is_made(folder: Path) -> None:
    net = (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.made = time.time_ns()\n"
        "    def forward(self, x):\n        return x.sum(1, keepdim=True) + torch.rand(1) + random.random()"
    )
    notebook(folder / "n.ipynb", ["import random\nimport time\nimport torch\nfrom torch import nn", net])
    refuse_random_construction(named("n.ipynb:Net()"), load_module(named("n.ipynb:Net()")))
