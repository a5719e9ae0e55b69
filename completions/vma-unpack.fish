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
        __vma-unpack_parse_subcommand 1 'C/directory=' 'd/drive=+' 'm/map=+' 'only=+' 'target-is-zero' 'no-configs' 'f/force' 'l/list' 'json' 'pve' 't/test' 'quick' 'index' 'index-file=' 'salvage' 'lost=' 'T/threads=' 'q/quiet' 'v/verbose' 'progress=' 'version' 'h/help'
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
    set -l index (count (__vma-unpack_tokens -pc))
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

complete -c 'vma-unpack' -f
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" C directory' -s 'C' -l 'directory' -d 'Create files in DIR (default: current directory).' -rfa '(__vma-unpack_complete_directories)'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack"' -s 'd' -l 'drive' -d 'Restore only DRIVE (repeatable).' -rfka '(__vma-unpack_custom_completion ---completion -- --drive (count (__vma-unpack_tokens -pc)) 0)'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack"' -s 'm' -l 'map' -d 'Restore DRIVE into an existing file, device or NBD export.' -rfka '(__vma-unpack_custom_completion ---completion -- --map (count (__vma-unpack_tokens -pc)) 0)'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack"' -l 'only' -d 'Restore DRIVE into PATH, as --map does, and nothing else.' -rfka '(__vma-unpack_custom_completion ---completion -- --only (count (__vma-unpack_tokens -pc)) 0)'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" target-is-zero' -l 'target-is-zero' -d 'Write no zeros to targets; they already read as zeros.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" no-configs' -l 'no-configs' -d 'Do not restore configuration files.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" f force' -l 'force' -s 'f' -d 'Overwrite existing files; allow devices in use.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" l list' -l 'list' -s 'l' -d 'List the contents of the archive.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" json' -l 'json' -d 'With --list: print JSON.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" pve' -l 'pve' -d 'With --list: print the format of the original tool.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" t test' -l 'test' -s 't' -d 'Test the archive; write nothing.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" quick' -l 'quick' -d 'With --test: check only headers, if seekable.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" index' -l 'index' -d 'With --test: also create an index, for random access.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" index-file' -l 'index-file' -d 'Index of the archive (default: ARCHIVE.idx, if it exists).' -rF
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" salvage' -l 'salvage' -d 'Restore what is left of a damaged archive.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" lost' -l 'lost' -d 'With --salvage: write a map of each disk to DIR.' -rfa '(__vma-unpack_complete_directories)'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" T threads' -s 'T' -l 'threads' -d 'Use N threads for zstd (default: 0, all cores).' -rfka ''
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" q quiet' -l 'quiet' -s 'q' -d 'Print only errors.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" v verbose' -l 'verbose' -s 'v' -d 'Print a summary when done.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" progress' -l 'progress' -d 'Show progress; auto: if standard error is a terminal.' -rfka 'auto always never'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_positional "vma-unpack" -eq 1' -F
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" version' -l 'version' -d 'Show the version.'
complete -c 'vma-unpack' -n '__vma-unpack_should_offer_completions_for_flags_or_options "vma-unpack" h help' -s 'h' -l 'help' -d 'Show help information.'
