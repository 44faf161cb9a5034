class PunktParameters:
    abbrev_types: set[str]
    collocations: set[tuple[str, str]]
    sent_starters: set[str]
    ortho_context: dict[str, int]

class PunktSentenceTokenizer:
    def __init__(self, train_text: PunktParameters) -> None: ...
    def tokenize(self, text: str) -> list[str]: ...
