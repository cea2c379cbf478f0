"""The lines of answering code that split a text: handlers, methods, loops, cells and scripts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

import pytest
from module_sources import run_source
from slow_case_sampling import mostly_slow

from pocketrnn.text import TextRules
from pocketrnn_export.source_code.class_definitions import find_class_meant_by_name
from pocketrnn_export.source_code.functions_that_answer_or_split import computes_prediction_for_text
from pocketrnn_export.source_code.ids_passed_to_module import passes_ids_neither_padded_nor_cut
from pocketrnn_export.source_code.splitting_function_from_answering_code import write_skeleton_of_tokenizer_function
from pocketrnn_export.source_code.splitting_part_of_function import write_tokenizer_of_function
from pocketrnn_export.vocabularies.owner_function_call import find_how_to_call_owner_function
from pocketrnn_export.vocabularies.rules_from_code import read_rules_in_code
from pocketrnn_export.vocabularies.text_rule_selection import choose_rules
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

CODE: Final = {
    "service": """
import re
class Service:
    punct = "!?."
    def __init__(self, model_path, vocab, max_len=5):
        self.vocab = vocab
        self.max_len = max_len
        self.stop = {"the", "a"}
    def clean(self, text):
        for p in self.punct:
            text = text.replace(p, " ")
        return text.lower()
    def preprocess(self, text):
        words = [w for w in self.clean(text).split() if w not in self.stop]
        return words[: self.max_len]
    def predict(self, text):
        tokens = self.preprocess(text)
        ids = []
        for t in tokens:
            if t in self.vocab:
                ids.append(self.vocab[t])
            else:
                ids.append(self.vocab["<unk>"])
        while len(ids) < self.max_len:
            ids.append(0)
        with torch.no_grad():
            out = self.model(torch.tensor([ids]))
        return out.argmax(1).item()
""",
    "fastapi_dict": """
@app.post("/p")
async def predict(payload: dict):
    text = payload["text"].strip()
    words = text.lower().split()
    seq = list(map(lambda w: word2idx.get(w, 1), words))
    return {"label": int(model(torch.tensor([seq])).argmax())}
""",
    "lambda": """
import json
def handler(event, context):
    body = json.loads(event["body"])
    text = body["text"]
    toks = text.lower().split(" ")
    x = [vocab.get(t, vocab["<unk>"]) for t in toks[:10]]
    return {"l": net(x)}
""",
    "streamlit": """
import streamlit as st
import re
def main():
    st.title("x")
    review = st.text_area("Your review")
    if st.button("Predict"):
        if review:
            t = re.sub("[^a-z ]", "", review.lower())
            ids = [vocab[w] if w in vocab else vocab["<unk>"] for w in t.split()]
            st.write(model(torch.tensor(ids)))
        else:
            st.write("no")
""",
    "toplevel": """
import re
vocab = load()
stop = {"the"}
stop.update({"a"})
text = input("Text: ")
words = [w for w in text.split() if w not in stop]
ids = [vocab.get(w, 0) for w in words]
print(model(torch.tensor([ids])).argmax())
""",
    "const": """
def clean(t):
    return t.lower()
sentence = "I like it"
x = clean(sentence).split()
for i, w in enumerate(x):
    arr[0][i] = word_to_index[w]
print(model(arr))
""",
    "torchtext": """
tokenizer = str.split
text_pipeline = lambda x: vocab(tokenizer(x))
def predict(text, text_pipeline):
    with torch.no_grad():
        text = torch.tensor(text_pipeline(text))
        return model(text).argmax(1).item()
""",
    "spacyparam": """
tok = str.split
def predict_sentiment(text, model, tokenizer, vocab, device):
    tokens = tokenizer(text)
    ids = vocab.lookup_indices(tokens)
    return model(torch.LongTensor(ids)).softmax(-1)
tokenizer = tok
predict_sentiment("a film", model, tokenizer, vocab, device)
""",
    "nested": """
def classify(text):
    def tok(t, lower=False):
        return (t.lower() if lower else t).split()
    ids = []
    for sent in text.split("."):
        for w in tok(sent, lower=True):
            ids.append(w2i.get(w, w2i["UNK"]))
    return clf(ids)
