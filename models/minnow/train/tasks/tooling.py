"""When is a tool called, and with what? Tools are listed in the prompt; one that fits is called in V3's
format, and its result is put into words. Many tools are made up on the spot, so that reading the list is
what is learned and not its contents."""
import json

from . import arithmetic, dates, lettering, memory, talk
from .item import Item, vary
from .words import ANIMALS, CITIES, COLOURS, FOODS, NAMES, PLACES, THINGS, WORDS, made_up

TEXTS = ("see you soon", "the meeting is at noon", "happy birthday", "call me back", "dinner is ready", "buy some milk", "I am late", "all is well")


def clock_text(rng):
    return f"{rng.randrange(24)}:{rng.randrange(12) * 5:02d}"


# kind of argument -> (JSON type, how one is drawn)
KINDS = {"city": ("string", lambda r: r.choice(CITIES)), "name": ("string", lambda r: r.choice(NAMES)), "food": ("string", lambda r: r.choice(FOODS)),
         "thing": ("string", lambda r: r.choice(THINGS)), "place": ("string", lambda r: r.choice(PLACES)), "animal": ("string", lambda r: r.choice(ANIMALS)),
         "colour": ("string", lambda r: r.choice(COLOURS)), "word": ("string", lambda r: r.choice(WORDS) if r.random() < 0.6 else made_up(r)),
         "text": ("string", lambda r: r.choice(TEXTS)), "time": ("string", clock_text), "small": ("integer", lambda r: r.randrange(1, 60)),
         "number": ("integer", lambda r: r.randrange(1, 2000)), "day": ("string", lambda r: r.choice(dates.DAYS))}

