"""Words and spellings that may not occur in this project, each with what to write instead."""

WORDS: dict[str, str] = {
    r"whoever|whomever": "name the person: the caller, an operator, a client",
    r"anew": "again",
    r"at the (most|least|latest|earliest)": "at most, at least, no later than",
    r"(is|are|was|were|be) told": "is notified, receives, learns",
    r"hears? (of|about|nothing|it)|nobody hears": "receives, is notified of",
    r"(looks?|finds?) in vain": "finds nothing",
    r"pass(es|ed)? over": "ignore, skip",
    r"stands? (in|at|for|before|behind|beside|below|above|there|twice|once)": "is, means, comes before",
    r"so (many|much|few|long) (as|of|seconds|bytes|rows|requests|days|times)": "this many, the given number of",
    r"(?-i:is none of|are none|there is none)": "is not a ..., there is no ...",
    r"of before|as before": "the previous ...",
    r"also (where|when|while|if)": "even if, including when",
    r"what is (kept|left|there|known) of": "name the thing",
    r"at once": "immediately, or: together",
    r"(is|are) to be": "must be, will be",
    r"seen to by|sees to (it|that)": "ensures, is ensured by",
    r"for ever": "forever",
    r"of (ours|theirs|its own accord)": "our, their",
    r"as (it|they) (has|have) it": "as ... specifies",
    r"lets? (be|in)": "allows, admits",
    r"wherever|whatever|whichever|however (many|much|often|long)": "any, regardless of",
    r"by and by|ere|whilst|amongst|thereof|thereby|wherein|herein|hitherto|henceforth": "a plain word",
}
"""Regular expressions over lower-cased text, matched at word boundaries."""

SPELLINGS: dict[str, str] = {
    r"behaviours?|colours?|favour(s|ite|able)?|honour(s|ed)?|neighbours?": "-or",
    r"licence[sd]?": "license",
    r"catalogues?": "catalog",
    r"cancell(ed|ing)|labell(ed|ing)|modell(ed|ing)|travell(ed|ing|er)|signall(ed|ing)|unmarshall(ed|ing)": "one l",
    r"centre[sd]?|fibre|metre[sd]?|litre": "-er",
    r"artefacts?|grey|programme[sd]?|cheques?|learnt|spelt|burnt|towards|afterwards|backwards": "the American form",
    r"analys(e|ed|es|ing)": "analyze",
    r"defence|offence|pretence": "-ense",
    r"(amortis|authoris|capitalis|categoris|customis|emphasis|finalis|generalis|initialis|localis|maximis|minimis|"
    r"normalis|optimis|organis|prioritis|realis|recognis|serialis|specialis|standardis|summaris|synchronis|utilis|"
    r"visualis)(e|ed|es|er|ing|ation)": "-ize",
}
"""British spellings, and the American ones."""

OPENINGS = r'"""(What|Who|Where|How) (?!\w+ (is|are)\?)'
"""A docstring that opens with a free relative does not say what its subject is."""

EXCEPTIONS = (".cancelled()", "CancelledError")
"""Parts of lines in which a name that somebody else chose is spelled otherwise."""
