"""What each flag means: the word for its value, and a sentence. `help`, completion and the user's own shell show it."""

from __future__ import annotations

_MEANINGS = """\
a                   ID         the measurement of what was before
again               TEXT       when to look at it anew
against             URL        a second server or engine, measured in turns with the first
all                 -          all of them
all-interfaces      -          also the networks of containers and virtual machines
at-least            RATIO      how many times as good B has to be
at-once             N          on how many machines at the same time
b                   ID         the measurement of what was decided
bench               ID         a measurement: its id or its file
budget              TIME       how long it may take, such as 90s, 2h, or 10m, which is the default
builds              FOLDERS    folders of engine programs, a comma between, one for each architecture
cache               -          keep tensors of more than 10 MiB on disk, not to be sent again
check               -          only show what would change
commit              HASH       the commit it was built from
concurrency         N          how many requests are at work at the same time
count               N          how many workers
ctx                 TOKENS     the context of one conversation
drift               PERCENT    by how much the configuration of now may vary between two visits
endpoint            URL        measure this server
engine              ENGINE     whose workers they are
flags               TEXT       the flags it was built with
follow              -          go on showing what is written (-f)
for                 AIM        what to make better
force               -          compare all the same
fresh               -          without the conversation so far
host                ADDRESS    the address to listen on
keep                -          leave coordinators and workers running
key-env             VARIABLE   the environment variable that holds its key
knocks              N          how many round trips to measure
limit               SIZE       what may stay, such as 20G; 50G is the default
limits              NAME       what a good answer keeps: a name such as mlperf-llama-3.1-8b, or TTFT/TPOT in ms
lines               N          how many lines (-n)
live                -          also ask the machines, over ssh
memory              SIZE       how much memory it may take, such as 8G or 8GiB
metric              FIGURE     the figure that tells
mix                 NAME       what is asked: short, long, code, chat, custom:FILE or trace:FILE
model               NAME       which model; without it, the chosen one
name                NAME       a name of your own for it
no-bandwidth        -          leave the bandwidth out
no-others           -          by llama.cpp alone
node                NAME       the machine of the profile
on                  WORKERS    these workers only, a comma between
out                 FILE       where to write it
parallel            N          how many answers are written at the same time
port                PORT       the port to listen on; the next free one where it is taken
prediction          TEXT       what is expected of it, in words
preflight           WHAT       what to do when something else is at work on this machine
priority            N          a higher one is preferred among equals
probe               -          measure each worker first, for a few seconds
profile             NAME       the hardware profile
prompt              TEXT       what is asked
quick               -          compare sizes alone
rate                N          requests a second, at random times, however long answers take
relay               -          put a relay of ours before each worker: a pulled cable is noticed soon
relay-clients       FILE       let in only those that show one of these certificates
relay-tls           FILE       speak TLS, with the certificate of this file
repeats             N          how often each load is measured
requests            N          how many requests each load has
root                FOLDER     a folder that stands for the machine
seed                N          the seed of the prompts and of their order
sha256              HEX        the sum that the file must have
slots               N          for how many answers at the same time the model is loaded
source              URL        where the files are from
split               WAY        shares of every layer, runs of layers, or all on this machine
subnet              CIDR       look in these networks, a comma between
svg                 FOLDER     draw the figures there; needs the package matplotlib
target              FORM       what runs the services
threads             N          how many threads each worker computes with
timeout             SECONDS    how long to wait for an answer
to                  FOLDER     where the file goes
tokens              N          how many tokens are compared
try                 NUMBERS    what to try, a comma between
type                TYPE       the type of the weights
verify              -          prove it by a complete, empty session
version             TEXT       the version it says of itself
via                 ENGINE     the engine, whatever the settings say
watch               -          keep asking
within              SECONDS    how long the command may take
workers             N          how many workers to start
write               -          make the manifest of what is there
"""

_ONLY_THERE = """\
bench import --out          FILE       where to keep it
bench report --out          FILE.md    write it as Markdown
bench run --against         URL|ENGINE  a second one, which takes turns with the first and is compared with it
bench run --concurrency     NUMBERS    how many requests are at work at the same time, such as 1,2,4
bench run --out             FILE       where to keep what was measured
bench run --watch           -          also watch the other machines while it runs
bench run --profile         NAME       the hardware profile whose machines are watched, by ssh
ask --model                 NAME       the model of this prompt
retry --model               NAME       another model for this prompt
cache seed --on             WORKERS    for these workers of this machine only, a comma between
coordinator logs --follow   -          go on showing what is written (-f)
dllama discover --port      PORT       look at this port instead
nodes discover --port       PORT       look at this port instead
rpc discover --port         PORT       look at this port instead of 50052
decision report --out       FILE.md    write it there
deploy render --model       NAME       set limits by the plan for this model
deploy render --out         FOLDER     where to write; an earlier rendering there is replaced
deploy rollback --to        N          the generation
dllama worker --model       FILE.m     read the weights from here; a root of ours sends none
engine record --engine      NAME       llama.cpp or distributed-llama
explain --concurrency       N          of which load
explain --mix               NAME       of which load
model convert --out         FOLDER     where the two files go
model pull --on             URL        the Ollama node that fetches it
plan --split                WAY        for a .m model: shares of every layer, runs of layers, or this machine alone
profile probe --on          WORKERS    also measure the links to these workers, a comma between
targets check --concurrency N          of which load
targets check --mix         NAME       of which load
worker start --model        FILE.m     with the built-in engine: read the weights from here; a root of ours sends none
"""


def _table(text: str) -> dict[str, tuple[str, str]]:
    """`flag  VALUE  meaning` in each line; a flag of one command only begins with the command."""
    rows = [line.rsplit("  ", 1) for line in text.splitlines()]
    heads = [(head.split(), meaning.strip()) for head, meaning in rows]
    return {" ".join(words[:-1]): (words[-1].strip("-").lower(), meaning) for words, meaning in heads}


_EVERYWHERE, _SOMEWHERE = _table(_MEANINGS), _table(_ONLY_THERE)


def told(command: str, flag: str) -> tuple[str, str]:
    """The word for the flag's value, and what the flag means; both empty where nothing is written of it."""
    return _SOMEWHERE.get(f"{command} --{flag}") or _EVERYWHERE.get(flag, ("", ""))
