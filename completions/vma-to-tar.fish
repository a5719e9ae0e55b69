function __vma-to-tar_should_offer_completions_for_flags_or_options -a expected_commands
    set -l non_repeating_flags_or_options $argv[2..]
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-to-tar_parse_tokens
    test "$commands" = "$expected_commands"; and return $non_repeating_flags_or_options_absent
end

function __vma-to-tar_should_offer_completions_for_positional -a expected_commands positional_index_comparison expected_positional_index
    set -l non_repeating_flags_or_options
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-to-tar_parse_tokens
    test "$commands" = "$expected_commands" -a \( "$positional_index" "$positional_index_comparison" "$expected_positional_index" \)
end

function __vma-to-tar_parse_tokens -S
    set -l unparsed_tokens (__vma-to-tar_tokens -pc)
    switch $unparsed_tokens[1]
    case 'vma-to-tar'
        __vma-to-tar_parse_subcommand 1 'd/drive=+' 'format=' 'no-sparse' 'layout=' 'prefix=' 'tmpdir=' 'o/output=' 'f/force' 'q/quiet' 'v/verbose' 'progress=' 'version' 'h/help'
        switch $unparsed_tokens[1]
        case 'help'
            __vma-to-tar_parse_subcommand -r 1 'version'
        end
    end
end

function __vma-to-tar_tokens
    if test (string split -m 1 -f 1 -- . "$FISH_VERSION") -gt 3
        commandline --tokens-raw $argv
    else
        commandline -o $argv
    end
end

function __vma-to-tar_parse_subcommand -S -a positional_count
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

function __vma-to-tar_complete_directories
    set -l token (commandline -t)
    string match -- '*/' $token
    set -l subdirs $token*/
    printf %s\n $subdirs
end

function __vma-to-tar_custom_completion
    set -x SAP_SHELL fish
    set -x SAP_SHELL_VERSION $FISH_VERSION
    set -l tokens (__vma-to-tar_tokens -p)
    if test -z "$(__vma-to-tar_tokens -t)"
        set -l index (count (__vma-to-tar_tokens -pc))
        set tokens $tokens[..$index] \'\' $tokens[(math $index + 1)..]
    end
    command $tokens[1] $argv $tokens
end

complete -c 'vma-to-tar' -f
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar"' -s 'd' -l 'drive' -d 'Convert only this drive.' -rfka '(__vma-to-tar_custom_completion ---completion -- --drive (count (__vma-to-tar_tokens -pc)) (__vma-to-tar_tokens -tC))'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" format' -l 'format' -d 'The kind of tar: pax, gnutar or ustar (default: pax).' -rfka 'pax gnutar ustar'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" no-sparse' -l 'no-sparse' -d 'Write zeros, not holes.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" layout' -l 'layout' -d 'Members: plain, or pve as qmrestore takes them (default: plain).' -rfka 'plain pve'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" prefix' -l 'prefix' -d 'Put the members in this directory.' -rfka ''
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" tmpdir' -l 'tmpdir' -d 'For data that has to wait (default: $TMPDIR, then /var/tmp).' -rfa '(__vma-to-tar_complete_directories)'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" o output' -s 'o' -l 'output' -d 'Write there, when all is well.' -rF
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" f force' -l 'force' -s 'f' -d 'Replace the output file if it exists.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" q quiet' -l 'quiet' -s 'q' -d 'Say nothing but errors.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" v verbose' -l 'verbose' -s 'v' -d 'Sum up at the end what was done.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" progress' -l 'progress' -d 'When to show progress; auto is on a terminal.' -rfka 'auto always never'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_positional "vma-to-tar" -eq 1' -F
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" version' -l 'version' -d 'Show the version.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_positional "vma-to-tar" -eq 2' -fa 'help' -d 'Show subcommand help information.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar help" version' -l 'version' -d 'Show the version.'
