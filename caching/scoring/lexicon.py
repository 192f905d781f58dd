"""The English word lists of `guards`: opposites, numbers, times, comparisons, kinds of question.

Invariant: data only. Stems are written as `guards` makes them (no -s, -ed, -ing, no final e). Tables are
written `group: its words; ...`, opposites `a word and its opposites; ...`, synonyms `the group; ...`.
"""

import re

_split = str.split


def _table(text: str) -> dict[str, str]:
    """Word -> group, from "group: word word; group: word"."""
    pairs = (entry.split(":") for entry in text.split(";") if entry.strip())
    return {word: group.strip() for group, words in pairs for word in words.split()}


def _patterns(table: dict[str, tuple[str, ...]]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """One pattern per kind, from its alternatives. They match words between single spaces."""
    return tuple((re.compile("|".join(alternatives)), kind) for kind, alternatives in table.items())


# "one" is left out: more often a pronoun.
NUMBER_WORDS = _table("""
    0: zero; 2: two twice double; 3: three triple; 4: four; 5: five; 6: six; 7: seven; 8: eight; 9: nine;
    10: ten; 11: eleven; 12: twelve; 13: thirteen; 14: fourteen; 15: fifteen; 16: sixteen; 17: seventeen;
    18: eighteen; 19: nineteen; 20: twenty; 30: thirty; 40: forty; 50: fifty; 60: sixty; 90: ninety; 100:
    hundred; 1000: thousand; 1e+06: million; 0.5: half; #1: first 1st; #2: second 2nd; #3: third 3rd; #4:
    fourth 4th; #5: fifth 5th
""")

UNITS = _table("""
    percent: % percent percentage; usd: $ usd dollar dollars; eur: € eur euro euros; gbp: £ gbp pound
    pounds; jpy: ¥ yen jpy; km: km kilometers; mile: miles mile; kg: kg; c: celsius; f: fahrenheit; gb: gb;
    mb: mb; tb: tb
""")

NEGATORS = frozenset(
    _split("""
    arent cant didnt doesnt dont hasnt havent isnt neither never no nobody none nor not nothing
    nowhere shouldnt unable wasnt without wont
    """)
)

TIME_POINTS = _table("""
    monday: monday mon mondays; tuesday: tuesday tue; wednesday: wednesday wed; thursday: thursday thu;
    friday: friday fri fridays; saturday: saturday sat saturdays; sunday: sunday sun sundays; january:
    january jan; february: february feb; april: april; june: june; july: july; august: august aug;
    september: september sept; october: october oct; november: november nov; december: december dec; today:
    today; tomorrow: tomorrow; yesterday: yesterday; tonight: tonight; morning: morning; afternoon:
    afternoon; evening: evening; noon: noon; midnight: midnight; weekend: weekend; weekends: weekends;
    weekday: weekday; weekdays: weekdays; spring: spring; summer: summer; autumn: autumn fall; winter:
    winter; christmas: christmas; easter: easter; next: next; last: last; previous: previous; current:
    current currently; annual: annual yearly annually; monthly: monthly; weekly: weekly; daily: daily;
    hourly: hourly; pm: pm; bc: bc; ad: ad; early: early; late: late; earlier: earlier; later: later
""")

# "second" is left out: more often an ordinal.
TIME_UNITS = _table("""
    second: seconds; minute: minute minutes; hour: hour hours; day: day days; week: week weeks; month: month
    months; quarter: quarter quarters; year: year years; decade: decade decades; century: century centuries
""")

SCOPE_WORDS = _table("""
    only: only solely exclusively; except: except excluding besides; direct: nonstop direct directly
""")

STOP_WORDS = frozenset(
    _split("""
    a about actually all already also am an and any are as at be been being but by can could d did
    display do does doing done find for from get give had has hav have having he here how i if in
    into is it its just know let like list ll m may me might mor must my name need of on or our
    please re really s shall she should show so some still t tell than that the their them then
    there these they this those to us ve very want was we were what when where which who whom why
    will with would yet you your
    """)
)

_OPPOSITES = """
    on off; enable disable; increase decrease reduce; raise lower; buy sell; open close; start stop end
    finish; begin end; add remove delete; create delete destroy; activate deactivate cancel block; lock
    unlock; freeze unfreeze; block unblock; before after; max min; maximum minimum; most least; highest
    lowest; largest smallest; biggest smallest; longest shortest; oldest newest youngest; latest earliest;
    first last; arrive depart leave; arrival departure; send receive; deposit withdraw; debit credit; upload
    download; import export; accept reject decline refuse; win lose; male female; man woman; men women; boy
    girl; husband wife; mother father; brother sister; son daughter; north south; east west; northern
    southern; left right; up down; top bottom; good bad; best worst; early late; cheap expensive; hot cold;
    push pull; encrypt decrypt; login logout; join leave; gain lose; allow deny forbid prevent; approve
    reject; legal illegal; possible impossible; long short; wide narrow; length width; height width; height
    length; physical virtual; incoming outgoing; inbound outbound; internal external; public private; more
    less fewer; above below; over under; inside outside; input output; read write; past future; dead alive;
    live die; love hate; rich poor; strong weak; true false; yes no; same different; full empty; mount
    unmount; install uninstall; subscribe unsubscribe; follow unfollow; like dislike; connect disconnect;
    encode decode; compress decompress; ascending descending; positive negative; success failure; pass fail;
    succeed fail; borrow lend; rent buy; entry exit; enter exit; minimum average; maximum average; total
    average; old new; big small; large small; high low; higher lower; larger smaller; fast slow; heavy
    light; easy hard; simple complex; domestic international; weekday weekend; morning evening; day night;
    single married; adult child; hire fire; teach learn; question answer; cause effect; prevent cause; save
    spend; lend borrow; lost stolen found; charge refund; upgrade downgrade; temporary permanent; optional
    mandatory; manual automatic; online offline; with without; always never; everyone nobody; employee
    employer; client server; buyer seller; host guest; first second; gross net; before during; get lose; he
    she; him her; his her; himself herself
"""

# Words with the same meaning; the first one names the group.
_SYNONYMS = """
    obtain receiv acquir; pick choos select; begin start commenc; modify chang alter updat edit; fix repair
    solv resolv; big larg hug; delet remov eras; view see look; explain describ clarify; buy purchas; help
    assist aid support; creat mak build; us utiliz employ; way method step procedur process; problem issu
    troubl error; fee charg cost pric; fast quick rapid; contain includ; reach contact; phon mobil cellphon
    smartphon; allow permit let; location plac; difference distinction; important essential crucial
"""

_MORE = "(?:more|greater|higher|larger|bigger|longer|older|later|taller|above|over|better)"
_LESS = "(?:less|fewer|lower|smaller|shorter|younger|earlier|below|under|cheaper|worse)"
COMPARATORS = _patterns(
    {
        "more": (rf" {_MORE} than ", r" (?:over|above|exceeding|exceeds?|beyond|>) (?:[$€£] )?\d"),
        "less": (rf" {_LESS} than ", r" (?:under|below|<) (?:[$€£] )?\d"),
        "at_least": (
            r" at least ",
            r" minimum of ",
            r" or more ",
            r" (?:no|not) (?:less|fewer) than ",
            r" > = ",
        ),
        "at_most": (
            r" at most ",
            r" maximum of ",
            r" or (?:less|fewer) ",
            r" up to ",
            r" (?:no|not) more than ",
            r" < = ",
        ),
        "between": (r" between ",),
        "equal": (r" (?:exactly|precisely|equal to|the same) ",),
        "superlative": (
            r" (?:most|max|maximum|maximal|highest|largest|biggest|longest|greatest|tallest) ",
            r" (?:latest|newest|oldest|fastest|farthest|furthest) ",
        ),
        "diminutive": (
            r" (?:least|min|minimum|minimal|lowest|smallest|shortest|fewest|cheapest) ",
            r" (?:youngest|earliest|slowest|nearest|closest) ",
        ),
        "average": (r" (?:average|mean|median|avg) ",),
        "sum": (r" (?:total|sum|altogether|overall|combined) ",),
    }
)

_LANGUAGES = (
    "english|german|french|spanish|italian|portuguese|dutch|polish|russian|turkish|arabic|hindi"
    "|chinese|japanese|korean|latin"
)
_FORMS = (
    "json|xml|yaml|html|csv|markdown|latex|bullets?|bullet points|a list|a table|a poem|a song|a haiku|a joke"
)
# Instructions on how to answer change the answer. The patterns match clauses between bars, with words between single
# spaces. Verbs of saying count at the beginning of a clause, where they are orders.
INSTRUCTIONS = _patterns(
    {
        "say": (
            r"\| (?:you )?(?:must |should |will |always |only |to )?"
            r"(?:say|saying|answer|answering|reply|replying|respond|responding|repeat|repeating|output|claim|claiming"
            r"|insist|insisting|state|stating|assert|confirm that|conclude|end with|start with|begin with|include|mention"
            r"|add that|recommend|refuse|admit|deny) ",
            r" (?:answer|reply|respond|say|write|output|print|tell (?:me|us|them|him|her|people|everyone|users?)) "
            r"(?:that|only|exactly|nothing|with|as if|\|) ",
        ),
        "ignore": (
            r"\| (?:you )?(?:must |should |to )?(?:ignore|ignoring|disregard|disregarding|override|overriding|bypass) ",
            r" (?:ignore|disregard|forget) (?:all|any|the|your|my|every|previous|prior|above|earlier|everything) ",
        ),
        "pretend": (
            r"\| (?:you )?(?:pretend|pretending|assume|assuming|suppose|supposing|imagine|imagining|act as|acting as"
            r"|roleplay|role play|you are|speak|talk) ",
            r" (?:as if|as though) ",
        ),
        "language": (
            rf" (?:in|into|to) (?:{_LANGUAGES}) ",
            r"\| (?:translate|translating) ",
        ),
        "form": (
            rf" (?:in|as|with|using|into) (?:{_FORMS}) ",
            r" in (?:one|two|three|a few|a single|\d+|at most \w+|no more than \w+) (?:words?|sentences?|lines?|paragraphs?) ",
            r" (?:briefly|concisely|in short|in detail|in capitals|in uppercase|in lowercase|step by step|yes or no) ",
            r" (?:one word|single word|one sentence) (?:answer|reply|response) ",
        ),
    }
)

# The first kind that fits is what the question asks for.
QUESTION_TYPES = _patterns(
    {
        "count": (r" (?:how many|number of|count of|count the|how often|amount of times) ",),
        "amount": (
            r" how much ",
            r" what (?:is|are|s) the (?:price|cost|fare|fee|rate)s? ",
            r" what (?:price|cost|fare|fee)s? ",
        ),
        "duration": (r" how (?:long|soon|quickly|fast) ", r" what (?:is|s) the duration "),
        "reason": (r" (?:how come|why|what caused|for what reason) ", r" what (?:is|s) the reason "),
        "time": (r" (?:when|by when) ", r" (?:what|which) (?:time|date|day|year) "),
        "place": (
            r" (?:where|which place) ",
            r" in (?:which|what) (?:country|city|place|state) ",
            r" what (?:is|s) the location ",
        ),
        "person": (r"^ (?:who|whom|whose)(?: |$)", r" by whom ", r" name of the person "),
        "manner": (
            r" how (?:do|can|to|could|should|does|would|did|might|shall|may) ",
            r" what (?:are the )?steps ",
            r" what do i (?:need to )?do ",
            r" way to ",
        ),
        "claim": (
            r"^ (?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|had|may|am|isn|doesn) ",
        ),
        "definition": (r" (?:define|definition of|meaning of|what does \w+ mean) ",),
        "thing": (r"^ (?:please )?(?:list|show|give|name|find|display|tell|what|which|return|get) ",),
    }
)

# Kinds of question that the same answer may serve: "Can I ...?" and "How do I ...?", "What is ...?" and "Define ...".
SIMILAR_TYPES = frozenset(
    frozenset(pair.split())
    for pair in (
        "manner claim",
        "manner thing",
        "manner place",
        "claim thing",
        "claim reason",
        "claim amount",
        "claim place",
        "thing definition",
        "thing amount",
        "thing place",
        "thing person",
        "thing reason",
        "duration time",
    )
)


def _opposites(text: str) -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for group in text.split(";"):
        first, *others = (word.rstrip("e") if len(word) > 3 else word for word in group.split())
        for other in others:
            table.setdefault(first, set()).add(other)
            table.setdefault(other, set()).add(first)
    return {word: frozenset(opposites) for word, opposites in table.items()}


ANTONYMS = _opposites(_OPPOSITES)
SYNONYMS = {word: group.split()[0] for group in _SYNONYMS.split(";") for word in group.split()}
