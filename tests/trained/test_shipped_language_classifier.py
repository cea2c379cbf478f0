"""`languages`, the classifier of languages that ships: what it answers, what it says of no language, and its card."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from pocketrnn import Classifier
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle

ROOT = Path(__file__).parents[2]
CARD = ROOT / "trained" / "pocketrnn_zoo" / "languages" / "README.md"
TEXTS = {
    "en": "The committee will publish its report next week.",
    "de": "Der Ausschuss wird seinen Bericht nächste Woche veröffentlichen.",
    "fr": "La commission publiera son rapport la semaine prochaine.",
    "es": "La comisión publicará su informe la próxima semana.",
    "pt": "A comissão vai publicar o seu relatório na próxima semana.",
    "it": "La commissione pubblicherà la sua relazione la prossima settimana.",
    "nl": "De commissie zal haar verslag volgende week publiceren.",
    "sv": "Utskottet kommer att publicera sin rapport nästa vecka.",
    "fi": "Valiokunta julkaisee mietintönsä ensi viikolla.",
    "pl": "Komisja opublikuje swoje sprawozdanie w przyszłym tygodniu.",
    "cs": "Výbor zveřejní svou zprávu příští týden.",
    "hu": "A bizottság a jövő héten teszi közzé a jelentését.",
    "ro": "Comisia își va publica raportul săptămâna viitoare.",
    "ru": "Комиссия опубликует свой доклад на следующей неделе.",
    "uk": "Комісія опублікує свій звіт наступного тижня.",
    "el": "Η επιτροπή θα δημοσιεύσει την έκθεσή της την επόμενη εβδομάδα.",
    "tr": "Komisyon raporunu gelecek hafta yayımlayacak.",
    "ar": "ستنشر اللجنة تقريرها الأسبوع المقبل.",
    "he": "הוועדה תפרסם את הדוח שלה בשבוע הבא.",
    "hi": "समिति अगले सप्ताह अपनी रिपोर्ट प्रकाशित करेगी।",
    "ta": "குழு அடுத்த வாரம் தனது அறிக்கையை வெளியிடும்.",
    "zh": "委员会将于下周公布其报告。",
    "ja": "委員会は来週報告書を公表する予定です。",
    "ko": "위원회는 다음 주에 보고서를 발표할 예정이다.",
    "th": "คณะกรรมการจะเผยแพร่รายงานในสัปดาห์หน้า",
    "vi": "Ủy ban sẽ công bố báo cáo vào tuần tới.",
    "sw": "Kamati itachapisha ripoti yake wiki ijayo.",
}
LONG_TEXTS = {
    "it": "Secondo un portavoce del consorzio, i lavori di ristrutturazione della vecchia filanda, sospesi nel 1987 "
    "per mancanza di fondi, riprenderanno entro la primavera grazie a un prestito della Cassa depositi.",
    "tr": "Belediye meclisinin dün akşamki toplantısında, sahildeki eski gümrük binasının müzeye dönüştürülmesi için "
    "hazırlanan projeye Kültür Bakanlığı'nın vereceği desteğin 2026 yılına kadar uzatılması kararlaştırıldı.",
    "pl": "Zdaniem rzeczniczki Muzeum Okręgowego w Tarnowie wystawa drewnianych rzeźb z osiemnastego wieku, "
    "wypożyczonych z trzech podkarpackich parafii, przyciągnęła jesienią ponad dwadzieścia tysięcy zwiedzających.",
    "id": "Menurut juru bicara Kementerian Perhubungan, pembangunan jalur kereta cepat antara Surabaya dan Banyuwangi "
    "baru dapat dimulai setelah pembebasan lahan di empat kabupaten selesai, yang memakan waktu dua tahun.",
}
NO_LANGUAGE = (
    "xqzt vbnk wrtpl zzkq",
    "3.14159 / 2024-11-05 = 77%",
    "\U0001f600\U0001f680\U0001f44d",
    "for (i = 0; i < n; ++i) {",
    "12.05.2023",
)


@pytest.fixture(scope="module")
def languages() -> Classifier:
    return Classifier.load("languages")


def test_sentences_are_told_apart_and_with_their_accents_or_case_gone(languages: Classifier) -> None:
    assert dict(zip(TEXTS, languages.predict(list(TEXTS.values())), strict=True)) == {label: label for label in TEXTS}
    without_accents = runpy.run_path(str(ROOT / "scripts" / "train_languages"))["remove_accents"]
    for changed in (str.upper, without_accents, lambda text: without_accents(text).upper()):
        given = languages.predict([changed(text) for text in TEXTS.values()])
        assert dict(zip(TEXTS, given, strict=True)) == {label: label for label in TEXTS}


@pytest.mark.parametrize("label", sorted(LONG_TEXTS))
def test_a_long_sentence_is_not_taken_for_one_of_no_language(languages: Classifier, label: str) -> None:
    assert languages.classify(LONG_TEXTS[label]).label == label


def test_texts_in_latin_letters_of_languages_that_have_others_are_none_of_these(languages: Classifier) -> None:
    texts = ("ya tebya ochen lyublyu", "kya kar rahe ho bhai", "watashi wa gakusei desu", "wo bu zhi dao")
    first = ("privet kak dela", "arigato gozaimasu", "kya haal hai", "ti kaneis", "annyeonghaseyo")
    assert languages.predict(texts + first) == ["und"] * len(texts + first)


@pytest.mark.parametrize("text", NO_LANGUAGE)
def test_what_is_no_language_is_said_to_be_none(languages: Classifier, text: str) -> None:
    assert languages.classify(text).label == "und"


def test_what_people_type_first_is_known(languages: Classifier) -> None:
    first = {"Hello world": "en", "hi": "en", "Thanks": "en", "Merhaba": "tr", "Danke": "de", "Gracias": "es"}
    first |= {"Merci": "fr", "Ciao": "it", "Obrigado": "pt", "Привет": "ru", "kkkkk tô chegando": "pt"}
    first |= dict.fromkeys(("!!!", "...", ":-)", "!?"), "und")
    assert dict(zip(first, languages.predict(list(first)), strict=True)) == first
    file = Path(__file__).with_name("first_words.tsv")
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    given = languages.predict([text for _, text in rows])
    right = sum(label == said for (label, _), said in zip(rows, given, strict=True))
    # As the card says: 248 and 18.
    assert right >= 265


def test_what_readers_typed_without_care_is_known_as_the_card_says(languages: Classifier) -> None:
    file = Path(__file__).with_name("typed_texts.tsv")
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    answers = languages.predict_proba([text for _, text in rows])
    said = [languages.labels[place] for place in answers.argmax(axis=1)]
    wrong = [label != answer for (label, _), answer in zip(rows, said, strict=True)]
    # Packed with products of integers, 11 are wrong, 1 of them with 0.6 or more.
    assert sum(wrong) <= 12
    assert (answers.max(axis=1)[wrong] >= 0.6).sum() <= 2


def test_words_of_chats_and_their_spellings_are_known(languages: Classifier) -> None:
    chats = {"kess tu fé ce soir": "fr", "jajaja no manches güey": "es", "vc tb n quer ir hj": "pt"}
    chats |= {
        "geliyom kanka": "tr",
        "c u tmrw bro": "en",
        "gw blm makan nih": "id",
        "чё делаешь щас": "ru",
        "nwm co u cb": "pl",
    }
    assert dict(zip(chats, languages.predict(list(chats)), strict=True)) == chats


def test_lines_for_machines_are_in_no_language(languages: Classifier) -> None:
    lines = ["SELECT name, price FROM products WHERE stock > 5;", "chmod +x scripts/build.sh", '{"status": "ok"}']
    lines += [
        "/usr/share/doc/README.txt",
        "IMG_20240817.jpg",
        "git push origin feature/login",
        "ERROR 404: a.html",
    ]
    assert set(languages.predict(lines)) == {"und"}


def test_it_has_the_prior_of_the_web(languages: Classifier) -> None:
    web = languages.manifest.output.priors["web"]
    expecting = Classifier.load("languages", prior="web")
    short = ["hallo", "no", "merci"]
    weights = [web.get(label, min(web.values())) for label in languages.labels]
    weighed = languages.predict_proba(short) * weights
    assert expecting.predict(short) == [languages.labels[i] for i in weighed.argmax(axis=1)]


def test_the_likeliest_languages_come_in_their_order(languages: Classifier) -> None:
    (first, one), (second, two), (_, three) = languages.classify("Kommisjonen vil legge fram rapporten", top=3).top
    assert {first, second} <= {"nb", "nn", "da"}
    assert one >= two >= three


def test_a_single_word_is_less_certain_than_a_sentence(languages: Classifier) -> None:
    def mean_probability(texts: list[str]) -> float:
        return float(languages.predict_proba(texts).max(axis=1).mean())

    whole = [text for text in TEXTS.values() if " " in text]
    words = [text.split()[1] for text in whole]
    assert mean_probability(words) < mean_probability(whole)


def test_the_bundle_is_small_and_what_it_learnt_from_is_for_any_use() -> None:
    folder = find_or_download_bundle("languages")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_600_000
    gathered = runpy.run_path(str(ROOT / "scripts" / "gather_languages"))
    licences = [source.licence for source in gathered["SOURCES"]]
    assert not [licence for licence in licences if "NC" in licence or "ND" in licence]
    card = CARD.read_text(encoding="utf-8")
    assert [source.name for source in gathered["SOURCES"] if f"| {source.name} |" not in card] == []


def test_the_card_names_every_language(languages: Classifier) -> None:
    names = runpy.run_path(str(ROOT / "scripts" / "gather_languages"))["NAMES"]
    assert set(languages.labels) == {*names, "und"}
    rows = dict(re.findall(r"(?m)^\| (\w+) \| ([^|]+) \|", CARD.read_text(encoding="utf-8")))
    assert {label: rows.get(label) for label in names} == names
