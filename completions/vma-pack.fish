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
        __vma-pack_parse_subcommand -r 1 'c/config=+' 'size=+' 'pad' 'events' 'ack-fd=' 'tmpdir=' 'o/output=' 'f/force' 'z/zstd' 'level=' 'T/threads=' 'uuid=' 'ctime=' 'pve' 'q/quiet' 'v/verbose' 'progress=' 'version' 'h/help'
        switch $unparsed_tokens[1]
        case 'help'
            __vma-pack_parse_subcommand -r 1 'version'
        end
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
    if test -z "$(__vma-pack_tokens -t)"
        set -l index (count (__vma-pack_tokens -pc))
        set tokens $tokens[..$index] \'\' $tokens[(math $index + 1)..]
    end
    command $tokens[1] $argv $tokens
end

complete -c 'vma-pack' -f
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack"' -s 'c' -l 'config' -d 'A configuration file to carry along.' -rF
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack"' -l 'size' -d 'The size of a source that is a pipe.' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" pad' -l 'pad' -d 'Pad a source whose size is no multiple of 512.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" events' -l 'events' -d 'Read a stream of changed blocks from standard input.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" ack-fd' -l 'ack-fd' -d 'Answer the stream on this descriptor.' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" tmpdir' -l 'tmpdir' -d 'For event data that has to wait (default: $TMPDIR, then /var/tmp).' -rfa '(__vma-pack_complete_directories)'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" o output' -s 'o' -l 'output' -d 'Write there, when all is well.' -rF
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" f force' -l 'force' -s 'f' -d 'Replace the output file if it exists.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" z zstd' -l 'zstd' -s 'z' -d 'Compress with zstd.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" level' -l 'level' -d 'Compression level (default: 3).' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" T threads' -s 'T' -l 'threads' -d 'Compression threads (default: 0, all cores).' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" uuid' -l 'uuid' -d 'The archive\'s UUID (default: random).' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" ctime' -l 'ctime' -d 'The archive\'s time, in seconds since 1970 (default: now).' -rfka ''
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" pve' -l 'pve' -d 'Make the archive restorable by qmrestore.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" q quiet' -l 'quiet' -s 'q' -d 'Say nothing but errors.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" v verbose' -l 'verbose' -s 'v' -d 'Sum up at the end what was done.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" progress' -l 'progress' -d 'When to show progress; auto is on a terminal.' -rfka 'auto always never'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_positional "vma-pack" -ge 1' -F
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" version' -l 'version' -d 'Show the version.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_positional "vma-pack" -eq 2' -fa 'help' -d 'Show subcommand help information.'
complete -c 'vma-pack' -n '__vma-pack_should_offer_completions_for_flags_or_options "vma-pack help" version' -l 'version' -d 'Show the version.'
