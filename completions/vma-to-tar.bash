#!/bin/bash


# positional arguments:
#
# - 1: the current (sub)command's count of positional arguments
#
# required variables:
#
# - repeating_flags: the repeating flags that the current (sub)command can accept
# - non_repeating_flags: the non-repeating flags that the current (sub)command can accept
# - repeating_options: the repeating options that the current (sub)command can accept
# - non_repeating_options: the non-repeating options that the current (sub)command can accept
# - positional_number: value ignored
# - unparsed_words: unparsed words from the current command line
#
# modified variables:
#
# - non_repeating_flags: remove flags for this (sub)command that are already on the command line
# - non_repeating_options: remove options for this (sub)command that are already on the command line
# - positional_number: set to the current positional number
# - unparsed_words: remove all flags, options, and option values for this (sub)command
__vma-to-tar_offer_flags_options() {
    local -ir positional_count="${1}"
    positional_number=0

    local was_flag_option_terminator_seen=false
    local is_parsing_option_value=false

    local -ar unparsed_word_indices=("${!unparsed_words[@]}")
    local -i word_index
    for word_index in "${unparsed_word_indices[@]}"; do
        if "${is_parsing_option_value}"; then
            # This word is an option value:
            # Reset marker for next word iff not currently the last word
            [[ "${word_index}" -ne "${unparsed_word_indices[${#unparsed_word_indices[@]} - 1]}" ]] && is_parsing_option_value=false
            unset "unparsed_words[${word_index}]"
            # Do not process this word as a flag or an option
            continue
        fi

        local word="${unparsed_words["${word_index}"]}"
        if ! "${was_flag_option_terminator_seen}"; then
            case "${word}" in
            --)
                unset "unparsed_words[${word_index}]"
                # by itself -- is a flag/option terminator, but if it is the last word, it is the start of a completion
                if [[ "${word_index}" -ne "${unparsed_word_indices[${#unparsed_word_indices[@]} - 1]}" ]]; then
                    was_flag_option_terminator_seen=true
                fi
                continue
                ;;
            -*)
                # ${word} is a flag or an option
                # If ${word} is an option, mark that the next word to be parsed is an option value
                local option
                for option in "${repeating_options[@]}" "${non_repeating_options[@]}"; do
                    [[ "${word}" = "${option}" ]] && is_parsing_option_value=true && break
                done

                # Remove ${word} from ${non_repeating_flags} or ${non_repeating_options} so it isn't offered again
                local not_found=true
                local -i index
                for index in "${!non_repeating_flags[@]}"; do
                    if [[ "${non_repeating_flags[${index}]}" = "${word}" ]]; then
                        unset "non_repeating_flags[${index}]"
                        non_repeating_flags=("${non_repeating_flags[@]}")
                        not_found=false
                        break
                    fi
                done
                if "${not_found}"; then
                    for index in "${!non_repeating_flags[@]}"; do
                        if [[ "${non_repeating_flags[${index}]}" = "${word}" ]]; then
                            unset "non_repeating_flags[${index}]"
                            non_repeating_flags=("${non_repeating_flags[@]}")
                            break
                        fi
                    done
                fi
                unset "unparsed_words[${word_index}]"
                continue
                ;;
            esac
        fi

        # ${word} is neither a flag, nor an option, nor an option value
        if [[ "${positional_number}" -lt "${positional_count}" || "${positional_count}" -lt 0 ]]; then
            # ${word} is a positional
            ((positional_number++))
            unset "unparsed_words[${word_index}]"
        else
            if [[ -z "${word}" ]]; then
                # Could be completing a flag, option, or subcommand
                positional_number=-1
            else
                # ${word} is a subcommand or invalid, so stop processing this (sub)command
                positional_number=-2
            fi
            break
        fi
    done

    unparsed_words=("${unparsed_words[@]}")

    if\
        ! "${was_flag_option_terminator_seen}"\
        && ! "${is_parsing_option_value}"\
        && [[ ("${cur}" = -* && "${positional_number}" -ge 0) || "${positional_number}" -eq -1 ]]
    then
        COMPREPLY+=($(compgen -W "${repeating_flags[*]} ${non_repeating_flags[*]} ${repeating_options[*]} ${non_repeating_options[*]}" -- "${cur}"))
    fi
}

__vma-to-tar_add_completions() {
    local completion
    while IFS='' read -r completion; do
        COMPREPLY+=("${completion}")
    done < <(IFS=$'\n' compgen "${@}" -- "${cur}")
}

