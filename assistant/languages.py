"""Other languages than English: which of a few a message is written in, by its common words or its script, and what is said then in that language.

A message is given to the language model only where this says nothing.
"""

import re
from collections import Counter

SAY = {
    "german": "Ich verstehe bisher nur Englisch. Schreib mir deinen Wunsch bitte auf Englisch.",
    "french": "Pour l'instant je ne comprends que l'anglais. Écris-moi ton souhait en anglais, s'il te plaît.",
    "spanish": "Por ahora solo entiendo inglés. Escríbeme tu deseo en inglés, por favor.",
    "italian": "Per ora capisco solo l'inglese. Scrivimi il tuo desiderio in inglese, per favore.",
    "portuguese": "Por enquanto só entendo inglês. Escreva o seu desejo em inglês, por favor.",
    "dutch": "Voorlopig begrijp ik alleen Engels. Schrijf je wens alsjeblieft in het Engels.",
    "polish": "Na razie rozumiem tylko angielski. Napisz proszę swoje życzenie po angielsku.",
    "turkish": "Şimdilik yalnızca İngilizce anlıyorum. Lütfen isteğini İngilizce yaz.",
    "russian": "Пока я понимаю только английский. Напишите, пожалуйста, по-английски.",
    "chinese": "目前我只懂英语。请用英语告诉我你的愿望。",
    "japanese": "今のところ英語しかわかりません。ご希望を英語で書いてください。",
}
# Common words, without those that are English words too ("hat", "die", "van").
_WORDS = {
    "german": """ich du sie wir ist sind nicht ein eine einen einem einer der das dem und mit bei auf für bitte danke dankeschön schön schöne schönes mach mache macht
        kannst kann möchte hätte wie heißt guten hallo ja nein zu sehr viel hübsch wunderbar noch einmal setz nimm weg nacht blau ihm ihn etwas was tschüss""",
    "french": """je tu il elle nous vous est et le la les un une des du au aux avec dans sur pour merci beaucoup bonjour bonsoir salut très c'est s'il plaît moi mon pas ne
        que qui quel quels quelle magnifique joli jolie beau belle neige plage nuit fais mets peux pouvez""",
    "spanish": """el la los las un una unos de del en con por para que qué es está muy gracias muchas hola bonito bonita lindo favor puedes quiero ponlo ponle hazlo hazle
        más su tu te lo noche playa buenos buenas días cómo dónde eso esto perfecto""",
    "italian": """il lo la gli le un una uno di del della nel nella sulla con che è sono molto grazie ciao bello bella bellissimo carino favore puoi può vorrei fallo mettigli
        mille non più suo ancora notte spiaggia cappello questo buongiorno""",
    "portuguese": """os uma de na para que é está muito obrigado obrigada olá bonito lindo por favor pode quero põe coloque faz faça não mais seu sua noite praia chapéu
        bom dia isso você""",
    "dutch": """de het een en op met voor naar ik je jij niet dank bedankt alsjeblieft kun mooi leuk hoe wat dat heel erg goedemorgen hallo maak zet nacht hoed sneeuw graag
        dankjewel ook nog""",
    "polish": """na nie jest się proszę dziękuję dzięki bardzo ładny ładne piękne pięknie cześć dzień dobry czy możesz jak co mu jej czapkę kapelusz noc śnieg plaży narysuj
        zrób daj jeszcze raz""",
    "turkish": """bir ve bu şu çok teşekkürler teşekkür ederim güzel merhaba lütfen ile için yap koy mı ne nasıl yok daha bana onu ona gece sahilde şapka kırmızı mavi tekrar
        sağol harika istiyorum""",
}
_KNOWN = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_SHARED = Counter(word for words in _KNOWN.values() for word in words)
_ENGLISH = frozenset("""a an the it its it's is are was i i'm me my you your he she they his her and or but of to in on at with for from by please can could would should make
    put give draw show add take let let's like want do does did don't what why how who where which that this these thanks thank hello hi not no yes more less very some
    something one two have has be as so too just now""".split())


def other_language(text: str) -> str | None:
    """Which of SAY a message is written in; None: English, or one that is not known here."""
    letters = [c for c in text.lower() if c.isalpha()]
    if any("\u3040" <= c <= "\u30ff" for c in letters):
        return "japanese"
    if any("\u4e00" <= c <= "\u9fff" for c in letters):
        return "chinese"
    if sum("\u0430" <= c <= "\u044f" or c == "ё" for c in letters) > len(letters) / 2:
        return None if set(letters) & set("іїєґ") else "russian"
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text.lower().replace("’", "'"))
    found = {language: sum(1 / _SHARED[word] for word in words if word in known) for language, known in _KNOWN.items()}
    best = max(found, key=lambda language: found[language])
    few = len(words) < 3  # "merci", "guten tag": people say so in English too
    return best if not few and found[best] >= max(1.3, 0.45 * len(words)) and found[best] > sum(word in _ENGLISH for word in words) else None