# (names, description, arguments [(names, kind, description)], requests, result kind, answer)
KNOWN = (
    (("get_weather", "weather", "current_weather", "weather_lookup"), "Get the current weather in a city", [(("city", "location", "place"), "city", "Name of the city")],
     ("What is the weather in {0}?", "How is the weather in {0}?", "Is it raining in {0}?", "Tell me the weather in {0}.", "What's the weather like in {0} today?", "How warm is it in {0}?"),
     ("sunny, {n} degrees", "rain, {n} degrees", "cloudy, {n} degrees", "snow, {n} degrees", "windy, {n} degrees"), "The weather in {0} is {r}."),
    (("get_time", "current_time", "time_in", "clock"), "Get the current time in a city", [(("city", "location", "zone"), "city", "Name of the city")],
     ("What time is it in {0}?", "Tell me the time in {0}.", "How late is it in {0}?"), ("{t}",), "The time in {0} is {r}."),
    (("send_message", "send_email", "message", "mail"), "Send a message to a person", [(("to", "recipient", "name"), "name", "Who gets it"), (("text", "body", "message"), "text", "What to say")],
     ('Send {0} the message "{1}".', 'Write to {0}: "{1}"', 'Tell {0} "{1}".', 'Send a message to {0} saying "{1}".'), ("sent", "ok"), "I sent the message to {0}."),
    (("set_timer", "start_timer", "timer"), "Set a timer in minutes", [(("minutes", "duration"), "small", "How many minutes")],
     ("Set a timer for {0} minutes.", "Start a timer of {0} minutes.", "Wake me in {0} minutes.", "Remind me in {0} minutes."), ("started", "ok"), "The timer is set for {0} minutes."),
    (("set_alarm", "alarm", "wake_up"), "Set an alarm at a time of day", [(("time", "at"), "time", "Time of day")],
     ("Set an alarm for {0}.", "Wake me at {0}.", "I need an alarm at {0}."), ("set", "ok"), "The alarm is set for {0}."),
    (("play_music", "play", "music_player"), "Play music by an artist", [(("artist", "by"), "name", "Name of the artist")],
     ("Play music by {0}.", "Play something by {0}.", "I want to hear {0}.", "Put on some songs by {0}."), ("playing", "ok"), "I am playing music by {0}."),
    (("get_stock_price", "stock_price", "quote"), "Get the price of a stock", [(("symbol", "company"), "word", "Name of the company")],
     ("What is the stock price of {0}?", "How much is a share of {0}?", "Price of {0} stock?"), ("{n} dollars",), "The stock price of {0} is {r}."),
    (("search_web", "search", "web_search", "find"), "Search the web", [(("query", "q", "terms"), "word", "What to look for")],
     ("Search the web for {0}.", "Look up {0}.", "Can you find {0} online?", "Find something about {0} on the web."), ("{n} pages found", "no pages found"), "The search for {0} says: {r}."),
    (("translate", "translate_text"), "Translate a word into another language", [(("word", "text"), "word", "What to translate"), (("language", "to"), "language", "Target language")],
     ("Translate {0} into {1}.", "What is {0} in {1}?", "How do you say {0} in {1}?"), ("{w}",), "{0} in {1} is {r}."),
    (("turn_on_light", "light_on", "switch_light"), "Turn on the light in a room", [(("room", "where"), "place", "Which room")],
     ("Turn on the light in the {0}.", "Switch on the lights in the {0}.", "It is dark in the {0}, make light."), ("on", "ok"), "The light in the {0} is on."),
    (("book_table", "reserve_table", "reservation"), "Book a table in a restaurant", [(("people", "persons", "guests"), "small", "How many people"), (("time", "at"), "time", "Time of day")],
     ("Book a table for {0} people at {1}.", "Reserve a table for {0} at {1}.", "I need a table for {0} people at {1}."), ("booked", "ok"), "I booked a table for {0} people at {1}."),
    (("order_food", "order", "buy_food"), "Order food", [(("food", "dish", "item"), "food", "What to order"), (("count", "amount", "quantity"), "small", "How many")],
     ("Order {1} {0}.", "Please order {1} times {0}.", "I want {1} {0}, order it."), ("ordered", "ok"), "I ordered {1} {0}."),
    (("add_event", "create_event", "calendar_add"), "Put an event into the calendar", [(("title", "what"), "word", "Name of the event"), (("day", "when"), "day", "Day of the week")],
     ("Put {0} into my calendar on {1}.", "Add an event {0} on {1}.", "Plan {0} for {1}."), ("added", "ok"), "I added {0} on {1}."),
    (("get_population", "population", "count_people"), "Get how many people live in a city", [(("city", "place"), "city", "Name of the city")],
     ("How many people live in {0}?", "What is the population of {0}?"), ("{n}000",), "The population of {0} is {r}."),
    (("find_person", "phone_book", "get_phone", "contacts"), "Find the phone number of a person", [(("name", "person"), "name", "Name of the person")],
     ("What is the phone number of {0}?", "Find the number of {0}.", "How can I call {0}?"), ("{n}",), "The phone number of {0} is {r}."),
    (("get_recipe", "recipe", "cookbook"), "Find a recipe", [(("dish", "food"), "food", "Name of the dish")],
     ("How do I cook {0}?", "Give me a recipe for {0}.", "Find a recipe with {0}."), ("cook it for {n} minutes",), "The recipe for {0} says: {r}."),
    (("convert_currency", "exchange", "currency"), "Convert dollars into euros", [(("amount", "dollars"), "number", "How many dollars")],
     ("How many euros are {0} dollars?", "Convert {0} dollars into euros.", "Change {0} dollars to euros."), ("{n} euros",), "{0} dollars are {r}."),
    (("get_news", "news", "headlines"), "Get the news about a city", [(("city", "about", "topic"), "city", "Name of the city")],
     ("What is the news from {0}?", "What happened in {0}?", "Any news from {0}?"), ("nothing new", "a new {p} was opened", "the {p} is closed"), "The news from {0}: {r}."),
    (("buy_ticket", "book_train", "train_ticket"), "Buy a train ticket", [(("origin", "from_city", "start"), "city", "Where from"), (("destination", "to_city", "end"), "city", "Where to")],
     ("Buy a ticket from {0} to {1}.", "I need a train from {0} to {1}.", "Book a train ticket from {0} to {1}."), ("booked", "ok"), "I bought a ticket from {0} to {1}."),
)
KINDS["language"] = ("string", lambda r: r.choice(("French", "German", "Spanish", "Italian", "Dutch", "Polish", "Greek", "Latin")))
VERBS = ("open", "close", "start", "stop", "check", "count", "move", "paint", "clean", "lock", "test", "load", "mark", "print", "scan", "lift", "send", "get", "show", "hide")


class Tool:
    """One tool with its wording drawn."""

    def __init__(self, rng):
        if rng.random() < 0.6:
            names, self.about, args, self.requests, self.results, self.say = rng.choice(KNOWN)
            self.name = rng.choice(names)
            self.args = [(rng.choice(n), kind, about) for n, kind, about in args]
            self.family = names[0]
        else:
            verb = rng.choice(VERBS)
            noun = rng.choice(THINGS) if rng.random() < 0.5 else made_up(rng, 2)
            self.name = self.family = f"{verb}_{noun}" if rng.random() < 0.7 else f"{noun}_{verb}"
            self.about = f"{verb.capitalize()} the {noun}"
            kinds = rng.sample(("name", "colour", "place", "small", "number", "animal", "word"), rng.randrange(1, 3))
            self.args = [(k if rng.random() < 0.5 else made_up(rng, 2), k, f"The {k}") for k in kinds]
            ask = ", ".join(f"{n} {{{i}}}" for i, (n, _, _) in enumerate(self.args))
            self.requests = (f"{verb.capitalize()} the {noun} with {ask}.", f"Please {verb} the {noun}: {ask}.", f"I want to {verb} the {noun} with {ask}.")
            self.results, self.say = ("ok", "done", "{n}", "{w}"), f"The {noun} tool says: {{r}}."

    def definition(self, rng):
        props = {n: {"type": KINDS[k][0], **({"description": about} if rng.random() < 0.5 else {})} for n, k, about in self.args}
        params = {"type": "object", "properties": props, "required": [n for n, _, _ in self.args]}
        if rng.random() < 0.2:
            del params["required"]
        return {"type": "function", "function": {"name": self.name, "description": self.about + ("." if rng.random() < 0.3 else ""), "parameters": params}}


