"""The words that fill the household commands, and the wordings that nobody would say."""

from __future__ import annotations

AREAS = (
    "kitchen",
    "living room",
    "bedroom",
    "office",
    "bathroom",
    "dining room",
    "hallway",
    "guest room",
    "nursery",
    "laundry room",
    "library",
    "sunroom",
)
FLOORS = ("ground floor", "first floor", "second floor", "top floor")

NAMES = {
    "light": ("ceiling light", "floor lamp", "bedside lamp", "desk lamp", "reading light", "wall light"),
    "switch": ("coffee maker", "kettle", "heater", "dehumidifier", "water pump"),
    "fan": ("ceiling fan", "tower fan", "exhaust fan", "table fan"),
    "media_player": ("tv", "soundbar", "speaker", "radio", "stereo"),
    "climate": ("thermostat", "air conditioner", "heat pump", "radiator"),
    "cover": ("left blind", "right curtain", "roller shutter", "skylight shade", "awning", "garage door"),
    "valve": ("water valve", "sprinkler valve", "heating valve"),
    "lock": ("front door", "back door", "side door", "garden gate", "patio door"),
    "scene": ("movie night", "bedtime", "dinner", "relax", "sunrise"),
    "script": ("morning routine", "goodnight routine", "vacation mode", "fire drill"),
    "button": ("doorbell", "fountain", "elevator", "pet feeder"),
    "vacuum": ("robot vacuum", "mop robot", "vacuum cleaner"),
    "lawn_mower": ("backyard", "front yard", "orchard"),
    "todo": ("packing", "hardware store", "party", "weekend", "garden"),
    "weather": ("Berlin", "Lisbon", "Chicago", "Oslo", "Nairobi"),
    "person": ("Alice", "Omar", "Mei", "Jonas", "Priya"),
    "sensor": ("outdoor humidity", "air quality", "water level", "power usage", "wind speed"),
}

PROPER = ("person", "weather")
"""Kinds of thing with a proper name, which takes no article."""

QUERIES = {
    "artist": ("miles davis", "nina simone", "ella fitzgerald", "johann strauss"),
    "album": ("kind of blue", "abbey road", "blue train", "the four seasons"),
    "track": ("moonlight sonata", "clair de lune", "greensleeves", "ode to joy"),
    "playlist": ("road trip", "sunday morning", "deep focus", "workout"),
    "podcast": ("science weekly", "history hour", "daily news", "garden talk"),
    "movie": ("metropolis", "the general", "city lights", "nosferatu"),
}

WORDS = {
    "message": (
        "dinner is ready",
        "the bus leaves soon",
        "grandma is here",
        "it is time for bed",
        "the laundry is done",
        "breakfast is on the table",
        "we are leaving now",
        "please come downstairs",
        "the movie is about to start",
        "someone is at the door",
        "the pizza has arrived",
        "the cake is in the oven",
    ),
    "item": (
        "milk",
        "bread",
        "apples",
        "olive oil",
        "light bulbs",
        "batteries",
        "cat food",
        "coffee",
        "sunscreen",
        "paper towels",
        "birthday candles",
        "tomatoes",
    ),
    "timer": ("pizza", "tea", "laundry", "egg", "homework", "nap", "bread", "pasta", "workout"),
    "command": (
        "turn off the tv",
        "open the blinds",
        "lock the front door",
        "turn on the porch light",
        "close the garage door",
        "start the robot vacuum",
        "turn off the heater",
        "pause the music",
    ),
    "color": ("white", "red", "orange", "yellow", "green", "blue", "purple", "pink", "turquoise"),
    "fan_mode": ("auto", "low", "medium", "high"),
    "cover": ("open", "closed", "opening", "closing"),
    "lock": ("locked", "unlocked"),
    "on_off": ("on", "off"),
}
COVERS = ("awning", "blind", "curtain", "gate", "shade", "shutter", "window")
ZONES = ("home", "work", "school")

