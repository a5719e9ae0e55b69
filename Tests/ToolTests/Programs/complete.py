# SPDX-License-Identifier: Apache-2.0
"""Types a command line into an interactive shell, and prints the result.

Usage: complete.py bash|zsh|fish SCRIPT TEXT [WORD...]

The first line of the output is the command line after the last key; the rest is the output
on the terminal since the first one. SCRIPT is the completion script. A shell may show
the candidates after it has written the command line, so this waits for the WORDs, for a limited time.
"""

import os
import pty
import re
import select
import signal
import sys
import tempfile
import time

shell, script, text, *words = sys.argv[1:]
LIMIT = 60

SETUP = {
    # The last key writes the command line into a file.
    "bash": """
PS1='READY> '
bind 'set bell-style none'
bind 'set page-completions off'
bind 'set completion-query-items 0'
bind 'set show-all-if-ambiguous on'
bind 'set enable-bracketed-paste off'
save() {{ printf %s "$READLINE_LINE" >{line}.part && mv {line}.part {line}; }}
bind -x '"\\C-g": save'
source {script}
""",
    "zsh": """
PS1='READY> '
LISTMAX=1000
unsetopt beep zle_bracketed_paste
autoload -U compinit && compinit -D -u
save() {{ print -rn -- "$BUFFER" >{line}.part && mv {line}.part {line} }}
zle -N save
bindkey -e
bindkey '^G' save
source {script}
""",
    "fish": """
function fish_prompt; printf 'READY> '; end
set -g fish_autosuggestion_enabled 0
function save; commandline >{line}.part; mv {line}.part {line}; end
bind \\cg save
source {script}
""",
}
COMMAND = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "--private", "-i"],
}


def read_until(terminal, is_done):
    """Reads the output of the shell until a condition is met."""
    shown = b""
    end = time.monotonic() + LIMIT
    while not is_done(shown):
        if time.monotonic() > end:
            sys.exit("the shell does not respond: " + repr(shown))
        if select.select([terminal], [], [], 0.05)[0]:
            shown += os.read(terminal, 65536)
    return shown


with tempfile.TemporaryDirectory() as directory:
    line = os.path.join(directory, "line")
    setup = os.path.join(directory, "setup")
    with open(setup, "w") as file:
        file.write(SETUP[shell].format(line=line, script=script))
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(
            TERM="vt100", COLUMNS="200", LINES="50", HISTFILE="", TMPDIR=directory,
            XDG_RUNTIME_DIR=directory, XDG_DATA_HOME=directory)
        os.execvp(COMMAND[shell][0], COMMAND[shell])
    os.write(terminal, f" . {setup}; stty cols 200 rows 50\n".encode())
    read_until(terminal, lambda shown: b"READY> " in shown)
    os.write(terminal, text.encode() + b"\a")
    shown = read_until(terminal, lambda _: os.path.exists(line))
    end = time.monotonic() + LIMIT
    while not all(word.encode() in shown for word in words) and time.monotonic() < end:
        if select.select([terminal], [], [], 0.05)[0]:
            shown += os.read(terminal, 65536)
    with open(line) as file:
        print(file.read())
    print(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace")))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