""",
    "trycatch": """
def classify(text):
    ids = [2]
    for w in text.split():
        try:
            ids.append(w2i[w])
        except KeyError:
            ids.append(0)
        if len(ids) >= 3: break
    ids = ids[:10]
    return clf(ids)
""",
    "idx": """
def classify(text):
    tokens = text.split()
    ids = np.zeros(10)
    for i in range(min(10, len(tokens))):
        ids[i] = w2i.get(tokens[i], 0)
    return clf(ids)
""",
    "list": """
def classify(texts):
    seqs = [[w2i.get(w, 0) for w in t.split()] for t in texts]
    return clf(seqs)
""",
    "list2": """
def encode(t):
    return [w2i.get(w, 0) for w in t.split()]
def classify(texts):
    seqs = [encode(t) for t in texts]
    return clf(seqs)
""",
    "slang": """
slang = {"u": "you"}
def classify(text):
    words = [slang.get(w, w) for w in text.split()]
    words = [slang[w] if w in slang else w for w in words]
    ids = [w2i.get(w, 0) for w in words]
    return clf(ids)
""",
    "argparse": """
import argparse
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--text")
    args = parser.parse_args()
    ids = [w2i.get(w, 0) for w in args.text.lower().split()]
    print(clf(ids))
""",
    "tk": """
def on_click():
    text = entry.get("1.0", "end-1c")
    ids = [w2i.get(w, 0) for w in text.split()]
    label.config(text=clf(ids))
""",
    "while": """
while True:
    s = input("> ")
    if s == "quit":
        break
    ids = [w2i.get(w, 0) for w in s.split()]
    print(clf(ids))
""",
    "django": """
def predict(request):
    if request.method == "POST":
        text = request.POST.get("text")
        ids = [w2i.get(w, 0) for w in text.split()]
        return render(clf(ids))
""",
    "kw": """
def encode(vocab, text=None, n=2):
    return [vocab[w] for w in text.split()[:n]]
def predict(text):
    return model(encode(vocab, text=text, n=3))
