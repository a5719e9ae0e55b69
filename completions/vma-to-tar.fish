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
        __vma-to-tar_parse_subcommand 1 'd/drive=+' 'format=' 'no-sparse' 'layout=' 'prefix=' 'tmpdir=' 'o/output=' 'f/force' 'index-file=' 'T/threads=' 'q/quiet' 'v/verbose' 'progress=' 'version' 'h/help'
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
    set -l index (count (__vma-to-tar_tokens -pc))
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

complete -c 'vma-to-tar' -f
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar"' -s 'd' -l 'drive' -d 'Convert only DRIVE (repeatable).' -rfka '(__vma-to-tar_custom_completion ---completion -- --drive (count (__vma-to-tar_tokens -pc)) 0)'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" format' -l 'format' -d 'Write the tar format FORMAT; default: pax.' -rfka 'pax gnutar ustar'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" no-sparse' -l 'no-sparse' -d 'Store zeros instead of holes.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" layout' -l 'layout' -d 'Arrange members as LAYOUT; pve: for qmrestore.' -rfka 'plain pve'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" prefix' -l 'prefix' -d 'Prepend DIR and a slash to all names.' -rfka ''
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" tmpdir' -l 'tmpdir' -d 'Buffer data in DIR (default: $TMPDIR, then /var/tmp).' -rfa '(__vma-to-tar_complete_directories)'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" o output' -s 'o' -l 'output' -d 'Write to FILE; it appears only once complete.' -rF
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" f force' -l 'force' -s 'f' -d 'Overwrite FILE if it exists; allow a device in use.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" index-file' -l 'index-file' -d 'Index of the archive (default: ARCHIVE.idx, if it exists).' -rF
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" T threads' -s 'T' -l 'threads' -d 'Use N threads for zstd (default: 0, all cores).' -rfka ''
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" q quiet' -l 'quiet' -s 'q' -d 'Print only errors.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" v verbose' -l 'verbose' -s 'v' -d 'Print a summary when done.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" progress' -l 'progress' -d 'Show progress; auto: if standard error is a terminal.' -rfka 'auto always never'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_positional "vma-to-tar" -eq 1' -F
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" version' -l 'version' -d 'Show the version.'
complete -c 'vma-to-tar' -n '__vma-to-tar_should_offer_completions_for_flags_or_options "vma-to-tar" h help' -s 'h' -l 'help' -d 'Show help information.'