def toolbox(rng, most=4):
    tools = {}
    for _ in range(rng.randrange(1, most + 1)):
        tool = Tool(rng)
        tools.setdefault(tool.family, tool)
    return list(tools.values())


def called(tool, arguments, shown):
    """The messages of a call and its result."""
    return [{"role": "assistant", "content": None, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": tool.name, "arguments": json.dumps(arguments, ensure_ascii=False)}}]},
            {"role": "tool", "content": shown, "tool_call_id": "call_1"}]


def draw(rng, tool):
    """(values, arguments, request, result as the tool writes it, what is said then)"""
    values = [KINDS[k][1](rng) for _, k, _ in tool.args]
    result = rng.choice(tool.results).format(n=rng.randrange(1, 100), t=clock_text(rng), w=made_up(rng), p=rng.choice(PLACES))
    shown = json.dumps({rng.choice(("result", "value", "output", "status")): result}) if rng.random() < 0.3 else result
    return ({n: v for (n, _, _), v in zip(tool.args, values)}, vary(rng, rng.choice(tool.requests).format(*values), keep_case=True), shown,
            tool.say.format(*values, r=result))


def call(rng):
    """A request that one of the tools fits; now and then after another call. Also what comes of it."""
    tools = toolbox(rng)
    chosen = rng.choice(tools)
    arguments, question, shown, said = draw(rng, chosen)
    thought = f"{chosen.name} fits. " + ", ".join(f"{n}: {v}" for n, v in arguments.items())
    it = Item(f"tool {chosen.name} {json.dumps(arguments)}", question, thought, "", {"kind": "call", "want": {"name": chosen.name, "arguments": arguments}})
    it.call = {"name": chosen.name, "arguments": arguments}
    it.tools = [t.definition(rng) for t in tools]
    r = rng.random()
    if r < 0.15:
        it.before = talk.exchange(rng)
    elif r < 0.3:
        other = rng.choice(tools)
        old_arguments, old_question, old_shown, old_said = draw(rng, other)
        it.before = [{"role": "user", "content": old_question}] + called(other, old_arguments, old_shown) + [{"role": "assistant", "content": old_said, "learn": True}]
    return it, chosen, shown, said


def use(rng):
    return call(rng)[0]


def answer(rng):
    """The tool's result has come; say it."""
    it, tool, shown, said = call(rng)
    it.before = it.before + [{"role": "user", "content": it.question}] + called(tool, it.call["arguments"], shown)
    it.key, it.call, it.after_tool, it.thought = "result " + it.key, None, True, ""
    it.answer, it.check = said, {"kind": "contains", "want": said[:-1]}
    return it


OWN = (lambda r: arithmetic.addition(r, 4), lambda r: arithmetic.subtraction(r, 4), lettering.count_letter, lettering.reverse, dates.weekday, memory.inline, talk.chat, lettering.sort_words)


def no_fit(rng):
    """Tools are there but none fits: Minnow answers by itself, or does not know."""
    tools = toolbox(rng)
    if rng.random() < 0.5:
        it = rng.choice(OWN)(rng)
        it.thought = "No tool is needed. " + it.thought if it.thought else "No tool is needed."
        it.key = "no tool " + it.key
    else:
        have = {t.family for t in tools}
        while True:
            other = Tool(rng)
            if other.family not in have:
                break
        question = rng.choice(other.requests).format(*[KINDS[k][1](rng) for _, k, _ in other.args])
        it = Item("no tool " + question, vary(rng, question, keep_case=True), "No tool fits.", "I have no tool for that.", {"kind": "contains", "want": "no tool"})
    it.direct = False
    it.tools = [t.definition(rng) for t in tools]
    return it


TASKS = {"tool_call": (10, use), "tool_result": (4, answer), "no_tool": (4, no_fit)}