""",
}


@pytest.mark.parametrize(
    ("kind", "name", "words", "changes"),
    [
        ("service", "Service.predict", "good u film b", 1),
        ("fastapi_dict", "predict", "the good u. film a b", 0),
        ("lambda", "handler", "the good u. film a b", 0),
        ("streamlit", "main", "the good u film a b", 0),
        ("toplevel", "", "The good u. film b", 0),
        ("const", "", "the good u. film a b", 0),
        ("torchtext", "predict", "The good u. film a b", 0),
        ("spacyparam", "predict_sentiment", "The good u. film a b", 0),
        ("nested", "classify", "the good u film a b", 0),
        ("trycatch", "classify", "The good u.", 2),
        ("idx", "classify", "The good u. film a b", 0),
        ("list", "classify", "The good u. film a b", 0),
        ("list2", "classify", "The good u. film a b", 0),
        ("slang", "classify", "The good u. film a b", 0),
        ("argparse", "main", "the good u. film a b", 0),
        ("tk", "on_click", "The good u. film a b", 0),
        ("while", "", "The good u. film a b", 0),
        ("django", "predict", "The good u. film a b", 0),
        ("kw", "predict", "The good u.", 0),
    ],
)
def test_the_lines_of_answering_code_that_split_a_text_become_a_function(
    kind: str, name: str, words: str, changes: int, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(CODE[kind])
    written = write_tokenizer_of_function(tmp_path / "a.py", name)
    assert written is not None
    assert run_source(written.code)["words"]("The good u. film a b") == words.split()
    assert len(written.later_changes) == changes
    assert not name or computes_prediction_for_text(tmp_path / "a.py", name)


@pytest.mark.parametrize(
    ("lines", "tokens"),
    [
        ("[v.get(c, 0) for c in t]", "A b"),
        ("[v[c.lower()] for c in t]", "a b"),
        ("[v[c] for c in t if c in v]", "A b"),
        ("[v[c] for _, c in enumerate(t)]", "A b"),
        ("[v[t[i]] for i in range(len(t))]", "A b"),
        ("[v[c] for c in reversed(t)]", "b A"),
        ("[v[c] for c in clean(t)]", "a b"),
        ("list(map(v.get, t))", "A b"),
        ("list(map(lambda c: v.get(c, 0), t))", "A b"),
        ("encode(clean(t))", "a b"),
    ],
)
@pytest.mark.parametrize("head", ["def f(t):", "def f(self, t, v):"])
def test_the_tokens_of_a_string_that_code_iterates_over_are_its_characters(
    lines: str, tokens: str, head: str, tmp_path: Path
) -> None:
    helpers = "def clean(x): return x.lower()\ndef encode(x): return [v[c] for c in x]\n"
    (tmp_path / "a.py").write_text(f"{helpers}{head}\n    return {lines}\n")
    written = write_tokenizer_of_function(tmp_path / "a.py", "f")
    assert written is not None
    assert run_source(written.code)["words"]("A b") == [*tokens]


@pytest.mark.parametrize(
    ("lines", "tokens"),
    [
        ("words = t.split()\n    return [v[w] for w in words]", ["A", "b"]),
        ("s = t.strip()\n    return [v[c] for c in s]", ["A", " ", "b"]),
        ("return [v[t[i:i + 2]] for i in range(len(t) - 1)]", ["A ", " b"]),
        ("return [v[a + b] for a, b in zip(t, t[1:])]", ["A ", " b"]),
        ("for i, c in enumerate(t.lower()):\n        ids[i] = v[c]", ["a", " ", "b"]),
        ("chars = [c for c in t]\n    return [v[c] for c in chars]", ["A", " ", "b"]),
    ],
)
def test_names_and_parts_of_a_text_that_code_iterates_over_are_read_as_python_does(
    lines: str, tokens: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(f"def f(t):\n    {lines}\n")
    written = write_tokenizer_of_function(tmp_path / "a.py", "f")
    assert written is not None
    assert run_source(written.code)["words"]("A b") == tokens


@pytest.mark.parametrize(
    ("code", "leaves_out", "changes"),
    [
        ("ids = [v[w] for w in t.split() if w in v]", True, 0),
        ("ids = [v[w] for w in t.split() if w in v and w != 'a']", True, 0),
        ("ids = [v[w] for w in t.split() if v.get(w)]", True, 0),
        ("ids = [i for w in t.split() if (i := v.get(w)) is not None]", True, 0),
        ("ids = [i for i in map(v.get, t.split()) if i is not None]", True, 0),
        ("ids = list(filter(None, map(v.get, t.split())))", True, 0),
        ("ids = [v.get(w, 1) for w in t.split()]\n    ids = [i for i in ids if i != 1]", True, 0),
        ("ids = [v.get(w, u) for w in t.split()]\n    ids = [i for i in ids if i != UNK_ID]", True, 0),
        ("for w in t.split():\n        if w in v: ids.append(v[w])", True, 0),
        ("for w in t.split():\n        if w in v and len(w) > 0: ids.append(v[w])", True, 0),
        ("for w in t.split():\n        if w in v: ids.append(v[w])\n        else: pass", True, 0),
        ("for w in t.split():\n        if w not in v: continue\n        ids.append(v[w])", True, 0),
        ("for w in t.split():\n        i = v.get(w, 1)\n        if i != 1: ids.append(i)", True, 0),
        ("for w in t.split():\n        try: ids.append(v[w])\n        except KeyError: pass", True, 0),
        # Unknown words have an id.
        ("for w in t.split():\n        if w in v: ids.append(v[w])\n        else: ids.append(1)", False, 0),
        ("for w in t.split():\n        i = v.get(w)\n        if i is None: i = 1\n        ids.append(i)", False, 0),
        ("for w in t.split():\n        i = 1\n        if w in v: i = v[w]\n        ids.append(i)", False, 0),
        # Other ids are left out, which no rule says.
        ("ids = [v.get(w, 1) for w in t.split()]\n    ids = [i for i in ids if i != 0]", False, 1),
        ("ids = [i for w in t.split() if (i := v.get(w, 1)) < 9]", False, 1),
        ("for w in t.split():\n        i = v.get(w, 1)\n        if i < 9: ids.append(i)", False, 1),
        ("ids = np.array([v.get(w, 1) for w in t.split()])\n    ids = ids[ids < 9]", False, 1),
    ],
)
def test_code_that_leaves_out_unknown_words_is_told_from_code_that_leaves_out_others(
    code: str, leaves_out: bool, changes: int, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(f"def predict(t):\n    {code}\n    return model(torch.tensor([ids]))\n")
    written = write_tokenizer_of_function(tmp_path / "a.py", "predict")
    assert written is not None
    assert bool(written.leaves_out) == leaves_out
    assert run_source(written.code).get("LEAVES_OUT_UNKNOWN_WORDS", False) == leaves_out
    assert len(written.later_changes) == changes


@pytest.mark.parametrize(
    ("code", "unknown"),
    mostly_slow(
        [
            ("ids = [v.get(w, 3) for w in t.split()]", 3),
            ("ids = [v[w] if w in v else 3 for w in t.split()]", 3),
            ("ids = list(map(lambda w: v.get(w, 3), t.split()))", 3),
            ("for w in t.split(): ids.append(v.get(w, 3))", 3),
            ("for i, w in enumerate(t.split()): ids[i] = v.get(w, 3)", 3),
            ("ids = encode(t)", 3),
            ("for w in t.split():\n        try: ids.append(v[w])\n        except KeyError: ids.append(3)", 3),
            (
                "for w in t.split():\n        try: i = v[w]\n        except (KeyError,): i = C.OOV\n        ids += [i]",
                3,
            ),
            ("for w in t.split():\n        if w not in v: ids.append(OOV)\n        else: ids.append(v[w])", 3),
            ("for w in t.split():\n        if w in v: ids += [v[w]]\n        else: ids += [OOV]", 3),
            ("ids = [v.get(w, OOV) for w in t.split()]", 3),
            # Nothing, several ids, or one that is not written there.
            ("ids = [v[w] for w in t.split()]", 0),
            ("ids = [v.get(w, UNK) for w in t.split()]", 0),
            ("ids = [v.get(w, v.get('<unk>', 3)) for w in t.split()]", 0),
            ("ids = [i for w in t.split() if (i := v.get(w, 3)) != 3]", None),
            ("for w in t.split():\n        if w in v: ids.append(v.get(w, 3))\n        else: ids.append(1)", 0),
            ("for w in t.split():\n        if w in others: ids.append(v[w])\n        else: ids.append(3)", 0),
            ("for w in t.split():\n        try: ids.append(v[w])\n        except OSError: ids.append(3)", 0),
            # Later code computes other ids.
            ("ids = [v.get(w, 3) for w in t.split()]\n    ids = [i + 1 for i in ids]", 0),
            ("ids = [v.get(w, 3) for w in t.split()]\n    ids = [i if i < 9 else 0 for i in ids]", 0),
            ("ids = [v.get(w, 3) for w in t.split()]\n    ids = np.array(ids) % 7", 0),
            ("ids = [v.get(w, 3) + 1 for w in t.split()]", 0),
        ],
        3,
        several=True,
    ),
)
def test_the_id_that_the_lines_that_split_a_text_give_unknown_words_is_taken(
    code: str, unknown: int | None, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(
        f"OOV = 3\ndef encode(t):\n    return [v.get(w, 3) for w in t.split()]\n\ndef predict(t):\n    {code}\n"
        "    return model(torch.tensor([ids]))\n"
    )
    written = write_tokenizer_of_function(tmp_path / "a.py", "predict")
    assert written is not None
    assert (written.unknown is not None) == (unknown == 3)
    assert any(some in code for some in ("+ 1", "< 9", "% 7")) == bool(written.later_changes)
    function = run_source(written.code)["words"]
    rules = choose_rules(read_vocabulary(["<unk>", "good", "oil", "film"]), None, function, [], ["good x film"])
    assert isinstance(rules, TextRules)
    assert rules.unknown_id == unknown
    # A smaller vocabulary has no token with this id.
    assert (
        find_how_to_call_owner_function(function, read_vocabulary(["<unk>", "oil"])).stated_rules.get("unknown_id") != 3
    )


@pytest.mark.parametrize("stops", ["if w not in v: break", "if v.get(w) is None: break"])
def test_code_that_stops_at_an_unknown_word_is_not_taken(stops: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        f"def predict(t):\n    ids = []\n    for w in t.split():\n        {stops}\n        ids.append(v[w])\n"
        "    return model(torch.tensor([ids]))\n"
    )
    assert write_tokenizer_of_function(tmp_path / "a.py", "predict") is None


@pytest.mark.parametrize(
    "code",
    [
        "ids = [v[w] for w in t.split()] if t else [v[w] for w in t]",
        "if t: ids = [v[w] for w in t.split()]\n    else: ids = [v[w] for w in t]",
        "names = [labels[i] for i in model(t)]",
        "y = torch.tensor([labels.index(t)])",
        "y = torch.tensor([names.index(t)])",
        "for name in t: y.append(label2id.get(name, 0))",
        "for w in t.split(): counts[w] = counts.get(w, 0) + 1",
        "for i in range(9): out.append(t[i])",
        "words = [forms.get(w, w) for w in t.split()]",
    ],
)
def test_what_is_no_search_for_ids_is_not_taken_for_it(code: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f"v = {{}}\ndef f(t):\n    {code}\n    return model(t)")
    assert write_tokenizer_of_function(tmp_path / "a.py", "f") is None


def test_the_index_of_a_label_is_not_taken_for_the_ids_of_words(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "v, stop_words = [], ['the']\n"
        "def encode(text, label, labels, vocabulary):\n    label = torch.LongTensor([labels.index(label)])\n"
        "    ids = []\n    for word in text.lower().split():\n        if word in stop_words:\n            continue\n"
        "        if word in vocabulary:\n            ids.append(vocabulary.index(word))\n"
        "        else:\n            ids.append(vocabulary.index('#unk#'))\n    return ids, label\n"
    )
    written = write_tokenizer_of_function(tmp_path / "a.py", "encode")
    assert written is not None
    assert not written.leaves_out
    assert run_source(written.code)["words"]("The good film") == ["good", "film"]


def test_the_beginning_of_a_function_holds_what_reads_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import re\nfor nlp in load(): ...\ndef tidy(t):\n    return re.sub('x', '', t)\n"
        "def predict(text):\n    text = tidy(text)\n    tokens = nlp(text)\n    with no_grad():\n"
        "        out = model(tokens)\n    return {0: 'a'}[out]\n"
    )
    assert computes_prediction_for_text(tmp_path / "a.py", "predict")
    assert not computes_prediction_for_text(tmp_path / "a.py", "tidy")
    skeleton = write_skeleton_of_tokenizer_function(tmp_path / "a.py", "predict")
    assert [line.partition(":")[0] for line in skeleton.lines] == ["line 6", "line 7"]
    assert skeleton.missing == ["nlp"]
    made = run_source(f"nlp = str.split\n{skeleton.code}")
    with pytest.raises(NotImplementedError):
        made["words"]("a")


def test_a_function_of_a_list_by_its_name_or_annotation_gets_a_list() -> None:
    def encode(texts):  # type: ignore[no-untyped-def]
        return [[{"oil": 1, "film": 2}.get(word, 0) for word in text.split()] for text in texts]

    def letters(given: list[str]) -> list[str]:
        return [*"".join(given).replace(" ", "")]

    vocabulary = read_vocabulary(["<unk>", "oil", "film"])
    assert find_how_to_call_owner_function(encode, vocabulary)("film oil") == [2, 1]
    taken = find_how_to_call_owner_function(letters, read_vocabulary(["<unk>", "a", "b"]))
    assert not taken.takes_only_text
    assert taken("ab a") == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("name", "meant"), [("model", "Net"), ("nett", "Net"), ("make", ""), ("Net", ""), ("other", "")]
)
def test_a_wrong_name_means_a_class_of_the_file(name: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "class Net(Module):\n  def forward(self): ...\nclass Gate(Module):\n  def forward(self): ...\n"
        "def make(): ...\nmodel = Net().eval()\n"
    )
    assert find_class_meant_by_name(tmp_path / "a.py", name) == meant


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("re.sub('^ | $', '', re.sub(r'\\s+', ' ', text)).split(' ')", True),
        ("re.sub('^ | $', '', re.sub('[^a-z]', '', text)).split(' ')", True),
        ("re.sub(r'^ | \\Z', '', text).split(' ')", True),
        ("re.sub('^ | $', '', text).split(' ')", False),
        ("re.sub('^ | $', '', re.sub(r'\\s{2,}', ' ', text)).split(' ')", False),
        ("re.sub('^ | $', '', re.sub(r'\\s+', '\\n', text)).split(' ')", False),
        ("re.sub('^ | $', '', re.sub('.+', ' ', text)).split(' ')", False),
    ],
)
def test_the_end_of_a_text_is_read_where_no_line_break_is_left(line: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "cut.py").write_text(f"import re\ndef cut(text):\n    return {line}\n")
    spec = importlib.util.spec_from_file_location("cut_at_end", tmp_path / "cut.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rules = read_rules_in_code(module.cut)
    assert rules is not None
    assert (rules.unsaid == ()) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("return model(torch.tensor([v.get(w, 0) for w in t.split()]).unsqueeze(0)).argmax().item()", True),
        ("return model(torch.tensor(pad([v.get(w, 0) for w in t.split()])))", False),
        ("return model(torch.tensor([v.get(w, 0) for w in t.split()][:9]))", False),
        ("return model(torch.tensor([v.get(w, 0) for w in t.split()] + [0]))", False),
        ("x = torch.zeros(9)\n    for i, w in enumerate(t.split()): x[i] = v[w]\n    return model(x)", False),
        ("return torch.tensor([v.get(w, 0) for w in t.split()])", False),
        ("vocab = load_vocab('v.txt')\n    return model(torch.tensor([[vocab.tok2idx(w) for w in t.split()]]))", True),
        ("for one in t:\n        ids = [v.get(w, 0) for w in one.split()]\n        model(torch.tensor([ids]))", True),
        (
            "for one in t:\n        ids = [v.get(w, 0) for w in one.split()][:9]\n        model(torch.tensor([ids]))",
            False,
        ),
        ("ids = [v.get(w, 0) for w in t.split()]\n    ids.append(3)\n    return model(torch.tensor([ids]))", False),
        ("ids = [v.get(w, 0) for w in t.split()][:9]\n    return model(x=torch.tensor([ids]))", False),
        ("ids = get_vocab_ids(t.split())\n    return model(torch.tensor([ids]))", False),
        ("vocab_ids = [v[w] for w in t.split()][:9]\n    return model(torch.tensor([vocab_ids]))", False),
    ],
)
def test_a_function_that_neither_pads_nor_cuts_is_told_from_one_that_may(
    lines: str, expected: bool, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(f"def predict(t):\n    {lines}\n")
    assert passes_ids_neither_padded_nor_cut(tmp_path / "a.py", "predict") == expected


def test_code_that_makes_a_vocabulary_or_module_from_a_path_splits_no_text(tmp_path: Path) -> None:
    (tmp_path / "api.py").write_text(
        "def load_model(file, vocab_file):\n    vocab = load_vocab(vocab_file)\n    net = Net(len(vocab))\n"
        "    net.load_state_dict(torch.load(file))\n    return net, vocab\n"
        "def analyze(path, texts, names):\n    vocab = load_vocab(path)\n    model = load_model(path, vocab)\n"
        "    with torch.no_grad():\n        for text in texts:\n"
        "            ids = [vocab.tok2idx(word) for word in text.lower().split()]\n"
        "            print(names[model(torch.tensor([ids]))[0].argmax().item()])\n"
    )
    assert write_tokenizer_of_function(tmp_path / "api.py", "load_model") is None
    written = write_tokenizer_of_function(tmp_path / "api.py", "analyze")
    assert written is not None
    assert written.code == "def words(text):\n    return text.lower().split()\n"
