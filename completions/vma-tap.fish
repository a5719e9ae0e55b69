function __vma-tap_should_offer_completions_for_flags_or_options -a expected_commands
    set -l non_repeating_flags_or_options $argv[2..]
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-tap_parse_tokens
    test "$commands" = "$expected_commands"; and return $non_repeating_flags_or_options_absent
end

function __vma-tap_should_offer_completions_for_positional -a expected_commands positional_index_comparison expected_positional_index
    set -l non_repeating_flags_or_options
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-tap_parse_tokens
    test "$commands" = "$expected_commands" -a \( "$positional_index" "$positional_index_comparison" "$expected_positional_index" \)
end

function __vma-tap_parse_tokens -S
    set -l unparsed_tokens (__vma-tap_tokens -pc)
    switch $unparsed_tokens[1]
    case 'vma-tap'
        __vma-tap_parse_subcommand 0 'qmp=' 'd/device=+' 'c/config=+' 'tmpdir=' 'spill-limit=' 'patience=' 'user=' 'l/list' 'q/quiet' 'v/verbose' 'progress=' 'version' 'h/help'
        switch $unparsed_tokens[1]
        case 'help'
            __vma-tap_parse_subcommand -r 1 'version'
        end
    end
end

function __vma-tap_tokens
    if test (string split -m 1 -f 1 -- . "$FISH_VERSION") -gt 3
        commandline --tokens-raw $argv
    else
        commandline -o $argv
    end
end

function __vma-tap_parse_subcommand -S -a positional_count
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

function __vma-tap_complete_directories
    set -l token (commandline -t)
    string match -- '*/' $token
    set -l subdirs $token*/
    printf %s\n $subdirs
end

function __vma-tap_custom_completion
    set -x SAP_SHELL fish
    set -x SAP_SHELL_VERSION $FISH_VERSION
    set -l tokens (__vma-tap_tokens -p)
    if test -z "$(__vma-tap_tokens -t)"
        set -l index (count (__vma-tap_tokens -pc))
        set tokens $tokens[..$index] \'\' $tokens[(math $index + 1)..]
    end
    command $tokens[1] $argv $tokens
end

complete -c 'vma-tap' -f
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" qmp' -l 'qmp' -d 'QEMU\'s QMP socket.' -rF
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap"' -s 'd' -l 'device' -d 'Only this disk, under this name in the archive.' -rfka ''
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap"' -s 'c' -l 'config' -d 'A configuration file to carry along.' -rF
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" tmpdir' -l 'tmpdir' -d 'Directory for the spill file (default: $TMPDIR, then /var/tmp).' -rfa '(__vma-tap_complete_directories)'
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" spill-limit' -l 'spill-limit' -d 'Spill at most this much old data; 0: none.' -rfka ''
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" patience' -l 'patience' -d 'Hold a guest write for at most this long.' -rfka ''
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" user' -l 'user' -d 'The user that runs QEMU, by name or number.' -rfka ''
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" l list' -l 'list' -s 'l' -d 'List the disks: device, bytes, rw or ro, name.'
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" q quiet' -l 'quiet' -s 'q' -d 'Say nothing but errors.'
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" v verbose' -l 'verbose' -s 'v' -d 'Sum up at the end what was done.'
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" progress' -l 'progress' -d 'When to show progress; auto is on a terminal.' -rfka 'auto always never'
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" version' -l 'version' -d 'Show the version.'
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_positional "vma-tap" -eq 1' -fa 'help' -d 'Show subcommand help information.'
complete -c 'vma-tap' -n '__vma-tap_should_offer_completions_for_flags_or_options "vma-tap help" version' -l 'version' -d 'Show the version.'
