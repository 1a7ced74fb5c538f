"""`knowledge`: sixty questions of general knowledge, written for this package, answered by continuing the text."""

from __future__ import annotations

from .rows import Row, draw

ITEMS = """
geography | The capital of France is | Paris | London | Madrid | Vienna
geography | The capital of Japan is | Tokyo | Seoul | Hanoi | Manila
geography | The longest river in Africa is the | Nile | Rhine | Volga | Indus
geography | The largest ocean on Earth is the | Pacific | Atlantic | Indian | Arctic
geography | The Sahara is a | desert | forest | river | lake
geography | Brazil is a country in South | America | Africa | Asia | Europe
geography | Mount Everest stands in the | Himalayas | Alps | Andes | Rockies
geography | The capital of Egypt is | Cairo | Lagos | Tunis | Nairobi
science | Water is made of oxygen and | hydrogen | nitrogen | carbon | helium
science | The planet closest to the Sun is | Mercury | Venus | Saturn | Neptune
science | The Earth travels around the | Sun | Moon | Mars | stars
science | The gas that people need to breathe is | oxygen | helium | methane | neon
science | The organ that pumps blood through the body is the | heart | liver | brain | lung
science | The force that pulls things to the ground is | gravity | friction | magnetism | pressure
science | Plants make their food from light, water and carbon | dioxide | paper | steel | copper
science | The hardest natural material is | diamond | chalk | wood | copper
physics | Water freezes and turns into | ice | steam | sand | oil
physics | At sea level, water boils at one hundred degrees | Celsius | Ampere | Newton | Hertz
physics | A ball that is thrown up will come back | down | blue | loud | round
physics | In the sun, snow will slowly | melt | burn | grow | sing
physics | A stone dropped into a pond will | sink | float | fly | melt
physics | We see lightning first and later hear the | thunder | rain | wind | snow
physics | An object that lets light pass through is called | transparent | heavy | magnetic | frozen
animals | A young dog is called a | puppy | kitten | calf | lamb
animals | A young cat is called a | kitten | puppy | foal | chick
animals | The animal that gives us wool is the | sheep | horse | snake | frog
animals | Honey is made by | bees | ants | flies | spiders
animals | A spider has eight | legs | wings | ears | tails
animals | The largest animal in the sea is the blue | whale | shark | crab | seal
animals | Frogs begin their lives as | tadpoles | feathers | kittens | seeds
animals | A group of wolves is called a | pack | fleet | choir | library
animals | Birds are covered with | feathers | scales | leaves | fur
colours | On a clear day, the sky is | blue | green | brown | pink
colours | Fresh grass is | green | purple | blue | black
colours | A ripe banana is | yellow | blue | grey | purple
colours | Mixing red and white gives | pink | green | black | brown
colours | Snow is | white | red | green | orange
opposites | The opposite of hot is | cold | tall | soft | loud
opposites | The opposite of day is | night | noon | week | lunch
opposites | The opposite of up is | down | left | near | fast
opposites | The opposite of empty is | full | thin | late | sweet
opposites | The opposite of win is | lose | jump | paint | cook
opposites | The opposite of always is | never | often | maybe | soon
language | The past tense of the verb "go" is | went | gone | going | goes
language | The plural of "mouse" is | mice | mouses | meese | moose
language | A person who writes books is an | author | engineer | athlete | actor
language | The language spoken in Spain is | Spanish | Swedish | Turkish | Finnish
language | The first letter of the English alphabet is | A | E | M | Z
arithmetic | Two plus two equals | four | five | nine | ten
arithmetic | Ten minus three equals | seven | eight | twelve | two
arithmetic | Five times two equals | ten | six | forty | three
arithmetic | Half of one hundred is | fifty | sixty | seven | thirty
arithmetic | A triangle has three | sides | wheels | colours | numbers
time | The day after Monday is | Tuesday | Friday | Sunday | Saturday
time | The month after March is | April | July | June | August
time | One hour has sixty | minutes | seconds | days | weeks
time | One week has seven | days | hours | months | years
time | The season after winter is | spring | autumn | harvest | evening
people | A person who flies an aeroplane is a | pilot | baker | tailor | judge
people | A doctor works in a | hospital | bakery | stable | cinema
"""


def cut() -> list[Row]:
    """Return rows (question, options, answer, topic, split); each position holds the answer fifteen times."""
    parts = [[part.strip() for part in line.split("|")] for line in ITEMS.strip().splitlines()]
    shuffled = sorted(parts, key=lambda item: draw("knowledge", item[1]))
    rows: list[Row] = []
    for index, (topic, question, right, *wrong) in enumerate(shuffled):
        options = sorted(wrong, key=lambda option: draw(question, option))
        options.insert(index % 4, right)
        row: Row = {"question": question, "options": options, "answer": index % 4, "topic": topic}
        rows.append({**row, "split": "test"})
    return rows
