function __vma-pack_should_offer_completions_for_flags_or_options -a expected_commands
    set -l non_repeating_flags_or_options $argv[2..]
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-pack_parse_tokens
    test "$commands" = "$expected_commands"; and return $non_repeating_flags_or_options_absent
end

function __vma-pack_should_offer_completions_for_positional -a expected_commands positional_index_comparison expected_positional_index
    set -l non_repeating_flags_or_options
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-pack_parse_tokens
    test "$commands" = "$expected_commands" -a \( "$positional_index" "$positional_index_comparison" "$expected_positional_index" \)
end

function __vma-pack_parse_tokens -S
    set -l unparsed_tokens (__vma-pack_tokens -pc)
    switch $unparsed_tokens[1]
    case 'vma-pack'
        __vma-pack_parse_subcommand -r 1 'c/config=+' 'size=+' 'pad' 'events' 'ack-fd=' 'tmpdir=' 'o/output=' 'f/force' 'z/zstd' 'level=' 'T/threads=' 'frame-size=' 'uuid=' 'uuid-from=' 'ctime=' 'no-digest' 'pve' 'q/quiet' 'v/verbose' 'progress=' 'version' 'h/help'
    end
end

function __vma-pack_tokens
    if test (string split -m 1 -f 1 -- . "$FISH_VERSION") -gt 3
        commandline --tokens-raw $argv
    else
        commandline -o $argv
    end
end

function __vma-pack_parse_subcommand -S -a positional_count
    argparse -s r -- $argv
    set -l option_specs $argv[2..]
    set -l is_repeating_positional $_flag_r
    set -el _flag_r
    set -a commands $unparsed_tokens[1]
    set positional_index 0
    while true
        set -e unparsed_tokens[1]
        argparse -sn "$commands" $option_specs -- $unparsed_tokens 2> /dev/null
        set unparsed_tokens $argv
        set positional_index (math $positional_index + 1)
        for non_repeating_flag_or_option in $non_repeating_flags_or_options
            if set -ql "_flag_$(string replace -a - _ -- $non_repeating_flag_or_option)"
                set non_repeating_flags_or_options_absent 1
                break
            end
        end
        test (count $unparsed_tokens) -eq 0 -o \( -z "$is_repeating_positional" -a "$positional_index" -gt "$positional_count" \) && break
    end
end

function __vma-pack_complete_directories
    set -l token (commandline -t)
    string match -- '*/' $token
    set -l subdirs $token*/
    printf %s\n $subdirs
end

function __vma-pack_custom_completion
    set -x SAP_SHELL fish
    set -x SAP_SHELL_VERSION $FISH_VERSION
    set -l tokens (__vma-pack_tokens -p)
    set -l index (count (__vma-pack_tokens -pc))
    set -l token "$(commandline -ct)"
    if test -z "$token"
        set tokens $tokens[..$index] '' $tokens[(math $index + 1)..]
    else
        set tokens[(math $index + 1)] $token
    end
    set -l completions (command $tokens[1] $argv $tokens 2>/dev/null)
    if test "$completions[1]" = :files
        set token (string replace -r '^(--[a-z-]+=|-[A-Za-z])' '' -- $token)
        set -l name (string match -r '^[A-Za-z0-9_.-]+=' -- $token)
        for path in (__fish_complete_path (string sub -s (math (string length "$name") + 1) -- $token))
            printf '%s\n' "$name$path"
        end
    else
        string join -- \n $completions
    end
end

complete -c 'vma-pack' -f
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack"' -s 'c' -l 'config' -d 'Include FILE as configuration file NAME.' -rfka '(__vma-pack_custom_completion ---completion -- --config (count (__vma-pack_tokens -pc)) 0)'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack"' -l 'size' -d 'Set the size of source NAME, a pipe.' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" pad' -l 'pad' -d 'Pad sources to a multiple of 512 bytes.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" events' -l 'events' -d 'Read an event stream from standard input.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" ack-fd' -l 'ack-fd' -d 'With --events: acknowledge on file descriptor N.' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" tmpdir' -l 'tmpdir' -d 'Buffer data in DIR (default: $TMPDIR, then /var/tmp).' -rfa '(__vma-pack_complete_directories)'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" o output' -s 'o' -l 'output' -d 'Write to FILE; it appears only once complete.' -rF
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" f force' -l 'force' -s 'f' -d 'Overwrite FILE if it exists; allow a device in use.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" z zstd' -l 'zstd' -s 'z' -d 'Compress with zstd.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" level' -l 'level' -d 'Compress at level N (default: 3).' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" T threads' -s 'T' -l 'threads' -d 'Use N threads for zstd (default: 0, all cores).' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" frame-size' -l 'frame-size' -d 'Put at most SIZE of data in a frame (default: an extent).' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" uuid' -l 'uuid' -d 'Set the UUID of the archive (default: random).' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" uuid-from' -l 'uuid-from' -d 'Derive the UUID from TEXT: the same text, the same UUID.' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" ctime' -l 'ctime' -d 'Set the creation time, in seconds since 1970.' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" no-digest' -l 'no-digest' -d 'Write no digests of the disks\' data.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" pve' -l 'pve' -d 'Make the archive restorable by qmrestore.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" q quiet' -l 'quiet' -s 'q' -d 'Print only errors.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" v verbose' -l 'verbose' -s 'v' -d 'Print a summary when done.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" progress' -l 'progress' -d 'Show progress; auto: if standard error is a terminal.' -rfka 'auto always never'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_positional "vma-pack" -ge 1' -fka '(__vma-pack_custom_completion ---completion -- positional@0 (count (__vma-pack_tokens -pc)) 0)'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" version' -l 'version' -d 'Show the version.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" h help' -s 'h' -l 'help' -d 'Show help information.'