RULES = {
    "the": "(the|the|the|the|the|the|my)",
    "in": "in",
    "all": "all",
    "any": "any",
    "are_any": "are any",
    "are_all": "are all [the]",
    "are": "are",
    "how_many": "how many",
    "which": "(which|what)",
    "everywhere": "(everywhere|in the whole house|in the house)",
    "home": "house",
    "here": "(here|in here|in this room)",
    "light": "(lights|lights|lamps)",
    "lockable": "(locks|doors|windows)",
    "track": "(song|track)",
    "temp": "temperature",
    "media": "(music|movie|tv show|song)",
    "close": "(close|shut|lower)",
    "open": "(open|raise)",
    "clean": "(clean|vacuum)",
    "numeric_value_set": "(set|set|change|turn)",
    "set": "(set|change|turn|make)",
    "turn": "(turn|turn|switch)",
    "how_is": "(how is|how's)",
    "what_is": "(what's|what is|tell me)",
}
"""Replaces some of the grammar's named templates by the part of them that people say most."""

REWRITES = (
    # Units: always said, and in the right number.
    (r"\{timer_(hour|minute|second)s:(\w+)\}\( \|-\)\w+\[s\](?= timer)", r"{one_\1:\2}"),
    (r"\{timer_(hour|minute|second)s:(\w+)\}\( \|-\)\w+\[s\]", r"{many_\1:\2}"),
    (r"\{many(_\w+:\w+\}) \[and\] (?=\{one_)", r"{one\1 "),
    (r"\[and\]", "and"),
    (r"\[\(\[ \]%\)\| percent\]|\[%\| percent\]", "(%| percent)"),
    (r"\[\(\[ \]°\)\|\( degree\[s\]\)\]", "( degrees|)"),
    (r"\[\[ \]\(k\|kelvin\)\]", " kelvin"),
    # Several of a kind are plural, a single device is not.
    (r"fan\[s\]", "fans"),
    (r"switch\[es\]", "switches"),
    (r"timer\[s\]", "timer"),
    (r"<is>(?=.*\{name\})|(?<=\{name\} )<is>", "is"),
    (r"<is>", "are"),
    # A place is said with its preposition and article; our floors end in "floor".
    (r" \[floor\]", ""),
    (r"(\[<in>\]|<in>|\[in\]|\bin|\(in\|on\)|\(of\|on\)) \[<the>\] \{area\}", "in <the> {area}"),
    (r"(\[<in>\]|<in>|\[in\]|\bin|\(in\|on\)|\(of\|on\)) \[<the>\] \{floor\}", "on the {floor}"),
    (r"\[it <in>\] \[<the>\] \{area\}", "it in <the> {area}"),
    (r"\[<the>\] \{floor\}", "the {floor}"),
    (r"\{area\} \[<the>\] \{name\}", "{area} {name}"),
    (r"\[<in>\] \[<the>\] \{zone:state\}", "(at|in) {zone:state}"),
    (r"\[on\|for\] \[<the>\] \{name\}|\[on\] \[<the>\] \{name\}", "on <the> {name}"),
    (r"\[<the>\] \{name\}", "<the> {name}"),
    # The verb and its little words are there.
    (r"^\[<(numeric_value_set|set|turn)>\]", r"<\1>"),
    (r"\[to\]", "to"),
    (r"\[of\]|\[of \[the\]\]", "of"),
    (r"\[the\] (?=<temp>|fan|brightness|volume|speed|color|\[color\]|current|\[current\])", "the "),
    (r"\[the\|my\] (?=list|\[shopping\])|\[my\|the\] (?=list|\[shopping\]|\{name\})", "(the|my) "),
    (r"\(in\|on\|off\|from\) ", "from "),
    (r"(a|an|the|my)\|an\|the\|my", "a|the|my"),
)
"""Makes a template say its optional parts where people do; each result is still a sentence of the template."""

FLOOR = "(" + "|".join(FLOORS) + ")"
AREA = "(" + "|".join(AREAS) + ")"
NAME = "(" + "|".join(name for names in NAMES.values() for name in names) + ")"

DEVICE = "(" + "|".join(name for kind, names in NAMES.items() if kind not in PROPER for name in names) + ")"
COVER = "(" + "|".join(f"{cover}s" for cover in COVERS) + ")"
SWITCHED = "|".join(name for kind, names in NAMES.items() if kind != "sensor" for name in names)
OWNED = "(the |my )?"