__vma-to-tar_custom_complete() {
    local -a completions
    mapfile -t completions < <("${COMP_WORDS[0]}" "${@}" "${COMP_WORDS[@]}" 2>/dev/null)
    local completion name=""
    if [[ "${completions[0]}" = :files ]]; then
        [[ "${cur}" =~ ^[A-Za-z0-9_.-]+= ]] && name="${BASH_REMATCH[0]}"
        mapfile -t completions < <(compgen -f -- "${cur#"${name}"}")
        for completion in "${completions[@]}"; do
            COMPREPLY+=("${name}${completion}")
        done
    else
        for completion in "${completions[@]}"; do
            [[ "${completion}" = "${cur}"* ]] && COMPREPLY+=("${completion}")
        done
    fi
}

_vma-to-tar() {
    local state
    state="$(shopt -p;shopt -po)"
    trap "${state//$'\n'/;}" RETURN
    shopt -s extglob
    set +o history +o posix

    local -xr SAP_SHELL=bash
    local -x SAP_SHELL_VERSION
    SAP_SHELL_VERSION="$(IFS='.';printf %s "${BASH_VERSINFO[*]}")"
    local -r SAP_SHELL_VERSION

    local -r cur="${2}"
    local -r prev="${3}"

    local -i positional_number
    local -a unparsed_words=("${COMP_WORDS[@]:1:${COMP_CWORD}}")

    local -a repeating_flags=()
    local -a non_repeating_flags=(--no-sparse --force -f --quiet -q --verbose -v --version -h --help)
    local -a repeating_options=(-d --drive)
    local -a non_repeating_options=(--format --layout --prefix --tmpdir -o --output --index-file -T --threads --progress)
    __vma-to-tar_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '-d'|'--drive')
        __vma-to-tar_custom_complete ---completion -- --drive "${COMP_CWORD}" 0
        return
        ;;
    '--format')
        __vma-to-tar_add_completions -W 'pax'$'\n''gnutar'$'\n''ustar'
        return
        ;;
    '--layout')
        __vma-to-tar_add_completions -W 'plain'$'\n''pve'
        return
        ;;
    '--prefix')
        return
        ;;
    '--tmpdir')
        __vma-to-tar_add_completions -d
        return
        ;;
    '-o'|'--output')
        __vma-to-tar_add_completions -f
        return
        ;;
    '--index-file')
        __vma-to-tar_add_completions -f
        return
        ;;
    '-T'|'--threads')
        return
        ;;
    '--progress')
        __vma-to-tar_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vma-to-tar_add_completions -f
        return
        ;;
    esac

}


# Bash separates words at characters such as = and :, which are parts of values.
__vma-to-tar_joined_words() {
    local line="${COMP_LINE}" cur="" word prefix=""
    local -a words=()
    local -i index current=0 after
    for index in "${!COMP_WORDS[@]}"; do
        word="${COMP_WORDS[index]}"
        if [[ "${index}" -gt 0 && -n "${line}" && "${line}" != [[:space:]]* ]]; then
            words[-1]+="${word}"
        else
            words+=("${word}")
            line="${line#"${line%%[![:space:]]*}"}"
        fi
        line="${line#"${word}"}"
        if [[ "${index}" -eq "${COMP_CWORD}" ]]; then
            current="$((${#words[@]} - 1))"
            after="$((${#COMP_LINE} - COMP_POINT - ${#line}))"
            cur="${words[-1]}"
            if [[ "${after}" -gt "${#cur}" ]]; then
                words=("${words[@]::current}" "" "${words[-1]}")
                cur=""
            elif [[ "${after}" -gt 0 ]]; then
                cur="${cur::${#cur} - after}"
            fi
        fi
    done
    words[current]="${cur}"

    local -r breaks="${COMP_WORDBREAKS//[!=:]/}"
    [[ -n "${breaks}" ]] && prefix="${cur%"${cur##*[${breaks}]}"}"
    local previous="${words[current - 1]}"
    if [[ "${cur}" = --*=* ]]; then
        previous="${cur%%=*}"
        cur="${cur#*=}"
        prefix="${prefix#"${previous}="}"
    fi
    local -a COMP_WORDS=("${words[@]}")
    local COMP_CWORD="${current}"
    _vma-to-tar "${1}" "${cur}" "${previous}"
    COMPREPLY=("${COMPREPLY[@]#"${prefix}"}")
    [[ "${COMPREPLY[0]}" = *= ]] && compopt +o filenames -o nospace
}

complete -o filenames -F __vma-to-tar_joined_words vma-to-tar
