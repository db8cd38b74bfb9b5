"""What the studio will not do: an HTTP status and a sentence for the person at the page."""


class Refusal(Exception):
    """Raised anywhere below a route. status: of HTTP.  sentence: the fault first, then what to do."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
