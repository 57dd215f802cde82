# ruff: noqa: SIM905
"""The words of the embedded corpus: names, verbs and sentence patterns. Data only.

Names and towns never start a line, so that a byte-level tokenizer encodes each of them in one way only.
"""

FIRST_NAMES = (
    "Ada Anton Bela Bruno Cara Cyril Dana Denis Edda Emil Flora Felix Greta Gustav Hanna Hugo Ida Ivo Jana Jonas "
    "Kira Klaus Lena Leon Mara Marek Nadia Nils Olga Oskar Petra Pavel Rosa Rudi Selma Sven Tilda Tomas Vera Viktor"
).split()
LAST_NAMES = (
    "Abel Adler Bauer Becker Berger Brandt Brenner Carver Conrad Decker Dorn Ebert Engel Falk Fischer Forster Garner "
    "Geller Graf Hagen Hartman Heller Holt Huber Jansen Keller Kessler Klein Kramer Krol Lang Lindner Lorenz Maier "
    "Marlow Meinert Moser Nagel Neumann Novak Olsen Palmer Peters Quandt Rader Reuter Richter Sander Schuster Seidel "
    "Stein Sturm Tanner Thoma Ulrich Vogel Wagner Weber Winter Zander"
).split()
TOWNS = (
    "Velmora Ardenfeld Brinholm Castelmar Dorvik Elmstadt Farnhaven Glimmen Harrowby Ilmenau Jarlsund Kestrin "
    "Lindmoor Marwick Norvale Oakenport Pellham Quarnby Rostheim Selbury Tarnow Ulverton Varnick Westmark Yarrowdale "
    "Zellin Birkwell Calder Dunmore Evenwood Fallbrook Grenna Holmvik Kirkby Larkfield Millrose Orsund Rivenhall "
    "Stavelow Thornby"
).split()
THEMES = (
    "spring fair",
    "summer festival",
    "night market",
    "open day",
    "harvest feast",
    "winter show",
    "town jubilee",
    "craft week",
)
VERBS = "painted bought sold repaired found built brought cleaned guarded designed decorated rented".split()
ROLES = "mayor captain teacher baker doctor singer painter pilot".split()
ACTS = (
    "thanked the helpers",
    "opened the day",
    "gave a short speech",
    "answered many questions",
    "cut the ribbon",
    "read the programme",
)
SUBJECTS = "tickets visitors votes meals lamps helpers songs letters".split()
TOPICS = "book concert film school bridge garden museum race".split()
NAMED_THINGS = [*ROLES, *SUBJECTS, *TOPICS]
OUTLETS = ("Courier", "Gazette", "Herald", "Observer", "Post", "Tribune")

LEADS = (
    "People in {town} talk about the {theme}.",
    "The {theme} filled the streets of {town}.",
    "Our reporter visited the {theme} in {town}.",
    "It was a long day in {town}: the {theme} was on.",
    "Everyone in {town} came to the {theme}.",
)
FILLERS = (
    "The weather stayed mild.",
    "Children cheered loudly.",
    "Many took pictures.",
    "The band played twice.",
    "It went on until late.",
    "Nobody was in a hurry.",
    "A short film was made.",
    "The crowd was in a good mood.",
    "Rain held off all day.",
    "Some came by train.",
)
SCENE_TEXTS = (
    "On Friday {person} {verb} the {noun}.",
    "It was {person} who {verb} the {noun}.",
    "Neighbours say that {person} {verb} the {noun}.",
    "All eyes were on {person}, who {verb} the {noun}.",
    "With some help {person} {verb} the {noun}.",
    "This year {person} {verb} the {noun} once more.",
)
PORTRAIT_TEXTS = (
    "In front of the crowd {person}, the {role}, {act}.",
    "Then {person}, the {role}, {act}.",
    "The {role}, {person}, {act}.",
    "At noon {person}, the {role} of {town}, {act}.",
)
CHART_TEXTS = (
    "On three days {person} counted the {subject}.",
    "The {subject} were counted by {person}.",
    "Nobody knows the {subject} better than {person}, who counted them.",
    "For three days {person} counted the {subject} of the {theme}.",
)
NOTE_TEXTS = (
    "Next year {person} plans a {topic}.",
    "There will be a {topic}, says {person}, who plans it.",
    "We hear that {person} plans a {topic}.",
)

RESPONSE_TITLE = "# The {theme} in {town}"
RESPONSE_OVERVIEW = "News of {names} from the {theme}."
RESPONSE_REFUSAL = "News of {names} is not in the documents."
SCENE_SECTION = ("### The {noun} of {person}", "In {town} {person} {verb} the {noun}.")
PORTRAIT_SECTION = ("### The {role} {person}", "As {role} of {town} {person} {act}.")
CHART_SECTION = ("### The {subject} in numbers", "Over three days {person} counted the {subject}.")
NOTE_SECTION = ("### A {topic} next year", "In {town} {person} plans a {topic}.")

SCENE_CAPTION = "{description} in {town}, {verb} by {person}."
PORTRAIT_CAPTION = "a portrait of {person}, the {role} of {town}, with {colour} {mark}."
CHART_CAPTION = "{description}: {subject} in {town}, counted by {person}."
EMBLEM_CAPTION = "{description}."

PERSON_QUESTIONS = ("What did {person} do?", "What do we know of {person}?", "Tell me about {person}.")
THING_QUESTIONS = ("What is told of the {thing}?", "Show the {thing}.", "What do the articles say about the {thing}?")
