function __vma-cat_should_offer_completions_for_flags_or_options -a expected_commands
    set -l non_repeating_flags_or_options $argv[2..]
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-cat_parse_tokens
    test "$commands" = "$expected_commands"; and return $non_repeating_flags_or_options_absent
end

function __vma-cat_should_offer_completions_for_positional -a expected_commands positional_index_comparison expected_positional_index
    set -l non_repeating_flags_or_options
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vma-cat_parse_tokens
    test "$commands" = "$expected_commands" -a \( "$positional_index" "$positional_index_comparison" "$expected_positional_index" \)
end

function __vma-cat_parse_tokens -S
    set -l unparsed_tokens (__vma-cat_tokens -pc)
    switch $unparsed_tokens[1]
    case 'vma-cat'
        __vma-cat_parse_subcommand 2 'offset=' 'length=' 'index-file=' 'tmpdir=' 'T/threads=' 'q/quiet' 'v/verbose' 'progress=' 'version' 'h/help'
    end
end

function __vma-cat_tokens
    if test (string split -m 1 -f 1 -- . "$FISH_VERSION") -gt 3
        commandline --tokens-raw $argv
    else
        commandline -o $argv
    end
end

function __vma-cat_parse_subcommand -S -a positional_count
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

function __vma-cat_complete_directories
    set -l token (commandline -t)
    string match -- '*/' $token
    set -l subdirs $token*/
    printf %s\n $subdirs
end

function __vma-cat_custom_completion
    set -x SAP_SHELL fish
    set -x SAP_SHELL_VERSION $FISH_VERSION
    set -l tokens (__vma-cat_tokens -p)
    set -l index (count (__vma-cat_tokens -pc))
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

complete -c 'vma-cat' -f
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" offset' -l 'offset' -d 'Start BYTES into the member.' -rfka ''
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" length' -l 'length' -d 'Write at most BYTES.' -rfka ''
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" index-file' -l 'index-file' -d 'Index of the archive (default: ARCHIVE.idx, if it exists).' -rF
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" tmpdir' -l 'tmpdir' -d 'Buffer data in DIR (default: $TMPDIR, then /var/tmp).' -rfa '(__vma-cat_complete_directories)'
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" T threads' -s 'T' -l 'threads' -d 'Use N threads for zstd (default: 0, all cores).' -rfka ''
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" q quiet' -l 'quiet' -s 'q' -d 'Print only errors.'
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" v verbose' -l 'verbose' -s 'v' -d 'Print a summary when done.'
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" progress' -l 'progress' -d 'Show progress; auto: if standard error is a terminal.' -rfka 'auto always never'
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_positional "vma-cat" -eq 1' -F
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_positional "vma-cat" -eq 2' -fka '(__vma-cat_custom_completion ---completion -- positional@1 (count (__vma-cat_tokens -pc)) 0)'
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" version' -l 'version' -d 'Show the version.'
complete -c 'vma-cat' -n '__vma-cat_should_offer_completions_for_flags_or_options "vma-cat" h help' -s 'h' -l 'help' -d 'Show help information.'
