function __vma-unpack_should_offer_completions_for_flags_or_options -a expected_commands
    set -l non_repeating_flags_or_options $argv[2..]
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-unpack_parse_tokens
    test "$commands" = "$expected_commands"; and return $non_repeating_flags_or_options_absent
end

function __vma-unpack_should_offer_completions_for_positional -a expected_commands positional_index_comparison expected_positional_index
    set -l non_repeating_flags_or_options
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-unpack_parse_tokens
    test "$commands" = "$expected_commands" -a \( "$positional_index" "$positional_index_comparison" "$expected_positional_index" \)
end

function __vma-unpack_parse_tokens -S
    set -l unparsed_tokens (__vma-unpack_tokens -pc)
    switch $unparsed_tokens[1]
    case 'vma-unpack'
        __vma-unpack_parse_subcommand 1 'C/directory=' 'd/drive=+' 'm/map=+' 'target-is-zero' 'no-configs' 'f/force' 'l/list' 'json' 'pve' 't/test' 'quick' 'salvage' 'lost=' 'q/quiet' 'v/verbose' 'progress=' 'version' 'h/help'
        switch $unparsed_tokens[1]
        case 'help'
            __vma-unpack_parse_subcommand -r 1 'version'
        end
    end
end

function __vma-unpack_tokens
    if test (string split -m 1 -f 1 -- . "$FISH_VERSION") -gt 3
        commandline --tokens-raw $argv
    else
        commandline -o $argv
    end
end

function __vma-unpack_parse_subcommand -S -a positional_count
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

function __vma-unpack_complete_directories
    set -l token (commandline -t)
    string match -- '*/' $token
    set -l subdirs $token*/
    printf %s\n $subdirs
end

function __vma-unpack_custom_completion
    set -x SAP_SHELL fish
    set -x SAP_SHELL_VERSION $FISH_VERSION
    set -l tokens (__vma-unpack_tokens -p)
    if test -z "$(__vma-unpack_tokens -t)"
        set -l index (count (__vma-unpack_tokens -pc))
        set tokens $tokens[..$index] \'\' $tokens[(math $index + 1)..]
    end
    command $tokens[1] $argv $tokens
end

complete -c 'vma-unpack' -f
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" C directory' -s 'C' -l 'directory' -d 'Write files there (default: here).' -rfa '(__vma-unpack_complete_directories)'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack"' -s 'd' -l 'drive' -d 'Restore only this drive.' -rfka '(__vma-unpack_custom_completion ---completion -- --drive (count (__vma-unpack_tokens -pc)) (__vma-unpack_tokens -tC))'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack"' -s 'm' -l 'map' -d 'Restore this drive into an existing file, block device or NBD export (URI).' -rF
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" target-is-zero' -l 'target-is-zero' -d 'Targets of --map hold only zeros; write none there.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" no-configs' -l 'no-configs' -d 'Restore no configuration files.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" f force' -l 'force' -s 'f' -d 'Replace files that exist; take devices in use.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" l list' -l 'list' -s 'l' -d 'List what is in the archive.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" json' -l 'json' -d 'List as JSON.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" pve' -l 'pve' -d 'List in the format of the reference tool.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" t test' -l 'test' -s 't' -d 'Test the archive and write nothing.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" quick' -l 'quick' -d 'Test headers and sizes only, where the archive is seekable.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" salvage' -l 'salvage' -d 'Restore what a damaged archive still holds.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" lost' -l 'lost' -d 'Write a map of what was lost of each disk there.' -rfa '(__vma-unpack_complete_directories)'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" q quiet' -l 'quiet' -s 'q' -d 'Say nothing but errors.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" v verbose' -l 'verbose' -s 'v' -d 'Sum up at the end what was done.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" progress' -l 'progress' -d 'When to show progress; auto is on a terminal.' -rfka 'auto always never'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_positional "vma-unpack" -eq 1' -F
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" version' -l 'version' -d 'Show the version.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_positional "vma-unpack" -eq 2' -fa 'help' -d 'Show subcommand help information.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack help" version' -l 'version' -d 'Show the version.'