UNNATURAL = (
    # Articles.
    r"\b(the|my|a) (the|my|a|all)\b|\ball my\b|^(the|my|to|all) |tell me weather|mowing lawn",
    rf"\bmy ({AREA}|{COVER}|song|movie|tv show|media|track|music|bedtime|dinner|relax|sunrise)\b",
    rf"\bmy ({'|'.join(NAMES['scene'] + NAMES['script'] + NAMES['sensor'])})\b",
    rf"(?<!the )\b{AREA}( (to|on|off|at|by|with|up|down|out|brightness|color)\b|$)",
    rf"(what's|what is|tell me|how is|how's|is|of|with|start) ({AREA}|{DEVICE})\b",
    r"\ba (8|11|18)\b|\b1 (hours|minutes|seconds)\b|\bto list|\b(on|from|to) (shopping )?list",
    r"\b(what's|what is) (current|weather|temperature|date|time|todays)|todays|\bin (the |my )?(\w+ )*list$",
    rf"^(what's|what is|tell me) {OWNED}({SWITCHED})$|weather (like )?(at|for) ",
    # A sentence that starts with a place needs a thing in it; one that ends with it, a preposition.
    rf"^{AREA} (?!lights |lamps |fans |volume |timer )|^in .*(next|again|last|previous)$",
    rf"volume (up|down)( by)?( \d+%?( percent)?)? {OWNED}({AREA}|{FLOOR}|{NAME})|volume the",
    rf"(lights|lamps) {FLOOR}$|do you know {OWNED}{NAME}$",
    rf"^(skip|next|replay|previous|go back) (this )?{OWNED}({AREA}|{NAME})$|^skip (in|on)\b",
    # Verbs and what they can be said of.
    r"^(up|down) |turn (increase|decrease)|volume (increase|decrease)|(increase|decrease) up",
    r"^(set|change) (?!.* to )|^make .* to |^turn (?!.*\b(on|off|out|up|down|to)\b)|\bevery\b",
    rf"^turn (color|the color|.*{COVER}.* to|.*(mode|temperature|speed|brightness)|the (?!volume).* to \d)",
    r" to (on|off)$|\bmake .*(brightness|fan|speed)|\bout\b(?=.*fan)|^turn .*fans? .*to",
    rf"(lower|raise|shut) (all )?{OWNED}([\w ]+ )?(door|gate|window|curtain|valve|awning|shade)s?\b",
    rf"shut {OWNED}.* to \d|(open|close|lower|raise) .* position|position to|s (position|speed)\b",
    r"(delete|remove|complete) off|off from|\b(bedtime|dinner|relax|sunrise)\b(?! scene| is ready)",
    r"\b(switch|bring) .*\b(to|up|down)\b|^(activate|run|start) .* on$|^switch out|^start (the |my )?mower",
    r"\d(%| percent) brightness|(?<!color )temperature .*\d{4}|color temperature .*to \d\d$",
    rf"tell me .*\blike\b|(how is|how's) .*temperature|^tell me what|{NAME} current",
    r"how (hot|cold|warm|cool) is in|temperature in (here|this)|^time (is )?left|how (much|long) .*left .*left",
    r"\b(on|off) on\b|house (lights|lamps).*(everywhere|house)|everywhere (?!that\b|$)",
    rf"({'|'.join(NAMES['lock'])}) .*\b(in|on) the\b|^unlock .* lock|securely",
    # Media.
    r"play (previous|last|artist|album|track|playlist|podcast|movie)\b|(artist|album|track|movie)$",
    r"\b(movie|city lights|nosferatu|metropolis|the general)\b.* on (the |my )?(speaker|radio|soundbar|stereo)",
    r"replay again|play the (last|previous) (again|in)",
    r"media player|\bitem\b|\btv show|to (the )?next$|skip( the)?$|the (last|previous)( again)?$",
    # People, scenes, mowers and the rest.
    r"\b(at|in) home\b|\bin (work|school)|is (work|school)$|\bpersons\b",
    r"stop (the |my )?(backyard|front yard|orchard)|(backyard|front yard|orchard)(?! mower)|mow the$",
    r"script$|scene on\b|scene (the )?" + NAME + r"|^(press|push) .*(?<!button)$|lights? on the house",
)
"""Patterns of sentences that the grammar understands but that read badly."""
